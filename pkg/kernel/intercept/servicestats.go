package intercept

import (
	"maps"
	"slices"
	"sync/atomic"

	"github.com/weir-proxy/weir/pkg/kernel/steer"
)

// ServiceStats are a service's counters. They count up for as long as the service is known.
type ServiceStats struct {
	// Active is how many connections there are, those that are being made included.
	Active uint64
	// Total is how many were begun.
	Total uint64
	// NoEndpoint is how many were refused because the service had no endpoint, Overflow how many because it had as many
	// connections as it may have.
	NoEndpoint, Overflow uint64
	// Denied is how many the policy refused, Limited how many were too many for a connection_limit filter.
	Denied, Limited uint64
	// Policies are the results of the service's policies, those of earlier ones included, by where they are counted.
	Policies []PolicyStats
	// Endpoints are those of the service, in its order, then such as have left it and have connections still.
	Endpoints []EndpointStats
	// Gone sums up the endpoints that have left and have no connections any more, one entry for each cluster, without Addr.
	Gone []EndpointStats
}

// EndpointStats are the counters of an endpoint of one service.
type EndpointStats struct {
	// Endpoint that they are of.
	steer.Endpoint
	// Active is how many connections there are, those that are being made included.
	Active uint64
	// Total is how many were begun, ConnectFail how many of these the endpoint or the network refused or did not answer. One
	// that the application gave up on is no failure.
	Total, ConnectFail uint64
	// RxBytes is the payload that was received from the endpoint, TxBytes the payload that it acknowledged. A connection adds
	// to them when it is over, and about once in a second while what it sends is acknowledged; what a connection receives that
	// sends nothing is added at its end.
	RxBytes, TxBytes uint64
}

func (e EndpointStats) plus(other EndpointStats) EndpointStats {
	e.Cluster = other.Cluster
	e.Total += other.Total
	e.ConnectFail += other.ConnectFail
	e.RxBytes += other.RxBytes
	e.TxBytes += other.TxBytes
	return e
}

// ServiceStats reads the counters of a service, from memory that the kernel shares. The result is false for one that is not
// known: never applied and in no rule, or forgotten since.
func (i *Interceptor) ServiceStats(name string) (ServiceStats, bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	have := i.services.byName[name]
	if i.closed || have == nil {
		return ServiceStats{}, false
	}
	stats := i.services.stats(have)
	if have.spec != nil {
		for _, e := range have.spec.Endpoints {
			stats.Endpoints = append(stats.Endpoints, i.services.endpointStats(e, have.endpoints[e]))
		}
	}
	for _, e := range slices.SortedFunc(maps.Keys(have.leaving), compareEndpoints) {
		if left := i.services.endpointStats(e, have.leaving[e].number); left.Active > 0 || left.Total > 0 {
			stats.Endpoints = append(stats.Endpoints, left)
		}
	}
	stats.Policies = i.services.policies.stats(have)
	for _, cluster := range slices.Sorted(maps.Keys(have.gone)) {
		stats.Gone = append(stats.Gone, have.gone[cluster])
	}
	return stats, true
}

// ServiceTotals is ServiceStats without Endpoints and Gone, which have not changed when nothing of it has. It does not allocate.
func (i *Interceptor) ServiceTotals(name string) (ServiceStats, bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	have := i.services.byName[name]
	if i.closed || have == nil {
		return ServiceStats{}, false
	}
	return i.services.stats(have), true
}

func compareEndpoints(a, b steer.Endpoint) int { return a.Addr.Compare(b.Addr) }

// stats reads what the service itself counts.
func (s *services) stats(have *service) ServiceStats {
	w := s.service(have.number)
	return ServiceStats{
		Active: uint64(atomic.LoadUint32(&w.Active)), Total: atomic.LoadUint64(&w.Total),
		NoEndpoint: atomic.LoadUint64(&w.NoEndpoint), Overflow: atomic.LoadUint64(&w.Overflow),
		Denied: atomic.LoadUint64(&w.Denied), Limited: atomic.LoadUint64(&w.Limited),
	}
}

func (s *services) endpointStats(e steer.Endpoint, number uint32) EndpointStats {
	u := s.upstream(number)
	return EndpointStats{
		Endpoint: e,
		Active:   uint64(atomic.LoadUint32(&u.Active)), Total: atomic.LoadUint64(&u.Total),
		ConnectFail: atomic.LoadUint64(&u.ConnectFail),
		RxBytes:     atomic.LoadUint64(&u.RxBytes), TxBytes: atomic.LoadUint64(&u.TxBytes),
	}
}
