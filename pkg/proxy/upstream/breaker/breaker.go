// Package breaker bounds how much of one thing a cluster may have under way (envoy.config.cluster.v3.CircuitBreakers).
//
// It owns the count and its gauges. It must not know what is counted. All methods are safe for concurrent use and take
// no lock.
package breaker

import (
	"sync/atomic"

	"github.com/weir-proxy/weir/pkg/observe/stats"
)

// Breaker counts one resource against a limit.
type Breaker struct {
	limit     atomic.Int64
	budget    atomic.Pointer[Budget]
	used      atomic.Int64
	isOpen    atomic.Bool
	open      *stats.Gauge
	remaining atomic.Pointer[stats.Gauge]
}

// Budget is a limit that follows what is under way elsewhere: so many percent of it, and Least at the least.
type Budget struct {
	Percent float64
	Least   uint32
	// Of are the breakers whose counts are added up.
	Of []*Breaker
}

func (g *Budget) limit() int64 {
	used := int64(0)
	for _, b := range g.Of {
		used += b.Used()
	}
	return max(int64(g.Percent/100*float64(used)), int64(g.Least))
}

// New makes a breaker that shows in the gauge open whether the limit is reached: 0 closed, 1 open.
func New(limit uint32, open *stats.Gauge) *Breaker {
	b := &Breaker{}
	b.Init(limit, open)
	return b
}

// Init makes a breaker of the zero value, as New does, for those that are part of something else.
func (b *Breaker) Init(limit uint32, open *stats.Gauge) {
	b.open = open
	b.limit.Store(int64(limit))
	b.publish(0)
}

// SetLimit changes the limit; what is under way beyond it goes on.
func (b *Breaker) SetLimit(limit uint32) {
	b.limit.Store(int64(limit))
	b.publish(b.used.Load())
}

// SetBudget makes g the limit in place of the one of SetLimit; nil ends that. g must not change afterwards.
func (b *Breaker) SetBudget(g *Budget) {
	b.budget.Store(g)
	b.publish(b.used.Load())
}

// most is the limit at present.
func (b *Breaker) most() int64 {
	if g := b.budget.Load(); g != nil {
		return g.limit()
	}
	return b.limit.Load()
}

// Track shows from now on in g how much is left; nil stops that.
func (b *Breaker) Track(g *stats.Gauge) {
	b.remaining.Store(g)
	b.publish(b.used.Load())
}

// Try takes one, or tells that the limit is reached.
func (b *Breaker) Try() bool {
	n := b.used.Add(1)
	if n > b.most() {
		b.used.Add(-1)
		return false
	}
	b.publish(n)
	return true
}

// Force takes one even beyond the limit.
func (b *Breaker) Force() { b.publish(b.used.Add(1)) }

// Release gives one back.
func (b *Breaker) Release() { b.publish(b.used.Add(-1)) }

// Used is how much is under way.
func (b *Breaker) Used() int64 { return b.used.Load() }

// Full tells whether Try would refuse now.
func (b *Breaker) Full() bool { return b.used.Load() >= b.most() }

// publish writes the gauge only when its value changes, so that requests do not share a written cache line more than the
// count itself.
func (b *Breaker) publish(used int64) {
	limit := b.most()
	if full := used >= limit; full != b.isOpen.Load() {
		b.settle()
	}
	if g := b.remaining.Load(); g != nil {
		g.Set(uint64(max(limit-used, 0)))
	}
}

// settle makes flag and gauge agree with the count. Of two racing calls the one that flips the flag moves the gauge.
func (b *Breaker) settle() {
	for {
		full := b.Full()
		if b.isOpen.CompareAndSwap(!full, full) {
			if full {
				b.open.Inc()
			} else {
				b.open.Dec()
			}
		}
		if b.Full() == b.isOpen.Load() {
			return
		}
	}
}
