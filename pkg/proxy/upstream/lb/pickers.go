package lb

import (
	"math"
	"sync/atomic"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/upstream"
)

// newPicker makes the picker of a policy; nil without hosts.
func newPicker(hosts []*upstream.Host, opt *Options) picker {
	if len(hosts) == 0 {
		return nil
	}
	steady := newSteadyPicker(hosts, opt)
	if opt.SlowStart.Window > 0 && len(hosts) > 1 {
		return newSlowPicker(hosts, steady, opt)
	}
	return steady
}

// newSteadyPicker makes the picker of a policy among hosts of which there is at least one and whose weights do not grow.
func newSteadyPicker(hosts []*upstream.Host, opt *Options) picker {
	switch {
	case opt.Policy == model.LBRandom:
		return randomPicker(hosts)
	case opt.Policy == model.LBLeastRequest && opt.LeastRequest.FullScan && sameWeights(hosts):
		return scanPicker(hosts)
	case opt.Policy == model.LBLeastRequest && sameWeights(hosts):
		return &leastPicker{hosts: hosts, choices: max(2, opt.LeastRequest.ChoiceCount)}
	case opt.Policy == model.LBLeastRequest:
		return newBiasedPicker(hosts, opt)
	case sameWeights(hosts):
		r := &roundRobin{hosts: hosts}
		r.next.Store(opt.Rand() >> 1) // leaves room to count up
		return r
	}
	weights := make([]float64, len(hosts))
	for i, h := range hosts {
		weights[i] = float64(max(1, h.Weight))
	}
	return &weightedPicker{hosts: hosts, edf: newEDF(weights, opt.Rand)}
}

func sameWeights(hosts []*upstream.Host) bool {
	for _, h := range hosts {
		if h.Weight != hosts[0].Weight {
			return false
		}
	}
	return true
}

// roundRobin takes the hosts in turn.
type roundRobin struct {
	hosts []*upstream.Host
	next  atomic.Uint64
}

func (r *roundRobin) pick(func() uint64) *upstream.Host {
	return r.hosts[r.next.Add(1)%uint64(len(r.hosts))]
}

// randomPicker takes any host, whatever its weight, as Envoy's random balancer does.
type randomPicker []*upstream.Host

func (r randomPicker) pick(random func() uint64) *upstream.Host { return r[index(random, len(r))] }

// index draws a number below n (below 2^32).
func index(random func() uint64, n int) int { return int(random() >> 32 * uint64(n) >> 32) }

// leastPicker takes the host with the fewest requests under way among some drawn at random.
type leastPicker struct {
	hosts   []*upstream.Host
	choices int
}

func (l *leastPicker) pick(random func() uint64) *upstream.Host {
	best := l.hosts[index(random, len(l.hosts))]
	for range l.choices - 1 {
		if h := l.hosts[index(random, len(l.hosts))]; h.Stats.RqActive.Load() < best.Stats.RqActive.Load() {
			best = h
		}
	}
	return best
}

// scanPicker takes the host with the fewest requests under way of all, any of them when there are several.
type scanPicker []*upstream.Host

func (s scanPicker) pick(random func() uint64) *upstream.Host {
	best, equals := s[0], 1
	least := best.Stats.RqActive.Load()
	for _, h := range s[1:] {
		switch active := h.Stats.RqActive.Load(); {
		case active < least:
			best, least, equals = h, active, 1
		case active == least:
			if equals++; index(random, equals) == 0 {
				best = h
			}
		}
	}
	return best
}

// weightedPicker takes hosts by weight, earliest deadline first.
type weightedPicker struct {
	hosts []*upstream.Host
	edf   *edf
}

func (w *weightedPicker) pick(func() uint64) *upstream.Host { return w.hosts[w.edf.next()] }

// newBiasedPicker takes hosts by their biased weights, computed anew at each turn.
func newBiasedPicker(hosts []*upstream.Host, opt *Options) picker {
	bias := opt.LeastRequest.ActiveRequestBias
	weight := func(i int) float64 { return biased(hosts[i], bias) }
	return &weightedPicker{hosts: hosts, edf: newDynamicEDF(len(hosts), weight, opt.Rand)}
}

// biased is weight / (active requests + 1) ^ bias.
func biased(h *upstream.Host, bias float64) float64 {
	w, active := float64(max(1, h.Weight)), float64(max(0, h.Stats.RqActive.Load()))
	switch bias {
	case 0:
		return w
	case 1:
		return w / (active + 1)
	}
	return w / math.Pow(active+1, bias)
}

func (r *roundRobin) members() []*upstream.Host     { return r.hosts }
func (r randomPicker) members() []*upstream.Host    { return r }
func (l *leastPicker) members() []*upstream.Host    { return l.hosts }
func (s scanPicker) members() []*upstream.Host      { return s }
func (w *weightedPicker) members() []*upstream.Host { return w.hosts }
func (s *slowPicker) members() []*upstream.Host     { return s.steady.members() }
