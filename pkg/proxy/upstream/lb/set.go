// Package lb chooses a host of a cluster: round robin, least request and random, over priorities, panic mode and locality
// weights as Envoy does (Envoy docs, "Load balancing").
//
// It owns immutable host sets with the state of their pickers. It must not know connections, statistics or where hosts
// come from. Pick may be called from any goroutine and does not allocate; only weighted pickers take a (short) lock.
package lb

import (
	"cmp"
	"math/rand/v2"
	"slices"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/upstream"
)

// Options say how a Set picks.
type Options struct {
	Policy       model.LBPolicy
	LeastRequest model.LeastRequest
	// Overprovisioning factor in percent; 0 is Envoy's 140.
	Overprovisioning uint32
	// PanicThreshold in percent: with a smaller share of available hosts health is ignored. 0 never panics.
	PanicThreshold float64
	// LocalityWeighted shares traffic by the weights of localities.
	LocalityWeighted bool
	// Rand gives random bits and is safe for concurrent use; nil is the runtime's generator.
	Rand func() uint64
}

// Set is an immutable set of hosts that can be picked from.
type Set struct {
	hosts             []*upstream.Host
	healthy, degraded int
	priorities        []priority
	loads             []load
	rand              func() uint64
}

// priority is the hosts of one priority, by health.
type priority struct {
	all, healthy, degraded group
}

// group is hosts that may be picked with no further regard to health. localities is nil without locality weights.
type group struct {
	picker     picker
	localities *edf
	byLocality []picker
}

// picker chooses one of its hosts, of which there is at least one.
type picker interface {
	pick(random func() uint64) *upstream.Host
}

// New makes a set. The slice of hosts becomes the set's.
func New(hosts []*upstream.Host, opt Options) *Set {
	if opt.Rand == nil {
		opt.Rand = rand.Uint64
	}
	if opt.Overprovisioning == 0 {
		opt.Overprovisioning = 140
	}
	s := &Set{hosts: hosts, rand: opt.Rand}
	byPriority := slices.Clone(hosts)
	slices.SortStableFunc(byPriority, func(a, b *upstream.Host) int { return cmp.Compare(a.Priority, b.Priority) })
	var counts []availability
	for len(byPriority) > 0 {
		n := 1
		for n < len(byPriority) && byPriority[n].Priority == byPriority[0].Priority {
			n++
		}
		p, c := newPriority(byPriority[:n:n], &opt)
		s.priorities = append(s.priorities, p)
		counts = append(counts, c)
		s.healthy += c.healthy
		s.degraded += c.degraded
		byPriority = byPriority[n:]
	}
	s.loads = distribute(counts, opt.Overprovisioning, opt.PanicThreshold)
	return s
}

func newPriority(hosts []*upstream.Host, opt *Options) (priority, availability) {
	var healthy, degraded []*upstream.Host
	for _, h := range hosts {
		switch {
		case Healthy(h):
			healthy = append(healthy, h)
		case h.Health == model.HealthDegraded:
			degraded = append(degraded, h)
		}
	}
	p := priority{
		all:      group{picker: newPicker(hosts, opt)},
		healthy:  newGroup(healthy, hosts, opt),
		degraded: newGroup(degraded, hosts, opt),
	}
	return p, availability{total: len(hosts), healthy: len(healthy), degraded: len(degraded)}
}

// newGroup makes a group of the eligible ones among all hosts of a priority.
func newGroup(eligible, all []*upstream.Host, opt *Options) group {
	g := group{picker: newPicker(eligible, opt)}
	if !opt.LocalityWeighted || !slices.ContainsFunc(all, func(h *upstream.Host) bool { return h.Locality != nil && h.Locality.Weight > 0 }) {
		return g
	}
	total := make(map[*model.Locality]int)
	for _, h := range all {
		total[h.Locality]++
	}
	members := make(map[*model.Locality][]*upstream.Host)
	var order []*model.Locality
	for _, h := range eligible {
		if h.Locality == nil || h.Locality.Weight == 0 {
			continue
		}
		if members[h.Locality] == nil {
			order = append(order, h.Locality)
		}
		members[h.Locality] = append(members[h.Locality], h)
	}
	var weights []float64
	for _, l := range order {
		share := float64(opt.Overprovisioning) / 100 * float64(len(members[l])) / float64(total[l])
		weights = append(weights, float64(l.Weight)*min(1, share))
		g.byLocality = append(g.byLocality, newPicker(members[l], opt))
	}
	if len(weights) > 0 {
		g.localities = newEDF(weights, opt.Rand)
	}
	return g
}

// Healthy tells whether the control plane lets a host take traffic of first choice.
func Healthy(h *upstream.Host) bool {
	return h.Health == model.HealthUnknown || h.Health == model.HealthHealthy
}

// Hosts are all hosts of the set; the slice must not be changed.
func (s *Set) Hosts() []*upstream.Host { return s.hosts }

// Counts are how many hosts are healthy and how many degraded.
func (s *Set) Counts() (healthy, degraded int) { return s.healthy, s.degraded }

// Pick chooses a host; nil when none may take traffic. panicked tells that health was ignored because too few hosts are
// available. A host in pc.Tried is passed over when pc.AvoidTried is set, at most pc.Attempts times.
func (s *Set) Pick(pc *upstream.PickContext) (host *upstream.Host, panicked bool) {
	for attempt := 0; ; attempt++ {
		host, panicked = s.pickOnce()
		if host == nil || !pc.AvoidTried || attempt >= pc.Attempts || !tried(pc.Tried, host) {
			return host, panicked
		}
	}
}

// tried compares addresses, since a host is another object after each update of the endpoints.
func tried(hosts []*upstream.Host, host *upstream.Host) bool {
	for _, h := range hosts {
		if h.Address == host.Address && h.Pipe == host.Pipe {
			return true
		}
	}
	return false
}

func (s *Set) pickOnce() (*upstream.Host, bool) {
	i, degraded := s.choosePriority()
	if i < 0 {
		return nil, false
	}
	p := &s.priorities[i]
	switch {
	case s.loads[i].panics:
		return p.all.pick(s.rand), true
	case degraded:
		return p.degraded.pick(s.rand), false
	}
	return p.healthy.pick(s.rand), false
}

// choosePriority draws a priority by load; -1 when none has any.
func (s *Set) choosePriority() (index int, degraded bool) {
	if len(s.loads) == 0 {
		return -1, false
	}
	if s.loads[0].healthy == 100 {
		return 0, false
	}
	point, sum := uint32(s.rand()%100), uint32(0)
	for i := range s.loads {
		if sum += s.loads[i].healthy; point < sum {
			return i, false
		}
	}
	for i := range s.loads {
		if sum += s.loads[i].degraded; point < sum {
			return i, true
		}
	}
	return -1, false
}

func (g *group) pick(random func() uint64) *upstream.Host {
	if g.localities != nil {
		return g.byLocality[g.localities.next()].pick(random)
	}
	if g.picker == nil {
		return nil
	}
	return g.picker.pick(random)
}
