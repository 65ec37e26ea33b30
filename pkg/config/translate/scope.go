package translate

import (
	"fmt"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"

	"github.com/weir-proxy/weir/pkg/config/model"
)

// scopedRoutes translates the choice of route configurations by scope.
func (c *call) scopedRoutes(m *hcmv3.ScopedRoutes, p *path) *model.ScopedRoutes {
	out := &model.ScopedRoutes{Name: m.GetName(), RouteSource: c.source(m.GetRdsConfigSource(), p.field("rds_config_source"))}
	at := p.field("scope_key_builder")
	for i, f := range m.GetScopeKeyBuilder().GetFragments() {
		out.Key = append(out.Key, c.scopeFragment(f.GetHeaderValueExtractor(), at.elem("fragments", i).field("header_value_extractor")))
	}
	switch k := m.GetConfigSpecifier().(type) {
	case *hcmv3.ScopedRoutes_ScopedRouteConfigurationsList:
		c.inlineScopes(k.ScopedRouteConfigurationsList.GetScopedRouteConfigurations(), out, p.field("scoped_route_configurations_list"))
	case *hcmv3.ScopedRoutes_ScopedRds:
		at := p.field("scoped_rds")
		out.Source = c.source(k.ScopedRds.GetScopedRdsConfigSource(), at.field("scoped_rds_config_source"))
		if out.RouteSource == nil {
			c.fail(p.field("rds_config_source"), "must be set: the scopes that SRDS delivers name route configurations")
		}
	}
	return out
}

// scopeFragment translates how a fragment of the key is taken out of a header.
func (c *call) scopeFragment(m *hcmv3.ScopedRoutes_ScopeKeyBuilder_FragmentBuilder_HeaderValueExtractor, p *path) model.ScopeFragment {
	out := model.ScopeFragment{Header: strings.ToLower(m.GetName()), ElementSeparator: m.GetElementSeparator(), Index: int(m.GetIndex())}
	if e := m.GetElement(); e != nil {
		out.ByKey, out.KeySeparator, out.ElementKey = true, e.GetSeparator(), e.GetKey()
	}
	if out.Index > 0 && out.ElementSeparator == "" {
		c.fail(p.field("index"), "Index > 0 for empty string element separator.")
	}
	return out
}

// inlineScopes translates the scopes of a list.
func (c *call) inlineScopes(list []*routev3.ScopedRouteConfiguration, out *model.ScopedRoutes, p *path) {
	owner, names := map[string]string{}, map[string]bool{}
	for i, m := range list {
		at := p.elem("scoped_route_configurations", i)
		s := c.scope(m, at)
		if names[s.Name] {
			c.fail(at.field("name"), "duplicate scoped route configuration '%s' found", s.Name)
		}
		names[s.Name] = true
		if first, taken := owner[s.Key]; taken {
			c.fail(at.field("key"), "%s", ScopeConflict(first, s.Name))
		}
		owner[s.Key] = s.Name
		if s.InlineRoutes == nil && out.RouteSource == nil {
			c.fail(at.field("route_configuration_name"), "needs rds_config_source, which is not set")
		}
		out.Scopes = append(out.Scopes, s)
	}
}

// ScopeConflict is Envoy's text about two scopes with one key.
func ScopeConflict(first, second string) string {
	return "scope key conflict found, first scope is '" + first + "', second scope is '" + second + "'"
}

// scope translates one scope.
func (c *call) scope(m *routev3.ScopedRouteConfiguration, p *path) *model.Scope {
	out := &model.Scope{Resource: c.identity(m.GetName(), m), RouteConfigName: m.GetRouteConfigurationName(), OnDemand: m.GetOnDemand()}
	var fragments []string
	for i, f := range m.GetKey().GetFragments() {
		if strings.Contains(f.GetStringKey(), model.ScopeSeparator) {
			c.fail(p.field("key").elem("fragments", i), "must not hold the control character 1F, which no header has")
		}
		fragments = append(fragments, f.GetStringKey())
	}
	out.Key = model.ScopeKey(fragments)
	inline := m.GetRouteConfiguration()
	switch {
	case inline != nil && out.RouteConfigName != "":
		c.fail(p, "only one of route_configuration and route_configuration_name may be set")
	case inline == nil && out.RouteConfigName == "":
		c.fail(p, "one of route_configuration and route_configuration_name must be set")
	case inline != nil && out.OnDemand:
		c.fail(p.field("on_demand"), "an inline route_configuration cannot be loaded on demand")
	case inline != nil:
		out.InlineRoutes = c.routes(inline, p.field("route_configuration"), false)
		c.inlineVHDS(out.InlineRoutes, p.field("route_configuration"))
	}
	return out
}

// Scope translates a scope that was delivered by SRDS.
func (t *Translator) Scope(m *routev3.ScopedRouteConfiguration, meta Meta) (*model.Scope, []Warning, error) {
	c := t.begin(m, meta, resourceName("scoped route configuration", m.GetName()))
	out := c.scope(m, nil)
	warnings, err := c.end(m)
	if err != nil {
		return nil, warnings, err
	}
	return out, warnings, nil
}

// scopes checks the choice of route configurations by scope; s may be nil.
func (r *references) scopes(resource, at string, s *model.ScopedRoutes) {
	if s == nil {
		return
	}
	r.source(resource, at+".rds_config_source", s.RouteSource)
	r.source(resource, at+".scoped_rds.scoped_rds_config_source", s.Source)
	for i, scope := range s.Scopes {
		at := fmt.Sprintf("%s.scoped_route_configurations_list.scoped_route_configurations[%d]", at, i)
		if scope.InlineRoutes != nil {
			r.routes(resource, at+".route_configuration", scope.InlineRoutes)
			continue
		}
		name := scope.RouteConfigName
		r.delivered(missing{resource, at + ".route_configuration_name", "route configuration", name}, r.Routes[name] != nil)
	}
}
