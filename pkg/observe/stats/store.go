package stats

import (
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// Store owns all stats of one process. Make it with NewStore. It is safe for concurrent use.
type Store struct {
	accept   func(name string) bool
	buckets  func(name string) []float64
	tags     func() *TagExtractor
	overflow func(prefix string)
	deferred bool
	root     *Scope
	// overflowed is weir.stats.overflow.
	overflowed *Counter

	mu      sync.Mutex
	nodes   map[string]*node
	singles map[singleKey]*layout
	meet    map[[2]*layout]bool // whether two layouts of sets have a name in common
	changes atomic.Uint64       // counts what was added to or removed from nodes

	flushMu sync.Mutex // guards the contents of baselines
	view    view
}

// node is a prefix with the groups that are registered under it. The store's lock guards it.
type node struct {
	prefix  string
	blocks  []*group
	singles [kinds]map[string]*group // by the rest of the name, which has no dot
	// labels are the distinct sets of tags that occur here; the store's view lock guards them.
	labels []*Labels
}

// singleKey is what tells layouts of one stat apart, so that the same name under many prefixes has one.
type singleKey struct {
	kind Kind
	unit Unit
	name string
}

// Option configures a Store.
type Option func(*Store)

// WithMatcher makes the store hide every stat whose full name accept refuses: such a stat can be
// used like any other but is never shown (StatsConfig.stats_matcher). accept must not call the store.
func WithMatcher(accept func(name string) bool) Option {
	return func(s *Store) { s.accept = accept }
}

// WithBuckets sets the exported bucket bounds by full histogram name; nil means the default
// (StatsConfig.histogram_bucket_settings). The bounds must ascend.
func WithBuckets(bounds func(name string) []float64) Option {
	return func(s *Store) { s.buckets = bounds }
}

// WithTags replaces the built-in tag extraction rules.
func WithTags(x *TagExtractor) Option {
	return func(s *Store) { s.tags = func() *TagExtractor { return x } }
}

// WithDeferred hides sets of stats that are declared as Deferred until one of them is used
// (Bootstrap.deferred_stat_options.enable_deferred_creation_stats).
func WithDeferred() Option {
	return func(s *Store) { s.deferred = true }
}

// WithOverflow lists weir.stats.overflow and names what is told the prefix of a scope in which more than MaxNames names were
// looked up, each time. It must not call the store.
func WithOverflow(f func(prefix string)) Option {
	return func(s *Store) { s.overflow = f }
}

// NewStore makes an empty store.
func NewStore(opts ...Option) *Store {
	s := &Store{nodes: make(map[string]*node), singles: make(map[singleKey]*layout), meet: make(map[[2]*layout]bool), overflowed: &Counter{}}
	for _, o := range opts {
		o(s)
	}
	if s.tags == nil {
		s.tags = sync.OnceValue(DefaultTagExtractor) // compiled when first asked for
	}
	s.root = &Scope{store: s}
	if s.overflow != nil {
		s.overflowed = s.root.Counter("weir.stats.overflow")
	}
	return s
}

// Root is the scope without a prefix. It is never closed before the store is dropped.
func (s *Store) Root() *Scope { return s.root }

// node gives the node of a prefix. Called with mu held.
func (s *Store) node(prefix string) *node {
	n := s.nodes[prefix]
	if n == nil {
		n = &node{prefix: strings.Clone(prefix)}
		s.nodes[n.prefix] = n
	}
	return n
}

// single takes a reference on the stat of a full name, making it when there is none. unit is of histograms.
func (s *Store) single(k Kind, full string, unit Unit) (*group, int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if g, i := s.find(k, full); g != nil {
		g.refs++
		return g, i
	}
	cut := strings.LastIndexByte(full, '.') + 1
	n, l := s.node(full[:cut]), s.singleLayout(k, full[cut:], unit)
	g := newGroup(s, n.prefix, l)
	g.node, g.refs = n, 1
	if n.singles[k] == nil {
		n.singles[k] = make(map[string]*group)
	}
	n.singles[k][l.names[k][0]] = g
	s.changes.Add(1)
	return g, 0
}

// find gives the stat of a full name, nil when there is none. Called with mu held.
func (s *Store) find(k Kind, full string) (*group, int) {
	cut := strings.LastIndexByte(full, '.') + 1
	if n := s.nodes[full[:cut]]; n != nil {
		if g := n.singles[k][full[cut:]]; g != nil {
			return g, 0
		}
	}
	// A set of stats may have it, under any of the prefixes.
	for at := cut; ; at = strings.LastIndexByte(full[:at-1], '.') + 1 {
		if n := s.nodes[full[:at]]; n != nil {
			for _, g := range n.blocks {
				if i := g.layout.find(k, full[at:]); i >= 0 && g.lists(k, i) {
					return g, i
				}
			}
		}
		if at == 0 {
			return nil, 0
		}
	}
}

// singleLayout takes the layout of one name. Called with mu held.
func (s *Store) singleLayout(k Kind, name string, unit Unit) *layout {
	l := s.singles[singleKey{k, unit, name}]
	if l == nil {
		name = strings.Clone(name)
		l = &layout{}
		l.names[k] = []string{name}
		if k == HistogramKind {
			l.units = []Unit{unit}
		}
		l.items = l.sorted()
		s.singles[singleKey{k, unit, name}] = l
	}
	l.users++
	return l
}

// block takes a reference on the set of stats of a prefix.
func (s *Store) block(prefix string, l *layout) *group {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.node(prefix)
	for _, g := range n.blocks {
		if g.layout == l {
			g.refs++
			return g
		}
	}
	g := newGroup(s, n.prefix, l)
	s.borrow(g, n)
	g.node, g.refs = n, 1
	n.blocks = append(n.blocks, g)
	s.changes.Add(1)
	return g
}

// borrow takes the stats in that are already there under names of the new group. Called with mu held.
func (s *Store) borrow(g *group, n *node) {
	if !s.overlaps(n, g.layout) {
		return
	}
	for k := range kinds {
		for i, name := range g.layout.names[k] {
			from, at := s.find(k, n.prefix+name)
			if from == nil {
				continue
			}
			from.refs++
			if g.borrowed == nil {
				g.borrowed = make(map[slot]loan)
			}
			g.borrowed[slot{k, i}] = loan{from, at}
		}
	}
}

// overlaps tells, without looking at each name, whether any may be there already: under the prefix itself, under longer
// ones that names with dots reach, or in sets with such names under shorter ones. Called with mu held.
func (s *Store) overlaps(n *node, l *layout) bool {
	if n.hasSingles() || slices.ContainsFunc(n.blocks, func(g *group) bool { return s.meets(g.layout, l) }) {
		return true
	}
	for _, below := range l.below {
		if s.nodes[n.prefix+below] != nil {
			return true
		}
	}
	for at := len(n.prefix); at > 0; {
		at = strings.LastIndexByte(n.prefix[:at-1], '.') + 1
		up := s.nodes[n.prefix[:at]]
		if up != nil && slices.ContainsFunc(up.blocks, func(g *group) bool { return len(g.layout.below) > 0 }) {
			return true
		}
	}
	return false
}

// meets tells whether two layouts have a name in common. Called with mu held.
func (s *Store) meets(a, b *layout) bool {
	yes, known := s.meet[[2]*layout{a, b}]
	if !known {
		yes = slices.ContainsFunc(b.items, func(it item) bool { return a.find(it.kind, it.name) >= 0 })
		s.meet[[2]*layout{a, b}] = yes
	}
	return yes
}

func (n *node) empty() bool { return len(n.blocks) == 0 && !n.hasSingles() }

func (n *node) hasSingles() bool {
	for _, m := range n.singles {
		if len(m) > 0 {
			return true
		}
	}
	return false
}

// release gives references back. Called with mu held.
func (s *Store) release(g *group) {
	if g.refs--; g.refs > 0 {
		return
	}
	n := g.node
	if g.layout.index != nil {
		n.blocks = slices.DeleteFunc(n.blocks, func(o *group) bool { return o == g })
	} else {
		s.dropSingle(g)
	}
	if n.empty() {
		delete(s.nodes, n.prefix)
	}
	for _, loan := range g.borrowed {
		s.release(loan.from)
	}
	s.changes.Add(1)
}

func (s *Store) dropSingle(g *group) {
	for k, names := range g.layout.names {
		if len(names) == 0 {
			continue
		}
		delete(g.node.singles[k], names[0])
		if g.layout.users--; g.layout.users == 0 {
			unit := Unspecified
			if Kind(k) == HistogramKind {
				unit = g.layout.units[0]
			}
			delete(s.singles, singleKey{Kind(k), unit, names[0]})
		}
	}
}

// ResetCounters starts every counter's Value again at zero.
func (s *Store) ResetCounters() {
	s.eachGroup((*group).reset)
}

// LatchCounters ends the current interval of every counter; see Series.Delta. A store has one flusher.
func (s *Store) LatchCounters() {
	s.eachGroup((*group).latch)
}

// LatchHistograms ends the current interval of every histogram; see Histogram.Latch.
func (s *Store) LatchHistograms() {
	s.eachGroup(func(g *group) {
		for i := range g.histograms {
			g.histograms[i].Latch()
		}
	})
}

func (s *Store) eachGroup(f func(g *group)) {
	nodes := s.listing()
	s.flushMu.Lock()
	defer s.flushMu.Unlock()
	for i := range nodes {
		yieldAt(i, yieldSteps)
		for _, g := range nodes[i].groups {
			f(g)
		}
	}
}
