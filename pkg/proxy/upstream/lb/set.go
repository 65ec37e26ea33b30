// Package lb chooses a host of a cluster: round robin, least request, random, and by hash on a ring or a Maglev table, over
// priorities, panic mode and locality weights as Envoy does (Envoy docs, "Load balancing").
//
// It owns immutable host sets with the state of their pickers. It must not know connections, statistics or where hosts
// come from. Pick may be called from any goroutine and does not allocate, except where priorities are to be avoided; only
// weighted pickers take a (short) lock.
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
	SlowStart    model.SlowStart
	// Aggression is what the runtime says in place of SlowStart.Aggression, which is asked for at each choice as long as a host
	// is in its window; nil says nothing.
	Aggression func() (float64, bool)
	// Hash holds the options of consistent balancers, whose sizes have Envoy's defaults where they are 0.
	Hash model.HashBalancer
	// Overprovisioning factor in percent; 0 is Envoy's 140.
	Overprovisioning uint32
	// PanicThreshold in percent: with a smaller share of available hosts health is ignored. 0 never panics.
	PanicThreshold float64
	// FailOnPanic picks no host in panic, instead of any; consistent balancers do not know it.
	FailOnPanic bool
	// IgnoreNew does not count hosts that were never checked.
	IgnoreNew bool
	// LocalityWeighted shares traffic by the weights of localities.
	LocalityWeighted bool
	// Active is the number of requests that the cluster has under way; only asked with Hash.BalanceFactor. Nil: none.
	Active func() uint64
	// Rand gives random bits and is safe for concurrent use; nil is the runtime's generator.
	Rand func() uint64
}

// Envoy's defaults of consistent balancers.
const (
	defaultMinRing = 1024
	defaultMaxRing = 8 << 20
	defaultTable   = 65537
)

// Set is an immutable set of hosts that can be picked from.
type Set struct {
	opt               Options
	hosts             []*upstream.Host
	healthy, degraded int
	excluded          int
	unchecked         bool
	priorities        []priority
	counts            []availability // by priority
	loads             []load         // by priority
	hashed            bool
}

// priority is the hosts of one priority, by health. With a consistent balancer there is nothing but its hasher, over the
// healthy hosts, or over all in panic; it is nil without hosts.
type priority struct {
	number                 uint32
	all, healthy, degraded group
	hasher                 hasher
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
	members() []*upstream.Host
}

// New makes a set. The slice of hosts becomes the set's. With a consistent balancer it takes some milliseconds for a
// thousand hosts.
func New(hosts []*upstream.Host, opt Options) *Set {
	if opt.Rand == nil {
		opt.Rand = rand.Uint64
	}
	if opt.Overprovisioning == 0 {
		opt.Overprovisioning = 140
	}
	o := &opt.Hash
	o.MinRing, o.MaxRing, o.TableSize = cmp.Or(o.MinRing, defaultMinRing), cmp.Or(o.MaxRing, defaultMaxRing), cmp.Or(o.TableSize, defaultTable)
	if opt.Active == nil {
		opt.Active = func() uint64 { return 0 }
	}
	s := &Set{opt: opt, hosts: hosts, hashed: opt.Policy == model.LBRingHash || opt.Policy == model.LBMaglev}
	byPriority := splitByPriority(hosts)
	healths := make([]byHealth, len(byPriority))
	for i, all := range byPriority {
		h := newByHealth(all)
		healths[i] = h
		excluded := s.exclude(all)
		s.counts = append(s.counts, availability{total: len(all) - excluded, healthy: len(h.healthy), degraded: len(h.degraded)})
		s.healthy += len(h.healthy)
		s.degraded += len(h.degraded)
	}
	s.loads = distribute(s.counts, opt.Overprovisioning, opt.PanicThreshold)
	for i := range byPriority {
		s.priorities = append(s.priorities, s.newPriority(&healths[i], s.loads[i].panics))
	}
	return s
}

// splitByPriority groups hosts by priority, the highest first, and keeps their order otherwise.
func splitByPriority(hosts []*upstream.Host) [][]*upstream.Host {
	if len(hosts) > 0 && !slices.ContainsFunc(hosts, func(h *upstream.Host) bool { return h.Priority != hosts[0].Priority }) {
		return [][]*upstream.Host{slices.Clip(hosts)} // as nearly always
	}
	rest := slices.Clone(hosts)
	slices.SortStableFunc(rest, func(a, b *upstream.Host) int { return cmp.Compare(a.Priority, b.Priority) })
	var out [][]*upstream.Host
	for len(rest) > 0 {
		n := 1
		for n < len(rest) && rest[n].Priority == rest[0].Priority {
			n++
		}
		out = append(out, rest[:n:n])
		rest = rest[n:]
	}
	return out
}

// byHealth is the hosts of a priority, of which there is at least one.
type byHealth struct{ all, healthy, degraded []*upstream.Host }

func newByHealth(hosts []*upstream.Host) byHealth {
	b := byHealth{all: hosts}
	if !slices.ContainsFunc(hosts, func(h *upstream.Host) bool { return !Healthy(h) }) {
		b.healthy = hosts // as nearly always
		return b
	}
	for _, h := range hosts {
		switch {
		case Healthy(h):
			b.healthy = append(b.healthy, h)
		case h.Degraded():
			b.degraded = append(b.degraded, h)
		}
	}
	return b
}

