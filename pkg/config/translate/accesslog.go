package translate

import (
	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"

	"github.com/weir-proxy/weir/pkg/config/extension"
	"github.com/weir-proxy/weir/pkg/config/model"
)

// accessLogs translates a list of access loggers; those with errors are left out.
func (c *call) accessLogs(list []*accesslogv3.AccessLog, p *path, name string) []*model.AccessLog {
	var out []*model.AccessLog
	for i, l := range list {
		at := p.elem(name, i)
		f, config := c.extension(extension.AccessLoggers, l.GetName(), l.GetTypedConfig(), false, at)
		filter, ok := c.accessLogFilter(l.GetFilter(), at.field("filter"))
		if f == nil || !ok {
			continue
		}
		out = append(out, &model.AccessLog{Name: l.GetName(), TypeURL: f.TypeURL(), Config: config, Filter: filter})
	}
	return out
}

// accessLogFilter decodes a filter; nil stays nil.
func (c *call) accessLogFilter(f *accesslogv3.AccessLogFilter, p *path) (any, bool) {
	switch {
	case f == nil:
		return nil, true
	case c.t.opt.DecodeAccessLogFilter == nil:
		c.unsupported(p)
		return nil, false
	}
	v, err := c.t.opt.DecodeAccessLogFilter(f)
	if err != nil {
		c.fail(p, "%v", err)
		return nil, false
	}
	return v, true
}
