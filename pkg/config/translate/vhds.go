package translate

import (
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/weir-proxy/weir/pkg/config/model"
)

// vhds translates where further virtual hosts come from; nil for none. Only the incremental protocol can ask for them one by one.
func (c *call) vhds(m *routev3.Vhds, p *path) *model.Source {
	if m == nil {
		return nil
	}
	at := p.field("config_source")
	src := c.source(m.GetConfigSource(), at)
	switch {
	case src == nil:
	case src.Kind == model.SourcePath:
		c.fail(at, "vhds: files cannot be asked for single virtual hosts")
	case src.Kind == model.SourceAPI && src.API != nil && !src.API.Type.Delta():
		c.fail(at.field("api_config_source").field("api_type"), "vhds: only 'DELTA_GRPC' is supported as an api_type.")
	}
	return src
}

// inlineVHDS reports VHDS in a route configuration that is part of another resource: as in Envoy it only works with RDS.
func (c *call) inlineVHDS(out *model.RouteConfig, p *path) {
	if out.VHDS != nil {
		c.warn(p.field("vhds"), "virtual hosts come from VHDS only where the route configuration comes from RDS: this has no effect")
		out.VHDS = nil
	}
}

// VirtualHost translates a virtual host that VHDS delivered for a route configuration.
func (t *Translator) VirtualHost(m *routev3.VirtualHost, routes *model.RouteConfig, meta Meta) (*model.VirtualHost, []Warning, error) {
	c := t.begin(m, meta, resourceName("virtual host", m.GetName()))
	out := c.virtualHost(m, routes.MaxDirectResponseBytes, nil)
	domains := map[string]bool{}
	var root *path
	for i, d := range out.Domains {
		if domains[d] {
			c.fail(root.elem("domains", i), "only unique values for domains are permitted; duplicate entry of domain %s in route %s", d, routes.Name)
		}
		domains[d] = true
	}
	warnings, err := c.end(m)
	if err != nil {
		return nil, warnings, err
	}
	return out, warnings, nil
}
