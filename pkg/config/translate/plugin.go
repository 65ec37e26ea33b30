package translate

import (
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/weir-proxy/weir/pkg/config/extension"
)

// specifierPlugins translates the plugins of a route configuration. weir has none, so that each is an error unless it is
// optional; routes that name an optional one have no cluster, as in Envoy.
func (c *call) specifierPlugins(list []*routev3.ClusterSpecifierPlugin, p *path) {
	c.plugins = map[string]bool{}
	for i, m := range list {
		at := p.elem("cluster_specifier_plugins", i)
		name := m.GetExtension().GetName()
		if c.plugins[name] {
			c.fail(at.field("extension").field("name"), "cluster specifier plugin %s is defined twice", name)
		}
		c.plugins[name] = true
		c.specifierPlugin(m, at)
	}
}

// specifierPlugin reports a plugin that weir does not know.
func (c *call) specifierPlugin(m *routev3.ClusterSpecifierPlugin, p *path) {
	ext := m.GetExtension()
	f, _ := c.lookup(extension.ClusterSpecifiers, ext.GetName(), ext.GetTypedConfig(), m.GetIsOptional(), p.field("extension"))
	if f != nil {
		c.fail(p, "extension %s cannot be used here", f.Name)
	}
}

// namedPlugin checks a route's reference to a plugin of the route configuration.
func (c *call) namedPlugin(name string, p *path) {
	if !c.plugins[name] {
		c.fail(p, "unknown cluster specifier plugin name %s is used in the route", name)
	}
}
