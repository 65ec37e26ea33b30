package cluster

import (
	"math"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/observe/stats"
	"github.com/weir-proxy/weir/pkg/proxy/upstream"
	"github.com/weir-proxy/weir/pkg/proxy/upstream/breaker"
	"github.com/weir-proxy/weir/pkg/proxy/upstream/health"
	"github.com/weir-proxy/weir/pkg/proxy/upstream/metrics"
	"github.com/weir-proxy/weir/pkg/proxy/upstream/outlier"
	"github.com/weir-proxy/weir/pkg/proxy/upstream/pool"
)

// core is what a cluster and its successors of the same name share as long as they connect in the same way: statistics,
// circuit breakers, and how connections are made.
type core struct {
	shared     *pool.Shared
	transports *transports
	// http is how all its hosts are spoken to.
	http model.UpstreamHTTP
	// retries by priority: [0] default, [1] high. breakers holds them, and those of shared.
	retries  [2]*breaker.Breaker
	breakers [2][5]breaker.Breaker
	drops    drops
	// outliers watches the hosts; nil without outlier detection.
	outliers atomic.Pointer[outlier.Detector]
	// health is made when the cluster is first checked.
	health struct {
		once   sync.Once
		stats  *health.Stats
		gauges healthGauges
	}
}

// healthGauges tell how many hosts are healthy and degraded (cluster.<name>.health_check.*).
type healthGauges struct{ healthy, degraded *stats.Gauge }

func (k *core) makeHealth() {
	k.health.once.Do(func() {
		sc := k.shared.Stats.Scope().Scope("health_check")
		k.health.stats = health.NewStats(k.shared.Stats.Scope())
		k.health.gauges = healthGauges{healthy: sc.Gauge("healthy"), degraded: sc.Gauge("degraded")}
	})
}

func (k *core) healthStats() *health.Stats {
	k.makeHealth()
	return k.health.stats
}

func (k *core) healthGauges() *healthGauges {
	k.makeHealth()
	return &k.health.gauges
}

func (m *Manager) newCore(cfg *model.Cluster) *core {
	scope := m.opt.Stats.Scope("cluster." + stats.Sanitize(cfg.StatName()))
	counters := metrics.NewCluster(scope)
	k := &core{
		shared:     &pool.Shared{Runtime: m.runtime, Codecs: newCodecs(m.buffers, scope), Stats: counters},
		transports: m.newTransports(cfg, counters),
		http:       cfg.HTTP,
	}
	for i := range counters.Breakers {
		of, open := &k.breakers[i], &counters.Breakers[i]
		k.shared.Connections[i], k.shared.Pending[i], k.shared.Pools[i] = &of[0], &of[1], &of[2]
		k.shared.Requests[i], k.retries[i] = &of[3], &of[4]
		for n, gauge := range [...]*stats.Gauge{open.CxOpen, open.RqPendingOpen, open.CxPoolOpen, open.RqOpen, open.RqRetryOpen} {
			of[n].Init(0, gauge)
		}
	}
	return k
}

// configure sets what may change without a new core.
func (k *core) configure(cfg *model.Cluster, runtime *model.Runtime) {
	connectTimeout := cfg.ConnectTimeout
	if connectTimeout <= 0 {
		connectTimeout = 5 * time.Second // Envoy's default
	}
	k.shared.SetLimits(pool.Limits{
		ConnectTimeout: connectTimeout, IdleTimeout: cfg.IdleTimeout, TCPIdleTimeout: cfg.TCPIdleTimeout,
		MaxDuration: cfg.MaxConnectionDuration, MaxRequests: cfg.MaxRequestsPerConnection, PerHost: cfg.HostConnections,
	})
	for i := range cfg.Breakers {
		b := Thresholds(cfg, i, runtime)
		k.limit(i, b.TrackRemaining, k.shared.Connections[i], b.MaxConnections, "remaining_cx")
		k.limit(i, b.TrackRemaining, k.shared.Pending[i], b.MaxPendingRequests, "remaining_pending")
		if b.MaxConnectionPools == 0 {
			b.MaxConnectionPools = math.MaxUint32 // Envoy's default: not bounded
		}
		k.limit(i, b.TrackRemaining, k.shared.Pools[i], b.MaxConnectionPools, "remaining_cx_pools")
		k.limit(i, b.TrackRemaining, k.shared.Requests[i], b.MaxRequests, "remaining_rq")
		k.limit(i, b.TrackRemaining && b.RetryBudget == nil, k.retries[i], b.MaxRetries, "remaining_retries")
		k.retries[i].SetBudget(k.retryBudget(i, b.RetryBudget))
	}
}

// retryBudget is the budget of a priority; nil where the number of retries is the limit.
func (k *core) retryBudget(priority int, b *model.RetryBudget) *breaker.Budget {
	if b == nil {
		return nil
	}
	return &breaker.Budget{
		Percent: b.Percent, Least: b.MinConcurrency, Of: []*breaker.Breaker{k.shared.Requests[priority], k.shared.Pending[priority]},
	}
}

func (k *core) limit(priority int, track bool, b *breaker.Breaker, limit uint32, remaining string) {
	b.SetLimit(limit)
	if track {
		name := [...]string{"circuit_breakers.default.", "circuit_breakers.high."}[priority] + remaining
		b.Track(k.shared.Stats.Scope().Gauge(name))
	} else {
		b.Track(nil)
	}
}

// sameCore tells whether a changed configuration leaves connections as good as new ones.
func sameCore(a, b *model.Cluster) bool {
	return a.StatName() == b.StatName() && a.Type == b.Type &&
		sameTLS(a.TLS, b.TLS) && sameMatches(a.TransportSocketMatches, b.TransportSocketMatches) &&
		reflect.DeepEqual(a.HTTP, b.HTTP) && a.BindAddress == b.BindAddress && a.BindOther == b.BindOther &&
		a.HappyEyeballs == b.HappyEyeballs && reflect.DeepEqual(a.TCPKeepalive, b.TCPKeepalive)
}

// sameTLS compares contexts, and how they follow requests, which is said outside of them.
func sameTLS(a, b *model.UpstreamTLS) bool {
	return a == b || a != nil && b != nil && a.Hash == b.Hash && a.AutoSNI == b.AutoSNI && a.AutoSAN == b.AutoSAN
}

func sameMatches(a, b []model.TransportSocketMatch) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if !sameTLS(a[i].TLS, b[i].TLS) || !reflect.DeepEqual(a[i].Match, b[i].Match) {
			return false
		}
	}
	return true
}

func priority(high bool) int {
	if high {
		return 1
	}
	return 0
}

// takeRequest takes a place of max_requests for a connection that is used as it is, which that does not bound, as in Envoy: only what
// HTTP asks in its pools is refused by it. releaseRequest must follow.
func (c *Cluster) takeRequest(high bool) { c.core.shared.Requests[priority(high)].Force() }

// releaseRequest gives the place of a takeRequest back.
func (c *Cluster) releaseRequest(high bool) {
	c.core.shared.Requests[priority(high)].Release()
}

// TryRetry takes a place of max_retries. On success ReleaseRetry must follow. The error is an *upstream.Error of
// KindOverflow, counted as upstream_rq_retry_overflow.
func (c *Cluster) TryRetry(high bool) error {
	if !c.core.retries[priority(high)].Try() {
		c.Stats().RqRetryOverflow.Inc()
		return &upstream.Error{Kind: upstream.KindOverflow, BeforeResponse: true}
	}
	return nil
}

// ReleaseRetry gives the place of a TryRetry back.
func (c *Cluster) ReleaseRetry(high bool) { c.core.retries[priority(high)].Release() }
