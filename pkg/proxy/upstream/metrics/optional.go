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
