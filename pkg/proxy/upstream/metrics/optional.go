package metrics

import (
	"sync/atomic"

	"github.com/weir-proxy/weir/pkg/observe/stats"
)

// Sizes are the histograms of track_cluster_stats.request_response_sizes: bytes of heads and bodies, and fields of heads.
type Sizes struct {
	RqHeaders, RqHeaderCount, RqBody *stats.Histogram
	RsHeaders, RsHeaderCount, RsBody *stats.Histogram
}

// Budgets are the histograms of track_cluster_stats.timeout_budgets: how much of its timeout a request, and an attempt,
// has used, in percent.
type Budgets struct {
	Request, PerTry *stats.Histogram
}

// optional is what only some clusters have, made at its first use.
type optional struct {
	sizes   atomic.Pointer[Sizes]
	budgets atomic.Pointer[Budgets]
}

// Sizes returns the histograms of sizes.
func (m *Cluster) Sizes() *Sizes {
	if s := m.optional.sizes.Load(); s != nil {
		return s
	}
	bytes := func(name string) *stats.Histogram { return m.scope.Histogram(name, stats.Bytes) }
	count := func(name string) *stats.Histogram { return m.scope.Histogram(name, stats.Unspecified) }
	m.optional.sizes.CompareAndSwap(nil, &Sizes{
		RqHeaders: bytes("upstream_rq_headers_size"), RqHeaderCount: count("upstream_rq_headers_count"), RqBody: bytes("upstream_rq_body_size"),
		RsHeaders: bytes("upstream_rs_headers_size"), RsHeaderCount: count("upstream_rs_headers_count"), RsBody: bytes("upstream_rs_body_size"),
	})
	return m.optional.sizes.Load()
}

// Budgets returns the histograms of timeout budgets.
func (m *Cluster) Budgets() *Budgets {
	if b := m.optional.budgets.Load(); b != nil {
		return b
	}
	m.optional.budgets.CompareAndSwap(nil, &Budgets{
		Request: m.scope.Histogram("upstream_rq_timeout_budget_percent_used", stats.Unspecified),
		PerTry:  m.scope.Histogram("upstream_rq_timeout_budget_per_try_percent_used", stats.Unspecified),
	})
	return m.optional.budgets.Load()
}

// idle are the statistics that each cluster of Envoy has and that nothing in weir moves yet: zone aware routing, subsets,
// HTTP/3, 0-RTT and the cache of assignments. Dashboards and scripts ask for them by name.
func idle(scope *stats.Scope) {
	for _, name := range []string{
		"upstream_cx_http3_total", "upstream_http3_broken", "upstream_cx_connect_with_0_rtt", "upstream_rq_0rtt",
		"assignment_stale", "assignment_timeout_received", "assignment_use_cached",
		"lb_recalculate_zone_structures", "lb_zone_cluster_too_small", "lb_zone_routing_all_directly", "lb_zone_routing_sampled",
		"lb_zone_routing_cross_zone", "lb_local_cluster_not_ok", "lb_zone_number_differs", "lb_zone_no_capacity_left",
		"lb_subsets_created", "lb_subsets_removed", "lb_subsets_selected", "lb_subsets_fallback", "lb_subsets_fallback_panic",
	} {
		scope.Counter(name)
	}
	scope.Gauge("lb_subsets_active")
	scope.Gauge("lb_subsets_single_host_per_subset_duplicate")
}
