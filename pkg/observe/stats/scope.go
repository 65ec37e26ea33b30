package stats

import (
	"strings"
	"sync"
)

// MaxNames bounds how many stats can be looked up by name in one scope: names that come from traffic, such as methods of
// gRPC calls, must not fill the memory. Further names get stats that work, are shared and not shown, and count in
// weir.stats.overflow.
const MaxNames = 4096

// Scope is a name prefix and the owner of the stats looked up through it. Two scopes with the same
// prefix share their stats, and a stat is shown until the last scope that looked it up is closed.
// It is safe for concurrent use.
type Scope struct {
	store  *Store
	parent *Scope
	prefix string // "" or ends in "."

	mu       sync.RWMutex
	closed   bool
	children map[*Scope]struct{}
	blocks   []*group
	byName   *byName // nil before the first look-up
}

// byName are the stats that were looked up in a scope, by the name that the caller gave, and what those get that are too many.
type byName struct {
	counters   map[string]*Counter
	gauges     map[string]*Gauge
	histograms map[string]*Histogram
	texts      map[string]*TextReadout
	groups     []*group // to release

	surplusCounter   Counter
	surplusGauge     Gauge
	surplusHistogram Histogram
	surplusText      TextReadout
}

// Scope makes a scope below this one. The prefix may end in a dot or not, and is sanitised as Envoy
// does (see Sanitize). The new scope is closed with this one if not before. Scopes are made when
// something is configured, not per connection or request: an open scope is held by its parent.
func (sc *Scope) Scope(prefix string) *Scope {
	child := &Scope{store: sc.store, parent: sc, prefix: sc.prefix}
	if p := Sanitize(prefix); p != "" {
		child.prefix += p + "."
	}
	sc.mu.Lock()
	defer sc.mu.Unlock()
	if sc.closed {
		child.closed = true
		return child
	}
	if sc.children == nil {
		sc.children = make(map[*Scope]struct{})
	}
	sc.children[child] = struct{}{}
	return child
}

// Prefix is the scope's full prefix, "" for the root, else ending in a dot.
func (sc *Scope) Prefix() string { return sc.prefix }

// Counter gives the named counter, made at the first use. In a closed scope it gives a counter that
// works and is not shown; so do Gauge, Histogram and TextReadout.
func (sc *Scope) Counter(name string) *Counter {
	sc.mu.RLock()
	if n := sc.byName; n != nil {
		if c := n.counters[name]; c != nil {
			sc.mu.RUnlock()
			return c
		}
	}
	sc.mu.RUnlock()
	return lookUp(sc, CounterKind, name, Unspecified, func(n *byName) (*map[string]*Counter, *Counter) { return &n.counters, &n.surplusCounter },
		func(g *group, i int) *Counter { return &g.counters[i] })
}

// Gauge gives the named gauge, made at the first use.
func (sc *Scope) Gauge(name string) *Gauge {
	sc.mu.RLock()
	if n := sc.byName; n != nil {
		if g := n.gauges[name]; g != nil {
			sc.mu.RUnlock()
			return g
		}
	}
	sc.mu.RUnlock()
	return lookUp(sc, GaugeKind, name, Unspecified, func(n *byName) (*map[string]*Gauge, *Gauge) { return &n.gauges, &n.surplusGauge },
		func(g *group, i int) *Gauge { return &g.gauges[i] })
}

// Histogram gives the named histogram, made at the first use, when its unit is fixed.
func (sc *Scope) Histogram(name string, unit Unit) *Histogram {
	sc.mu.RLock()
	if n := sc.byName; n != nil {
		if h := n.histograms[name]; h != nil {
			sc.mu.RUnlock()
			return h
		}
	}
	sc.mu.RUnlock()
	return lookUp(sc, HistogramKind, name, unit,
		func(n *byName) (*map[string]*Histogram, *Histogram) { return &n.histograms, &n.surplusHistogram },
		func(g *group, i int) *Histogram { return &g.histograms[i] })
}