func (s *Set) newPriority(b *byHealth, panics bool) priority {
	p := priority{number: b.all[0].Priority}
	if s.hashed {
		eligible := b.healthy
		if panics {
			eligible = b.all
		}
		p.hasher = newHasher(eligible, b.all, &s.opt)
		return p
	}
	p.all = group{picker: newPicker(b.all, &s.opt)}
	if p.healthy = p.all; len(b.healthy) < len(b.all) || s.opt.LocalityWeighted {
		p.healthy = newGroup(b.healthy, b.all, &s.opt)
	}
	p.degraded = newGroup(b.degraded, b.all, &s.opt)
	return p
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

// Healthy tells whether a host takes traffic of first choice.
func Healthy(h *upstream.Host) bool { return h.Healthy() }

// Hosts are all hosts of the set; the slice must not be changed.
func (s *Set) Hosts() []*upstream.Host { return s.hosts }

// Counts are how many hosts are healthy and how many degraded.
func (s *Set) Counts() (healthy, degraded int) { return s.healthy, s.degraded }

// Excluded is how many hosts do not count for the availability of their priority.
func (s *Set) Excluded() int { return s.excluded }

// Unchecked tells whether a host waits for its first health check.
func (s *Set) Unchecked() bool { return s.unchecked }

// exclude counts the hosts of a priority whose availability is not the point: those that are not to be known yet, and those
// that asked to be left alone.
func (s *Set) exclude(hosts []*upstream.Host) int {
	n := 0
	for _, h := range hosts {
		pending := h.Flags&upstream.PendingActiveHC != 0
		s.unchecked = s.unchecked || pending
		if pending && s.opt.IgnoreNew || h.Flags&upstream.ExcludedViaImmediateHCFail != 0 {
			n++
		}
	}
	s.excluded += n
	return n
}

// Shape describes the ring or table of the last priority; the zero value without a consistent balancer.
func (s *Set) Shape() HashShape {
	for i := len(s.priorities) - 1; i >= 0; i-- {
		if h := s.priorities[i].hasher; h != nil {
			return h.shape()
		}
	}
	return HashShape{}
}

// Pick chooses a host; nil when none may take traffic. panicked tells that health was ignored because too few hosts are
// available. A host in pc.Tried is passed over when pc.AvoidTried is set, and one that pc.Omit names, at most pc.Attempts
// times.
func (s *Set) Pick(pc *upstream.PickContext) (host *upstream.Host, panicked bool) {
	loads := s.loads
	if pc.AvoidPriorities != 0 {
		loads = s.avoiding(pc.AvoidPriorities)
	}
	if s.hashed {
		return s.pickHashed(pc, loads)
	}
	for attempt := 0; ; attempt++ {
		host, panicked = s.pickOnce(loads)
		if host == nil || attempt >= pc.Attempts || !unwanted(pc, host) {
			return host, panicked
		}
	}
}

// pickHashed chooses by the hash of the request, or a host at random when it has none.
func (s *Set) pickHashed(pc *upstream.PickContext, loads []load) (host *upstream.Host, panicked bool) {
	hash := pc.Hash
	if !pc.HasHash {
		hash = s.opt.Rand()
	}
	i, _ := choosePriority(loads, hash)
	if i < 0 || s.priorities[i].hasher == nil {
		return nil, false
	}
	for attempt := 0; ; attempt++ {
		host = s.priorities[i].hasher.choose(hash, attempt)
		if attempt >= pc.Attempts || !unwanted(pc, host) {
			return host, s.loads[i].panics
		}
	}
}

// avoiding shares the traffic among the priorities that are not in the mask, and among all when those have no host
// available.
func (s *Set) avoiding(mask uint64) []load {
	counts := slices.Clone(s.counts)
	left := 0
	for i := range counts {
		if n := s.priorities[i].number; n < 64 && mask&(1<<n) != 0 {
			counts[i].healthy, counts[i].degraded = 0, 0
		}
		left += counts[i].healthy + counts[i].degraded
	}
	if left == 0 {
		return s.loads
	}
	return distribute(counts, s.opt.Overprovisioning, s.opt.PanicThreshold)
}

// unwanted tells whether a retry is to go to another host.
func unwanted(pc *upstream.PickContext, host *upstream.Host) bool {
	return pc.AvoidTried && tried(pc.Tried, host) || pc.Omit != nil && pc.Omit(host)
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

func (s *Set) pickOnce(loads []load) (*upstream.Host, bool) {
	i, degraded := 0, false
	if len(loads) == 0 || loads[0].healthy != 100 {
		if i, degraded = choosePriority(loads, s.opt.Rand()); i < 0 {
			return nil, false
		}
	}
	p := &s.priorities[i]
	switch {
	case s.loads[i].panics && s.opt.FailOnPanic:
		return nil, true
	case s.loads[i].panics:
		return p.all.pick(s.opt.Rand), true
	case degraded:
		return p.degraded.pick(s.opt.Rand), false
	}
	return p.healthy.pick(s.opt.Rand), false
}

// choosePriority draws a priority by load; -1 when none has any.
func choosePriority(loads []load, drawn uint64) (index int, degraded bool) {
	point, sum := uint32(drawn%100), uint32(0)
	for i := range loads {
		if sum += loads[i].healthy; point < sum {
			return i, false
		}
	}
	for i := range loads {
		if sum += loads[i].degraded; point < sum {
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
