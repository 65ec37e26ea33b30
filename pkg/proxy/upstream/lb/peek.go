package lb

import "github.com/weir-proxy/weir/pkg/proxy/upstream"

// Peek predicts which host the n-th Pick from now (0 is the next one) will choose, without choosing it: exactly for round
// robin over equal weights with one locality and one priority, and a likely one for other policies. It is nil when nothing
// can be said, as for consistent balancers and least request.
func (s *Set) Peek(n int) *upstream.Host {
	if s.hashed || len(s.loads) == 0 {
		return nil
	}
	i, degraded := 0, false
	if s.loads[0].healthy != 100 {
		i, degraded = choosePriority(s.loads, s.opt.Rand())
	}
	if i < 0 || degraded || s.loads[i].panics {
		return nil
	}
	g := &s.priorities[i].healthy
	next := g.picker
	if g.localities != nil {
		next = g.byLocality[index(s.opt.Rand, len(g.byLocality))]
	}
	if s, ok := next.(*slowPicker); ok {
		next = s.now()
	}
	switch p := next.(type) {
	case *roundRobin:
		return p.hosts[(p.next.Load()+1+uint64(n))%uint64(len(p.hosts))]
	case *weightedPicker:
		return p.hosts[index(s.opt.Rand, len(p.hosts))]
	case randomPicker:
		return p.pick(s.opt.Rand)
	}
	return nil
}
