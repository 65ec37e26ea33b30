package view

import (
	"iter"

	adminv3 "github.com/envoyproxy/go-control-plane/envoy/admin/v3"
	statusv3 "github.com/envoyproxy/go-control-plane/envoy/service/status/v3"

	"github.com/weir-proxy/weir/pkg/config/store"
	"github.com/weir-proxy/weir/pkg/config/xds"
)

// ClientStatus implements admin.ClientStatus: listeners, routes, clusters, endpoints, secrets, filters and scopes, each in order of names,
// and then what is waited for.
func (v Config) ClientStatus() iter.Seq[*statusv3.ClientConfig_GenericXdsConfig] {
	d := v.Dump()
	return func(yield func(*statusv3.ClientConfig_GenericXdsConfig) bool) {
		_ = resourceStatus(xds.ListenerType, d.Listeners, yield) && resourceStatus(xds.RouteType, d.Routes, yield) &&
			resourceStatus(xds.ClusterType, d.Clusters, yield) && resourceStatus(xds.EndpointType, d.Endpoints, yield) &&
			resourceStatus(xds.SecretType, d.Secrets, yield) && resourceStatus(xds.FilterType, d.Filters, yield) &&
			resourceStatus(xds.ScopedRouteType, d.AllScopes(), yield) &&
			requested(d, yield)
	}
}

// resourceStatus visits the resources of a type; false ends the visit.
func resourceStatus[M any](typeURL string, slots []store.Slot[M], yield func(*statusv3.ClientConfig_GenericXdsConfig) bool) bool {
	for i := range slots {
		s := &slots[i]
		if s.Active == nil && s.Warming == nil && s.Failure == nil {
			continue
		}
		out := &statusv3.ClientConfig_GenericXdsConfig{
			TypeUrl: typeURL, Name: s.Name, ErrorState: failed(s.Failure), ClientStatus: status(s), IsStaticResource: static(s) != nil,
		}
		e := s.Warming // the newest that was accepted
		if e == nil {
			e = s.Active
		}
		if e != nil {
			out.VersionInfo, out.XdsConfig, out.LastUpdated = e.Version, e.Raw, stamp(e.Updated)
		}
		if !yield(out) {
			return false
		}
	}
	return true
}

// requested visits what was asked for and has not come.
func requested(d *store.Dump, yield func(*statusv3.ClientConfig_GenericXdsConfig) bool) bool {
	for _, w := range d.Waiting {
		if !yield(&statusv3.ClientConfig_GenericXdsConfig{TypeUrl: w.Type, Name: w.Name, ClientStatus: adminv3.ClientResourceStatus_REQUESTED}) {
			return false
		}
	}
	return true
}
