package translate

import (
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weir-proxy/weir/pkg/config/extension"
	"github.com/weir-proxy/weir/pkg/config/model"
)

// routerFilters translates the upstream filters that a router has; none for any other filter.
func (c *call) routerFilters(config *anypb.Any, p *path) []*model.HTTPFilter {
	if config == nil {
		return nil
	}
	if m, ok := c.unpacked[config].(*routerv3.Router); ok {
		return c.upstreamFilters(m.GetUpstreamHttpFilters(), p.field("typed_config"), "upstream_http_filters")
	}
	return nil
}

// upstreamFilters translates a chain of upstream filters; no filters are no chain.
func (c *call) upstreamFilters(list []*hcmv3.HttpFilter, p *path, name string) []*model.HTTPFilter {
	if len(list) == 0 {
		return nil
	}
	return c.httpFilters(extension.UpstreamHTTPFilters, "upstream http", list, p.field(name))
}

// routerLogs translates the access logs about attempts that a router has; none for any other filter.
func (c *call) routerLogs(config *anypb.Any, p *path) []*model.AccessLog {
	if config == nil {
		return nil
	}
	if m, ok := c.unpacked[config].(*routerv3.Router); ok {
		return c.accessLogs(m.GetUpstreamLog(), p.field("typed_config"), "upstream_log")
	}
	return nil
}
