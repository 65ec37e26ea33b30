package lb

import (
	"math"
	"sync"

	"github.com/weir-proxy/weir/pkg/proxy/upstream"
)

// bounded keeps a consistent balancer from giving a host much more than its part (arXiv 1608.01350): a host that has more
// requests than the balance factor allows passes them on, to hosts in an order that depends on the hash only
// (arXiv 1908.08762).
type bounded struct {
	hasher
	shares []share
	part   map[*upstream.Host]float64
	factor uint32 // in percent of the average load
	active func() uint64
	shuffs sync.Pool
}

// shuffle draws hosts in random order.
type shuffle struct {
	random mt19937
	order  []int
}

func newBounded(h hasher, shares []share, opt *Options) *bounded {
	b := &bounded{hasher: h, shares: shares, part: make(map[*upstream.Host]float64), factor: opt.Hash.BalanceFactor, active: opt.Active}
	for i := range shares {
		b.part[shares[i].host] = shares[i].part
	}
	b.shuffs.New = func() any { return &shuffle{order: make([]int, len(shares))} }
	return b
}

// choose implements hasher.
func (b *bounded) choose(hash uint64, attempt int) *upstream.Host {
	first := b.hasher.choose(hash, attempt)
	slots := b.totalSlots()
	least := overload(first, b.part[first], slots)
	if least <= 1 {
		return first
	}
	s := b.shuffs.Get().(*shuffle)
	defer b.shuffs.Put(s)
	s.random.seed(uint32(hash))
	for i := range s.order {
		s.order[i] = i
	}
	best := first
	for i := range s.order {
		j := i + int(s.random.below(uint32(len(s.order)-i)))
		s.order[i], s.order[j] = s.order[j], s.order[i]
		other := &b.shares[s.order[i]]
		if other.host == first {
			continue
		}
		load := overload(other.host, other.part, slots)
		if load <= 1 {
			return other.host
		}
		if load < least {
			least, best = load, other.host
		}
	}
	return best
}

// totalSlots is how many requests all hosts together may have, this one included.
func (b *bounded) totalSlots() uint32 {
	return ((uint32(b.active())+1)*b.factor + 99) / 100
}

// overload is the requests of a host in proportion to those that it may have.
func overload(h *upstream.Host, part float64, slots uint32) float64 {
	own := max(math.Ceil(float64(slots)*part), 1)
	return float64(h.Stats.RqActive.Load()) / own
}
