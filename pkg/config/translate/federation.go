package translate

import (
	"slices"

	xdscorev3 "github.com/cncf/xds/go/xds/core/v3"
	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/config/xdstp"
)

// federation translates which authority serves which xdstp names, and the collections of listeners and clusters. The
// sources of LDS and CDS are there already.
func (c *call) federation(m *bootstrapv3.Bootstrap, out *Static) {
	var root *path
	for i, s := range m.GetConfigSources() {
		at := root.elem("config_sources", i)
		source := c.source(withoutAuthorities(s), at)
		if source == nil {
			continue
		}
		if len(s.GetAuthorities()) == 0 {
			c.fail(at.field("authorities"), "is empty: no name leads here")
		}
		for j, a := range s.GetAuthorities() {
			if slices.ContainsFunc(s.GetAuthorities()[:j], func(b *xdscorev3.Authority) bool { return b.GetName() == a.GetName() }) {
				c.fail(at.elem("authorities", j), "%q is here twice", a.GetName())
				continue
			}
			if first := out.Authorities[a.GetName()]; first != nil {
				both := failover(first, source)
				if both == first {
					c.warn(at.elem("authorities", j), "authority %q has a source already, of another kind: this one is not used for it", a.GetName())
				}
				out.Authorities[a.GetName()] = both
				continue
			}
			if out.Authorities == nil {
				out.Authorities = map[string]*model.Source{}
			}
			out.Authorities[a.GetName()] = source
		}
	}
	fallback := c.source(m.GetDefaultConfigSource(), root.field("default_config_source"))
	at := root.field("dynamic_resources")
	d := m.GetDynamicResources()
	out.LDS = c.collection(out, out.LDS, fallback, d.GetLdsResourcesLocator(), "envoy.config.listener.v3.Listener", at.field("lds_resources_locator"))
	out.CDS = c.collection(out, out.CDS, fallback, d.GetCdsResourcesLocator(), "envoy.config.cluster.v3.Cluster", at.field("cds_resources_locator"))
	out.NodeContext = c.nodeContext(m.GetNodeContextParams(), m.GetNode(), root)
}

// failover is a source whose servers are those of two, in order of preference. Envoy's documentation has the first source of an authority
// win, and so it does while its servers answer. Sources that are reached in different ways cannot be joined: then it is the first.
func failover(first, second *model.Source) *model.Source {
	if first.API == nil || second.API == nil || first.API.Type != second.API.Type {
		return first
	}
	both, api := *first, *first.API
	api.Services = slices.Concat(api.Services, second.API.Services)
	api.Clusters = slices.Concat(api.Clusters, second.API.Clusters)
	both.API = &api
	return &both
}

// withoutAuthorities is the source as those without authorities are.
func withoutAuthorities(s *corev3.ConfigSource) *corev3.ConfigSource {
	return &corev3.ConfigSource{
		ConfigSourceSpecifier: s.GetConfigSourceSpecifier(), InitialFetchTimeout: s.GetInitialFetchTimeout(), ResourceApiVersion: s.GetResourceApiVersion(),
	}
}

// collection is where a collection comes from: what its authority says, else the source that is configured beside it, else
// the default one. Without a locator it is the configured source.
func (c *call) collection(out *Static, configured, fallback *model.Source, locator, kind string, p *path) *model.Source {
	if locator == "" {
		return configured
	}
	n, err := xdstp.Parse(locator)
	switch {
	case err != nil:
		c.fail(p, "%v", err)
		return configured
	case n.Type != kind:
		c.fail(p, "must name resources of type %s", kind)
	case !n.Collection():
		c.fail(p, "must name a collection, which ends in /*")
	}
	served := out.Authorities[n.Authority]
	if configured != nil && slices.Contains(configured.Authorities, n.Authority) {
		served = configured
	}
	for _, source := range []*model.Source{served, configured, fallback} {
		if source != nil {
			followed := *source
			followed.Collection = locator
			return &followed
		}
	}
	c.fail(p, "authority %q has no source", n.Authority)
	return nil
}

// nodeContext are the parameters that tell servers of xdstp names about the node.
func (c *call) nodeContext(params []string, n *corev3.Node, p *path) map[string]string {
	var out map[string]string
	for i, name := range params {
		var value string
		switch name {
		case "id":
			value = n.GetId()
		case "cluster":
			value = n.GetCluster()
		case "user_agent_name":
			value = n.GetUserAgentName()
		case "user_agent_version":
			value = n.GetUserAgentVersion()
		case "locality.region":
			value = n.GetLocality().GetRegion()
		case "locality.zone":
			value = n.GetLocality().GetZone()
		case "locality.sub_zone":
			value = n.GetLocality().GetSubZone()
		default:
			c.warn(p.elem("node_context_params", i), "%q is no field of the node that weir tells: it is left out", name)
			continue
		}
		if value == "" {
			continue
		}
		if out == nil {
			out = map[string]string{}
		}
		out["xds.node."+name] = value
	}
	return out
}
