package stats

import (
	"sync/atomic"
)

// group is the stats of one layout under one prefix. Those that are looked up by name are groups of one.
type group struct {
	node   *node // nil in a closed scope
	layout *layout
	refs   int // scopes that hold it; the store's lock guards it

	counters   []Counter
	gauges     []Gauge
	histograms []Histogram
	texts      []TextReadout
	// borrowed are names of the layout that were there before under another group, which has their stats and lists them.
	// It is set before the group is registered.
	borrowed map[slot]loan

	awake atomic.Bool // a deferred group that has been used
	// base is what deltas and resets are reckoned from; the store's flush lock guards what it holds.
	base atomic.Pointer[baseline]
	// inherited is what another process adds to the gauges; nil when none does. See Heir.
	inherited atomic.Pointer[[]atomic.Uint64]
	// view is made when the group is first listed; the store's view lock guards making it.
	view *groupView
}

// slot is a stat of a group.
type slot struct {
	kind  Kind
	index int
}

// loan is where a borrowed stat is.
type loan struct {
	from  *group
	index int
}

// newGroup makes the stats of a layout, all zero.
func newGroup(s *Store, prefix string, l *layout) *group {
	g := &group{layout: l}
	if n := len(l.names[CounterKind]); n > 0 {
		g.counters = make([]Counter, n)
	}
	if n := len(l.names[GaugeKind]); n > 0 {
		g.gauges = make([]Gauge, n)
	}
	if n := len(l.names[TextReadoutKind]); n > 0 {
		g.texts = make([]TextReadout, n)
	}
	if n := len(l.names[HistogramKind]); n > 0 {
		g.histograms = make([]Histogram, n)
		for i, name := range l.names[HistogramKind] {
			g.histograms[i].unit = l.units[i]
			g.histograms[i].off = s.accept != nil && !s.accept(prefix+name)
		}
	}
	return g
}

// at is where a stat of the layout is.
func (g *group) at(k Kind, i int) (*group, int) {
	if loan, ok := g.borrowed[slot{k, i}]; ok {
		return loan.from, loan.index
	}
	return g, i
}

// lists tells whether the group itself has the stat.
func (g *group) lists(k Kind, i int) bool {
	if g.borrowed == nil {
		return true
	}
	_, elsewhere := g.borrowed[slot{k, i}]
	return !elsewhere
}

// asleep tells whether the group waits for its first use to be listed.
func (g *group) asleep(s *Store) bool {
	if !s.deferred || !g.layout.deferred || g.awake.Load() {
		return false
	}
	for k := range kinds {
		for i := range g.layout.names[k] {
			if g.used(k, i) {
				g.awake.Store(true)
				return false
			}
		}
	}
	return true
}

// used tells whether a stat was ever changed.
func (g *group) used(k Kind, i int) bool {
	switch k {
	case CounterKind:
		return g.counters[i].Value() != 0 || g.base.Load().used(i)
	case GaugeKind:
		return g.gauges[i].Used() || g.share(i) > 0
	case HistogramKind:
		return g.histograms[i].Used()
	default:
		return g.texts[i].Used()
	}
}

// baseline is what the counters of a group were when deltas were last taken. All methods take nil for one that is not there.
type baseline struct {
	last  []uint64 // modulo 2^64: a reset lowers it together with the counter
	delta []uint64 // of the last interval
	reset []atomic.Bool
}

func newBaseline(n int) *baseline {
	return &baseline{last: make([]uint64, n), delta: make([]uint64, n), reset: make([]atomic.Bool, n)}
}

func (b *baseline) used(i int) bool { return b != nil && b.reset[i].Load() }

// latch ends an interval.
func (g *group) latch() {
	b := g.baseline()
	for i := range g.counters {
		now := g.counters[i].total.Load()
		b.delta[i] = now - b.last[i]
		b.last[i] = now
	}
}

// reset starts the counters again at zero without losing what the next interval has counted so far.
func (g *group) reset() {
	for i := range g.counters {
		if g.counters[i].total.Load() == 0 {
			continue
		}
		b := g.baseline()
		b.reset[i].Store(true)
		b.last[i] -= g.counters[i].total.Swap(0)
	}
}

// baseline is made when first needed. Called with the flush lock held.
func (g *group) baseline() *baseline {
	if b := g.base.Load(); b != nil {
		return b
	}
	b := newBaseline(len(g.counters))
	g.base.Store(b)
	return b
}
