package stats

import (
	"cmp"
	"runtime"
	"slices"
	"strings"
	"sync"
)

// view is what listings are made from. It is brought up to date by the first listing after a change, without holding the
// lock that registering stats takes while names are matched and split.
type view struct {
	mu      sync.Mutex
	at      uint64 // Store.changes when nodes was made
	nodes   []nodeView
	metrics *metricView // nil until asked for

	byBase  map[string]*Metric
	lastID  uint32
	shapes  map[string]*shape
	layouts map[*layout]uint32
	key     []byte
	block   strings.Builder // the texts of labels that were made last
}

// A listing of many thousand stats must not keep a goroutine of the data path from a core, so what walks through them lets
// others have it now and then: after so many prefixes or groups, which are a microsecond or two each, or so many comparisons.
const (
	yieldSteps    = 16
	yieldCompared = 256
)

func yieldAt(step, every int) {
	if step%every == every-1 {
		runtime.Gosched()
	}
}

// nodeView is a prefix and its groups, immutable.
type nodeView struct {
	node   *node
	groups []*group
}

// groupView is what is known of a group since it was first listed. It is immutable once tags are there.
type groupView struct {
	order  []item // those that the matcher accepts, by name and kind, without their group
	tagged bool
	shape  *shape
	labels []*Labels
}

// listing gives the prefixes in order. The result is shared and must not be changed.
func (s *Store) listing() []nodeView {
	s.view.mu.Lock()
	defer s.view.mu.Unlock()
	return s.refresh()
}

// refresh brings the view up to date. Called with view.mu held.
func (s *Store) refresh() []nodeView {
	v := &s.view
	if at := s.changes.Load(); v.nodes != nil && at == v.at {
		return v.nodes
	}
	s.mu.Lock()
	v.at = s.changes.Load()
	nodes := make([]nodeView, 0, len(s.nodes))
	for _, n := range s.nodes {
		nodes = append(nodes, nodeView{node: n, groups: n.groups()})
	}
	s.mu.Unlock()
	compared := 0
	slices.SortFunc(nodes, func(a, b nodeView) int {
		compared++
		yieldAt(compared, yieldCompared)
		return strings.Compare(a.node.prefix, b.node.prefix)
	})
	for i := range nodes {
		yieldAt(i, yieldSteps)
		for _, g := range nodes[i].groups {
			if g.view == nil {
				g.view = s.viewOf(g)
			}
		}
		slices.SortFunc(nodes[i].groups, compareGroups)
	}
	v.nodes, v.metrics = nodes, nil
	return nodes
}

func (n *node) groups() []*group {
	count := len(n.blocks)
	for _, m := range n.singles {
		count += len(m)
	}
	out := append(make([]*group, 0, count), n.blocks...)
	for _, m := range n.singles {
		for _, g := range m {
			out = append(out, g)
		}
	}
	return out
}

// compareGroups puts groups with one name in the order of their names behind all others.
func compareGroups(a, b *group) int {
	one := func(g *group) bool { return g.layout.index == nil }
	switch {
	case one(a) != one(b):
		if one(a) {
			return 1
		}
		return -1
	case !one(a):
		return 0
	}
	ka, kb := a.kind(), b.kind()
	return cmp.Or(strings.Compare(a.layout.names[ka][0], b.layout.names[kb][0]), cmp.Compare(ka, kb))
}

// kind is the kind of a group of one.
func (g *group) kind() Kind {
	for k := range kinds {
		if len(g.layout.names[k]) > 0 {
			return k
		}
	}
	return 0
}

// viewOf finds out which stats of a group are listed and in which order.
func (s *Store) viewOf(g *group) *groupView {
	order := g.layout.items
	if s.accept == nil && g.borrowed == nil {
		return &groupView{order: order}
	}
	listed := make([]item, 0, len(order))
	for _, it := range order {
		if g.lists(it.kind, it.index) && (s.accept == nil || s.accept(g.node.prefix+it.name)) {
			listed = append(listed, it)
		}
	}
	return &groupView{order: listed}
}

// Only chooses kinds of stats.
type Only uint8

// These kinds are chosen.
func These(ks ...Kind) (o Only) {
	for _, k := range ks {
		o |= 1 << k
	}
	return o
}

func (o Only) has(k Kind) bool { return o&(1<<k) != 0 }

// Each gives the stats of some kinds by name until yield returns false. No lock is held meanwhile.
func (s *Store) Each(only Only, yield func(*Series) bool) {
	s.list(lister{store: s, only: only, yield: yield})
}

// EachUsed gives, like Each, those that were ever changed, and costs less.
func (s *Store) EachUsed(only Only, yield func(*Series) bool) {
	s.list(lister{store: s, only: only, used: true, yield: yield})
}

func (s *Store) list(l lister) {
	nodes := s.listing()
	for i := range nodes {
		yieldAt(i, yieldSteps)
		if !l.before(nodes[i].node.prefix) || !l.open(&nodes[i]) {
			return
		}
	}
	l.drain()
}

// lister merges the names of prefixes, which come in order: all names of a prefix come after it, and among those of one
// that began earlier and is a prefix of it.
type lister struct {
	store *Store
	only  Only
	used  bool
	yield func(*Series) bool
	under []*source // those that have names left
	free  []*source
	next  Series
}

// source is the names of a prefix that are still to come.
type source struct {
	prefix string
	items  []item
	at     int    // the first that is still to come
	name   []byte // its full name
}

// open adds a prefix. It returns false when yield did.
func (l *lister) open(n *nodeView) bool {
	src := l.source(n.node.prefix)
	sets := 0
	for _, g := range n.groups {
		if g.asleep(l.store) {
			continue
		}
		if g.layout.index != nil {
			sets++
		}
		for _, it := range g.view.order {
			if l.only.has(it.kind) && (!l.used || g.used(it.kind, it.index)) {
				it.group = g
				src.items = append(src.items, it)
			}
		}
	}
	if len(src.items) == 0 {
		l.free = append(l.free, src)
		return true
	}
	if sets > 0 && len(n.groups) > 1 {
		slices.SortFunc(src.items, item.compare)
	}
	src.head()
	l.under = append(l.under, src)
	return true
}

func (l *lister) source(prefix string) *source {
	if n := len(l.free); n > 0 {
		src := l.free[n-1]
		l.free = l.free[:n-1]
		src.prefix, src.items, src.at = prefix, src.items[:0], 0
		return src
	}
	return &source{prefix: prefix}
}

func (src *source) head() {
	src.name = append(append(src.name[:0], src.prefix...), src.items[src.at].name...)
}

// before gives what comes before a prefix. It returns false when yield did.
func (l *lister) before(prefix string) bool {
	for len(l.under) > 0 {
		least := l.least()
		if string(l.under[least].name) >= prefix {
			return true
		}
		if !l.give(least) {
			return false
		}
	}
	return true
}

// drain gives the rest.
func (l *lister) drain() {
	for len(l.under) > 0 && l.give(l.least()) {
	}
}

func (l *lister) least() int {
	least := 0
	for i := 1; i < len(l.under); i++ {
		if string(l.under[i].name) < string(l.under[least].name) {
			least = i
		}
	}
	return least
}

// give hands the first name of a prefix out.
func (l *lister) give(at int) bool {
	src := l.under[at]
	it := src.items[src.at]
	l.next = Series{store: l.store, group: it.group, kind: it.kind, index: it.index, name: src.name}
	if !l.yield(&l.next) {
		return false
	}
	if src.at++; src.at == len(src.items) {
		l.under = slices.Delete(l.under, at, at+1)
		l.free = append(l.free, src)
		return true
	}
	src.head()
	return true
}
