package lb

import (
	"math"
	"sync/atomic"
	"time"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/upstream"
)

// slowPicker takes hosts by weights that grow as long as any of them is in its slow start window, and as the policy does
// otherwise (Envoy docs, "Slow start mode").
type slowPicker struct {
	growing *weightedPicker
	steady  picker
	until   time.Time   // when the last window is over
	over    atomic.Bool // it is, so that nobody need look at the clock
}

// newSlowPicker makes a picker that ends up as steady, and is steady when no host is in its window.
func newSlowPicker(hosts []*upstream.Host, steady picker, opt *Options) picker {
	now, until := time.Now(), time.Time{}
	for _, h := range hosts {
		if h.Since == nil || !h.Healthy() {
			continue
		}
		if end := h.Since.Add(opt.SlowStart.Window); end.After(until) {
			until = end
		}
	}
	if !until.After(now) {
		return steady
	}
	leastRequest, bias := opt.Policy == model.LBLeastRequest, opt.LeastRequest.ActiveRequestBias
	slow, asked := opt.SlowStart, opt.Aggression
	weight := func(i int) float64 {
		h := hosts[i]
		w := float64(max(1, h.Weight))
		if leastRequest {
			w = biased(h, bias)
		}
		return w * grown(h, &slow, asked)
	}
	return &slowPicker{steady: steady, until: until, growing: &weightedPicker{hosts: hosts, edf: newJoinedEDF(len(hosts), weight, opt.Rand)}}
}

// now is the picker of the moment.
func (s *slowPicker) now() picker {
	if s.over.Load() {
		return s.steady
	}
	if time.Now().Before(s.until) {
		return s.growing
	}
	s.over.Store(true)
	return s.steady
}

func (s *slowPicker) pick(random func() uint64) *upstream.Host { return s.now().pick(random) }

// leastAge is the least that a host's age counts as, and leastShare what it has of its weight at the least, so that no weight is
// as good as 0.
const (
	leastAge   = time.Millisecond
	leastShare = 1e-6
)

// grown is the share of its weight that a host has by now.
func grown(h *upstream.Host, slow *model.SlowStart, asked func() (float64, bool)) float64 {
	if h.Since == nil || !h.Healthy() {
		return 1
	}
	age := max(leastAge, time.Since(*h.Since))
	if age >= slow.Window {
		return 1
	}
	factor, aggression := float64(age)/float64(slow.Window), slow.Aggression
	if asked != nil {
		if a, ok := asked(); ok {
			aggression = a
		}
	}
	if aggression > 0 && aggression != 1 { // as in Envoy, what is no aggression counts as 1
		factor = math.Pow(factor, 1/aggression)
	}
	return max(factor, slow.MinWeight, leastShare)
}
