package view

import (
	adminv3 "github.com/envoyproxy/go-control-plane/envoy/admin/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/config/store"
	"github.com/weir-proxy/weir/pkg/observe/admin"
)

// scopesDump shows the scopes of SRDS, once for each name under which connection managers follow them, and those that are
// written inside listeners.
func scopesDump(d *store.Dump, name func(string) bool) admin.Section {
	return admin.Section{Message: &adminv3.ScopedRoutesConfigDump{}, Lists: []admin.List{
		{Field: "inline_scoped_route_configs", Elements: func(yield func(proto.Message) bool) {
			for i := range d.Listeners {
				e := newest(&d.Listeners[i])
				if e == nil || !hasScopes(e.Value) {
					continue
				}
				for _, m := range managers(e) {
					if s := inlineScopes(m, e, name); s != nil && !yield(s) {
						return
					}
				}
			}
		}},
		{Field: "dynamic_scoped_route_configs", Elements: func(yield func(proto.Message) bool) {
			seen := map[string]bool{}
			for i := range d.Listeners {
				e := newest(&d.Listeners[i])
				if e == nil {
					continue
				}
				for _, r := range e.Value.ScopeReferences() {
					if seen[r.Name] || !name(r.Name) {
						continue
					}
					if seen[r.Name] = true; !yield(dynamicScopes(d, r.Name)) {
						return
					}
				}
			}
		}},
	}}
}

// hasScopes tells a listener with scoped routes of its own.
func hasScopes(l *model.Listener) bool {
	for _, c := range append(l.FilterChains[:len(l.FilterChains):len(l.FilterChains)], l.DefaultFilterChain) {
		if c == nil {
			continue
		}
		for _, f := range c.Filters {
			if h, ok := f.Config.(*model.HTTPConnectionManager); ok && h.Scoped != nil && h.Scoped.Source == nil {
				return true
			}
		}
	}
	return false
}

func inlineScopes(m *hcmv3.HttpConnectionManager, e *store.Entry[*model.Listener], name func(string) bool) proto.Message {
	scoped := m.GetScopedRoutes()
	list := scoped.GetScopedRouteConfigurationsList()
	if list == nil || !name(scoped.GetName()) {
		return nil
	}
	out := &adminv3.ScopedRoutesConfigDump_InlineScopedRouteConfigs{Name: scoped.GetName(), LastUpdated: stamp(e.Updated)}
	for _, s := range list.GetScopedRouteConfigurations() {
		out.ScopedRouteConfigs = append(out.ScopedRouteConfigs, pack(s))
	}
	return out
}

// dynamicScopes shows what SRDS delivered. Its time and version are those of the newest scope.
func dynamicScopes(d *store.Dump, name string) proto.Message {
	out := &adminv3.ScopedRoutesConfigDump_DynamicScopedRouteConfigs{Name: name, ScopedRouteConfigs: []*anypb.Any{}}
	for i := range d.Scopes {
		s := &d.Scopes[i]
		if s.Failure != nil && out.ErrorState == nil {
			out.ErrorState = failed(s.Failure)
		}
		e := newest(s)
		if e == nil {
			continue
		}
		if out.ClientStatus == adminv3.ClientResourceStatus_UNKNOWN || s.Failure != nil {
			out.ClientStatus = status(s)
		}
		out.ScopedRouteConfigs = append(out.ScopedRouteConfigs, e.Raw)
		if at := stamp(e.Updated); out.LastUpdated == nil || at.AsTime().After(out.LastUpdated.AsTime()) {
			out.LastUpdated, out.VersionInfo = at, e.Version
		}
	}
	return out
}