// TextReadout gives the named text readout, made at the first use.
func (sc *Scope) TextReadout(name string) *TextReadout {
	sc.mu.RLock()
	if n := sc.byName; n != nil {
		if t := n.texts[name]; t != nil {
			sc.mu.RUnlock()
			return t
		}
	}
	sc.mu.RUnlock()
	return lookUp(sc, TextReadoutKind, name, Unspecified,
		func(n *byName) (*map[string]*TextReadout, *TextReadout) { return &n.texts, &n.surplusText },
		func(g *group, i int) *TextReadout { return &g.texts[i] })
}

// Close releases the scope's stats and closes the scopes made from it. Stats that no other scope
// holds are no longer shown; pointers to them stay valid. Closing again does nothing.
func (sc *Scope) Close() {
	sc.mu.Lock()
	children, blocks, byName := sc.children, sc.blocks, sc.byName
	sc.children, sc.blocks, sc.byName = nil, nil, nil
	sc.closed = true
	sc.mu.Unlock()

	for child := range children {
		child.Close()
	}
	if len(blocks) > 0 || byName != nil {
		sc.store.mu.Lock()
		for _, g := range blocks {
			sc.store.release(g)
		}
		if byName != nil {
			for _, g := range byName.groups {
				sc.store.release(g)
			}
		}
		sc.store.mu.Unlock()
	}
	if sc.parent != nil {
		sc.parent.forget(sc)
	}
}

func (sc *Scope) forget(child *Scope) {
	sc.mu.Lock()
	delete(sc.children, child)
	sc.mu.Unlock()
}

// block registers a layout in the scope.
func (sc *Scope) block(l *layout) *group {
	sc.mu.Lock()
	defer sc.mu.Unlock()
	if sc.closed {
		return newGroup(sc.store, sc.prefix, l)
	}
	g := sc.store.block(sc.prefix, l)
	sc.blocks = append(sc.blocks, g)
	return g
}

// lookUp is the slow path of the getters: it takes the stat from the store, so that scopes share it,
// and notes it in the scope's own map.
func lookUp[S any](
	sc *Scope, k Kind, name string, unit Unit, own func(*byName) (*map[string]*S, *S), at func(g *group, i int) *S,
) *S {
	full := sc.prefix + Sanitize(name)
	sc.mu.Lock()
	defer sc.mu.Unlock()
	if sc.closed {
		l := &layout{units: []Unit{unit}}
		l.names[k] = []string{full}
		return at(newGroup(sc.store, "", l), 0)
	}
	if sc.byName == nil {
		sc.byName = &byName{}
		sc.byName.surplusHistogram.off = true
	}
	byName, surplus := own(sc.byName)
	if stat := (*byName)[name]; stat != nil {
		return stat
	}
	if len(sc.byName.groups) >= MaxNames {
		sc.store.overflows(sc.prefix)
		return surplus
	}
	g, i := sc.store.single(k, full, unit)
	sc.byName.groups = append(sc.byName.groups, g)
	if *byName == nil {
		*byName = make(map[string]*S)
	}
	stat := at(g, i)
	(*byName)[strings.Clone(name)] = stat
	return stat
}

// overflows counts a name that was one too many.
func (s *Store) overflows(prefix string) {
	s.overflowed.Inc()
	if s.overflow != nil {
		s.overflow(prefix)
	}
}

// Sanitize makes s fit for a stat name as Envoy does: ':' (with a following "//" or "/") and NUL
// become '_', and one leading and one trailing dot go. So do the other control characters, which could forge
// lines of a listing.
func Sanitize(s string) string {
	s = strings.TrimPrefix(strings.TrimSuffix(s, "."), ".")
	if strings.IndexFunc(s, unfit) < 0 {
		return s
	}
	s = strings.NewReplacer("://", "_", ":/", "_").Replace(s)
	return strings.Map(func(r rune) rune {
		if unfit(r) {
			return '_'
		}
		return r
	}, s)
}

func unfit(r rune) bool { return r == ':' || r < ' ' || r == 0x7f }
