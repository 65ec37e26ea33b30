package view

import (
	"iter"
	"time"

	adminv3 "github.com/envoyproxy/go-control-plane/envoy/admin/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/config/protoyaml"
	"github.com/weir-proxy/weir/pkg/config/store"
	"github.com/weir-proxy/weir/pkg/observe/admin"
)

// routesDump shows the route configurations of RDS, and as static ones those that are written inside listeners.
func routesDump(d *store.Dump, name func(string) bool) admin.Section {
	return admin.Section{Message: &adminv3.RoutesConfigDump{}, Lists: []admin.List{
		{Field: "static_route_configs", Elements: func(yield func(proto.Message) bool) {
			for m, updated := range allManagers(d) {
				r := m.GetRouteConfig()
				if r != nil && name(r.GetName()) && !yield(&adminv3.RoutesConfigDump_StaticRouteConfig{RouteConfig: pack(r), LastUpdated: stamp(updated)}) {
					return
				}
			}
		}},
		{Field: "dynamic_route_configs", Elements: each(d.Routes, name, func(s *store.Slot[*model.RouteConfig]) proto.Message {
			entry := &adminv3.RoutesConfigDump_DynamicRouteConfig{ErrorState: failed(s.Failure), ClientStatus: status(s)}
			if e := newest(s); e != nil {
				entry.VersionInfo, entry.RouteConfig, entry.LastUpdated = e.Version, withHosts(e.Raw, d.Hosts[s.Name]), stamp(e.Updated)
			} else if s.Failure == nil {
				return nil
			}
			return entry
		})},
	}}
}

// withHosts is a route configuration with the virtual hosts that VHDS delivered for it after its own ones, as Envoy shows it.
func withHosts(raw *anypb.Any, hosts []*anypb.Any) *anypb.Any {
	m := &routev3.RouteConfiguration{}
	if len(hosts) == 0 || raw.UnmarshalTo(m) != nil {
		return raw
	}
	for _, packed := range hosts {
		if h := (&routev3.VirtualHost{}); packed.UnmarshalTo(h) == nil {
			m.VirtualHosts = append(m.VirtualHosts, h)
		}
	}
	return pack(m)
}

// allManagers visits the connection managers of listeners and those that ECDS delivered, with when they came.
func allManagers(d *store.Dump) iter.Seq2[*hcmv3.HttpConnectionManager, time.Time] {
	return func(yield func(*hcmv3.HttpConnectionManager, time.Time) bool) {
		for i := range d.Listeners {
			e := newest(&d.Listeners[i])
			if e == nil {
				continue
			}
			for _, m := range managers(e) {
				if !yield(m, e.Updated) {
					return
				}
			}
		}
		for i := range d.Filters {
			e := newest(&d.Filters[i])
			if e == nil {
				continue
			}
			wrapper := &corev3.TypedExtensionConfig{}
			if e.Raw == nil || e.Raw.UnmarshalTo(wrapper) != nil {
				continue
			}
			if m := manager(wrapper.GetTypedConfig()); m != nil && !yield(m, e.Updated) {
				return
			}
		}
	}
}

// visitFilters visits the configurations of the network filters of a listener.
func visitFilters(e *store.Entry[*model.Listener], visit func(*anypb.Any)) {
	l := &listenerv3.Listener{}
	if e.Raw == nil || e.Raw.UnmarshalTo(l) != nil {
		return
	}
	chains := l.GetFilterChains()
	if c := l.GetDefaultFilterChain(); c != nil {
		chains = append(chains[:len(chains):len(chains)], c)
	}
	for _, c := range chains {
		for _, f := range c.GetFilters() {
			visit(f.GetTypedConfig())
		}
	}
}

// manager is the configuration of a connection manager, nil for any other filter.
func manager(packed *anypb.Any) *hcmv3.HttpConnectionManager {
	if packed == nil {
		return nil
	}
	m, err := protoyaml.UnwrapTypedStruct(packed, protoyaml.Options{AllowUnknown: true, SkipValidation: true})
	if err != nil {
		return nil
	}
	out, ok := m.(*hcmv3.HttpConnectionManager)
	if !ok {
		return nil
	}
	return out
}
