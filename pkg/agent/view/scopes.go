package view

import (
	"cmp"
	"slices"
	"strings"
	"time"

	adminv3 "github.com/envoyproxy/go-control-plane/envoy/admin/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/config/store"
	"github.com/weir-proxy/weir/pkg/observe/admin"
)

// scopesDump shows the scopes that are written inside listeners, and those of SRDS, which all connection managers share that
// follow the same source.
func scopesDump(d *store.Dump, name func(string) bool) admin.Section {
	return admin.Section{Message: &adminv3.ScopedRoutesConfigDump{}, Lists: []admin.List{
		{Field: "inline_scoped_route_configs", Elements: func(yield func(proto.Message) bool) {
			for m, updated := range allManagers(d) {
				if out := inlineScopes(m, updated); out != nil && name(out.GetName()) && !yield(out) {
					return
				}
			}
		}},
		{Field: "dynamic_scoped_route_configs", Elements: func(yield func(proto.Message) bool) {
			for _, followed := range scopeNames(d) {
				if name(followed.name) && !yield(dynamicScopes(d, followed)) {
					return
				}
			}
		}},
	}}
}

// inlineScopes is nil for a connection manager without scopes of its own.
func inlineScopes(m *hcmv3.HttpConnectionManager, updated time.Time) *adminv3.ScopedRoutesConfigDump_InlineScopedRouteConfigs {
	list := m.GetScopedRoutes().GetScopedRouteConfigurationsList()
	if list == nil {
		return nil
	}
	out := &adminv3.ScopedRoutesConfigDump_InlineScopedRouteConfigs{Name: m.GetScopedRoutes().GetName(), LastUpdated: stamp(updated)}
	for _, scope := range list.GetScopedRouteConfigurations() {
		out.ScopedRouteConfigs = append(out.ScopedRouteConfigs, pack(scope))
	}
	return out
}

// followedScopes are the scopes that a connection manager follows: their name, and the ID of their source.
type followedScopes struct{ name, source string }

// scopeNames are those that follow SRDS, in order.
func scopeNames(d *store.Dump) []followedScopes {
	var names []followedScopes
	add := func(refs []model.ScopeReference) {
		for _, r := range refs {
			names = append(names, followedScopes{r.Name, r.Source.ID()})
		}
	}
	for i := range d.Listeners {
		if e := newest(&d.Listeners[i]); e != nil {
			add(e.Value.ScopeReferences())
		}
	}
	for i := range d.Filters {
		if e := newest(&d.Filters[i]); e != nil {
			add(e.Value.ScopeReferences())
		}
	}
	slices.SortFunc(names, func(a, b followedScopes) int {
		return cmp.Or(strings.Compare(a.name, b.name), strings.Compare(a.source, b.source))
	})
	return slices.Compact(names)
}

// dynamicScopes has the version of the response that came last, and the last failure.
func dynamicScopes(d *store.Dump, followed followedScopes) *adminv3.ScopedRoutesConfigDump_DynamicScopedRouteConfigs {
	out := &adminv3.ScopedRoutesConfigDump_DynamicScopedRouteConfigs{Name: followed.name, ClientStatus: adminv3.ClientResourceStatus_REQUESTED}
	var last *store.Entry[*model.Scope]
	var failure *store.Failure
	slots := d.Scopes[followed.source]
	for i := range slots {
		s := &slots[i]
		if e := newest(s); e != nil {
			out.ScopedRouteConfigs = append(out.ScopedRouteConfigs, e.Raw)
			if last == nil || e.Updated.After(last.Updated) {
				last = e
			}
		}
		if f := s.Failure; f != nil && (failure == nil || f.When.After(failure.When)) {
			failure = f
		}
	}
	if last != nil {
		out.VersionInfo, out.LastUpdated, out.ClientStatus = last.Version, stamp(last.Updated), adminv3.ClientResourceStatus_ACKED
	}
	if failure != nil {
		out.ErrorState, out.ClientStatus = failed(failure), adminv3.ClientResourceStatus_NACKED
	}
	return out
}

// managers lists the connection managers of a listener.
func managers(e *store.Entry[*model.Listener]) []*hcmv3.HttpConnectionManager {
	var out []*hcmv3.HttpConnectionManager
	visitFilters(e, func(packed *anypb.Any) {
		if m := manager(packed); m != nil {
			out = append(out, m)
		}
	})
	return out
}
