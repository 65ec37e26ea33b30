package view

import (
	"iter"

	adminv3 "github.com/envoyproxy/go-control-plane/envoy/admin/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/observe/admin"
	"github.com/weir-proxy/weir/pkg/proxy/upstream"
	"github.com/weir-proxy/weir/pkg/proxy/upstream/cluster"
)

// Clusters shows the clusters at work.
type Clusters struct {
	// All gives them by name (cluster.Manager.All).
	All func() model.Set[*cluster.Cluster]
}

var _ admin.Clusters = Clusters{}

// Clusters implements admin.Clusters.
func (v Clusters) Clusters(keep func(name string) bool) iter.Seq[admin.Cluster] {
	return func(yield func(admin.Cluster) bool) {
		for name, c := range v.All().Sorted() {
			if keep(name) && !yield(clusterStatus(c)) {
				return
			}
		}
	}
}

func clusterStatus(of *cluster.Cluster) admin.Cluster {
	c := of.Config()
	status := &adminv3.ClusterStatus{
		Name:              c.Name,
		ObservabilityName: c.StatName(),
		AddedViaApi:       c.Dynamic,
		EdsServiceName:    c.EDSServiceName,
		CircuitBreakers: &clusterv3.CircuitBreakers{Thresholds: []*clusterv3.CircuitBreakers_Thresholds{
			thresholds(corev3.RoutingPriority_DEFAULT, &c.Breakers[0]), thresholds(corev3.RoutingPriority_HIGH, &c.Breakers[1]),
		}},
	}
	out := admin.Cluster{Status: status}
	showRates(of, &out)
	for _, h := range of.HostsListed() {
		status.HostStatuses = append(status.HostStatuses, hostStatus(h))
		out.Canary = append(out.Canary, isCanary(h))
	}
	return out
}

func thresholds(p corev3.RoutingPriority, b *model.CircuitBreaker) *clusterv3.CircuitBreakers_Thresholds {
	return &clusterv3.CircuitBreakers_Thresholds{
		Priority:           p,
		MaxConnections:     wrapperspb.UInt32(b.MaxConnections),
		MaxPendingRequests: wrapperspb.UInt32(b.MaxPendingRequests),
		MaxRequests:        wrapperspb.UInt32(b.MaxRequests),
		MaxRetries:         wrapperspb.UInt32(b.MaxRetries),
	}
}

func hostStatus(h *upstream.Host) *adminv3.HostStatus {
	out := &adminv3.HostStatus{
		Address:      hostAddress(h),
		Stats:        hostStats(h.Stats),
		HealthStatus: healthStatus(h),
		Weight:       h.Weight,
		Hostname:     h.Hostname,
		Priority:     h.Priority,
		Locality:     locality(h.Locality),
	}
	answers, way := h.Outlier.SuccessRates()
	out.SuccessRate, out.LocalOriginSuccessRate = known(answers), known(way)
	return out
}

// known is a rate, nil for one of -1.
func known(rate float64) *typev3.Percent {
	if rate < 0 {
		return nil
	}
	return &typev3.Percent{Value: rate}
}

// showRates tells what hosts are ejected by.
func showRates(of *cluster.Cluster, out *admin.Cluster) {
	answers, way, ok := of.OutlierRates()
	if !ok {
		return
	}
	out.Outlier = &admin.OutlierAverages{SuccessRate: answers.Mean, LocalOriginSuccessRate: way.Mean}
	out.Status.SuccessRateEjectionThreshold = known(answers.Threshold)
	out.Status.LocalOriginSuccessRateEjectionThreshold = known(way.Threshold)
}

func hostAddress(h *upstream.Host) *corev3.Address {
	if h.Pipe != "" {
		return pipeAddress(h.Pipe)
	}
	return socketAddress(h.Address)
}

// hostStats are a host's counters and then its gauges, as Envoy orders them.
func hostStats(s *upstream.HostStats) []*adminv3.SimpleMetric {
	if s == nil {
		return nil
	}
	counter := func(name string, v uint64) *adminv3.SimpleMetric {
		return &adminv3.SimpleMetric{Name: name, Value: v}
	}
	gauge := func(name string, v int64) *adminv3.SimpleMetric {
		return &adminv3.SimpleMetric{Name: name, Value: uint64(max(v, 0)), Type: adminv3.SimpleMetric_GAUGE}
	}
	return []*adminv3.SimpleMetric{
		counter("cx_connect_fail", s.CxConnectFail.Load()),
		counter("cx_total", s.CxTotal.Load()),
		counter("rq_error", s.RqError.Load()),
		counter("rq_success", s.RqSuccess.Load()),
		counter("rq_timeout", s.RqTimeout.Load()),
		counter("rq_total", s.RqTotal.Load()),
		gauge("cx_active", s.CxActive.Load()),
		gauge("rq_active", s.RqActive.Load()),
	}
}

// healthStatus is what the control plane, active checks and outlier detection say of a host.
func healthStatus(h *upstream.Host) *adminv3.HostHealthStatus {
	has := func(f upstream.HealthFlags) bool { return h.Flags&f != 0 }
	return &adminv3.HostHealthStatus{
		EdsHealthStatus: edsHealth(h.Health), FailedActiveHealthCheck: has(upstream.FailedActiveHC),
		FailedActiveDegradedCheck: has(upstream.DegradedActiveHC), PendingDynamicRemoval: has(upstream.PendingDynamicRemoval),
		PendingActiveHc: has(upstream.PendingActiveHC), ExcludedViaImmediateHcFail: has(upstream.ExcludedViaImmediateHCFail),
		ActiveHcTimeout: has(upstream.ActiveHCTimeout), FailedOutlierCheck: has(upstream.FailedOutlierCheck),
	}
}

// edsHealth is what /clusters shows: as in Envoy a host that nothing is known of is healthy, and one that timed out is not.
func edsHealth(h model.HealthStatus) corev3.HealthStatus {
	switch h {
	case model.HealthUnhealthy, model.HealthTimeout:
		return corev3.HealthStatus_UNHEALTHY
	case model.HealthDraining:
		return corev3.HealthStatus_DRAINING
	case model.HealthDegraded:
		return corev3.HealthStatus_DEGRADED
	}
	return corev3.HealthStatus_HEALTHY
}

func locality(l *model.Locality) *corev3.Locality {
	if l == nil {
		return &corev3.Locality{}
	}
	return &corev3.Locality{Region: l.Region, Zone: l.Zone, SubZone: l.SubZone}
}

// isCanary reads envoy.lb's canary key.
func isCanary(h *upstream.Host) bool {
	if h.Endpoint == nil {
		return false
	}
	canary, ok := h.Endpoint.Metadata["envoy.lb"]["canary"].(bool)
	return ok && canary
}
