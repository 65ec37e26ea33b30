package translate

import (
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weir-proxy/weir/pkg/config/extension"
	"github.com/weir-proxy/weir/pkg/config/model"
)

// routerParts translates the upstream filters and the access logs about attempts of a router, whose configuration is at p; it
// has neither for any other filter.
func (c *call) routerParts(config *anypb.Any, p *path) ([]*model.HTTPFilter, []*model.AccessLog) {
	if config == nil {
		return nil, nil
	}
	m, ok := c.unpacked[config].(*routerv3.Router)
	if !ok {
		return nil, nil
	}
	return c.upstreamFilters(m.GetUpstreamHttpFilters(), p, "upstream_http_filters"), c.accessLogs(m.GetUpstreamLog(), p, "upstream_log")
}

// upstreamFilters translates a chain of upstream filters; no filters are no chain.
func (c *call) upstreamFilters(list []*hcmv3.HttpFilter, p *path, name string) []*model.HTTPFilter {
	if len(list) == 0 {
		return nil
	}
	return c.httpFilters(extension.UpstreamHTTPFilters, "upstream http", list, p.field(name))
}
