package view

import (
	adminv3 "github.com/envoyproxy/go-control-plane/envoy/admin/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/config/store"
	"github.com/weir-proxy/weir/pkg/observe/admin"
	"github.com/weir-proxy/weir/pkg/proxy/upstream"
	"github.com/weir-proxy/weir/pkg/proxy/upstream/cluster"
)

// endpointsDump shows the hosts of the clusters at work, and what of EDS was rejected.
func (v Config) endpointsDump(d *store.Dump, name func(string) bool) admin.Section {
	var all model.Set[*cluster.Cluster]
	if v.Clusters != nil {
		all = v.Clusters()
	}
	slots := make(map[string]*store.Slot[*model.LoadAssignment], len(d.Endpoints))
	for i := range d.Endpoints {
		slots[d.Endpoints[i].Name] = &d.Endpoints[i]
	}
	visit := func(yield func(c *cluster.Cluster, slot *store.Slot[*model.LoadAssignment]) bool) {
		for _, c := range all.Sorted() {
			if eds := c.Config().EDSName(); name(eds) && !yield(c, slots[eds]) {
				return
			}
		}
	}
	return admin.Section{Message: &adminv3.EndpointsConfigDump{}, Lists: []admin.List{
		{Field: "static_endpoint_configs", Elements: func(yield func(proto.Message) bool) {
			for c, slot := range visit {
				if !c.Config().Dynamic && !yield(&adminv3.EndpointsConfigDump_StaticEndpointConfig{EndpointConfig: pack(loadAssignment(c, slot))}) {
					return
				}
			}
		}},
		{Field: "dynamic_endpoint_configs", Elements: func(yield func(proto.Message) bool) {
			for c, slot := range visit {
				if c.Config().Dynamic && !yield(dynamicEndpoints(c, slot)) {
					return
				}
			}
		}},
	}}
}

// dynamicEndpoints is the entry of a cluster of CDS; slot is nil unless its endpoints come from EDS.
func dynamicEndpoints(c *cluster.Cluster, slot *store.Slot[*model.LoadAssignment]) proto.Message {
	out := &adminv3.EndpointsConfigDump_DynamicEndpointConfig{EndpointConfig: pack(loadAssignment(c, slot))}
	if slot == nil {
		return out
	}
	if e := newest(slot); e != nil {
		out.VersionInfo, out.LastUpdated = e.Version, stamp(e.Updated)
	}
	out.ErrorState, out.ClientStatus = failed(slot.Failure), status(slot)
	return out
}

// place is where hosts are, as they are grouped.
type place struct {
	locality *model.Locality
	priority uint32
}

// loadAssignment shows the hosts of a cluster as endpoints, grouped by priority and locality in order of first appearance.
func loadAssignment(c *cluster.Cluster, slot *store.Slot[*model.LoadAssignment]) *endpointv3.ClusterLoadAssignment {
	out := &endpointv3.ClusterLoadAssignment{ClusterName: c.Config().EDSName(), Policy: policy(c.Config(), slot)}
	groups := map[place]*endpointv3.LocalityLbEndpoints{}
	for _, h := range c.HostsListed() {
		at := place{h.Locality, h.Priority}
		group := groups[at]
		if group == nil {
			group = &endpointv3.LocalityLbEndpoints{Locality: locality(h.Locality), Priority: h.Priority}
			if h.Locality != nil && h.Locality.Weight > 0 {
				group.LoadBalancingWeight = wrapperspb.UInt32(h.Locality.Weight)
			}
			groups[at] = group
			out.Endpoints = append(out.Endpoints, group)
		}
		group.LbEndpoints = append(group.LbEndpoints, lbEndpoint(h))
	}
	return out
}

// policy is that of the assignment in force. As in Envoy all shares of drops are shown as one.
func policy(c *model.Cluster, slot *store.Slot[*model.LoadAssignment]) *endpointv3.ClusterLoadAssignment_Policy {
	a := c.Inline
	if slot != nil && slot.Active != nil {
		a = slot.Active.Value
	}
	out := &endpointv3.ClusterLoadAssignment_Policy{OverprovisioningFactor: wrapperspb.UInt32(140)} // Envoy's default
	if a == nil {
		return out
	}
	if a.OverprovisioningFactor > 0 {
		out.OverprovisioningFactor = wrapperspb.UInt32(a.OverprovisioningFactor)
	}
	passed := 1.0
	for _, drop := range a.DropOverloads {
		passed *= 1 - drop.Percent/100
	}
	if dropped := uint32((1 - passed) * 1e6); dropped > 0 {
		out.DropOverloads = []*endpointv3.ClusterLoadAssignment_Policy_DropOverload{{
			Category:       "drop_overload",
			DropPercentage: &typev3.FractionalPercent{Numerator: dropped, Denominator: typev3.FractionalPercent_MILLION},
		}}
	}
	return out
}

// coarseHealth is what all that is known of a host comes to, as in Envoy.
func coarseHealth(h *upstream.Host) corev3.HealthStatus {
	health := edsHealth(h.Health)
	switch {
	case h.Flags&(upstream.FailedActiveHC|upstream.FailedOutlierCheck) != 0, health == corev3.HealthStatus_UNHEALTHY, health == corev3.HealthStatus_DRAINING:
		return corev3.HealthStatus_UNHEALTHY
	case h.Flags&upstream.DegradedActiveHC != 0:
		return corev3.HealthStatus_DEGRADED
	}
	return health
}

func lbEndpoint(h *upstream.Host) *endpointv3.LbEndpoint {
	out := &endpointv3.LbEndpoint{
		HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{
			Address: hostAddress(h), Hostname: h.Hostname, HealthCheckConfig: &endpointv3.Endpoint_HealthCheckConfig{},
		}},
		HealthStatus:        coarseHealth(h),
		LoadBalancingWeight: wrapperspb.UInt32(h.Weight),
	}
	if h.Endpoint != nil && len(h.Endpoint.Metadata) > 0 {
		out.Metadata = &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{}}
		for filter, values := range h.Endpoint.Metadata {
			if s, err := structpb.NewStruct(values); err == nil {
				out.Metadata.FilterMetadata[filter] = s
			}
		}
	}
	return out
}
