package stats

import (
	"cmp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// named is what all stats have in common.
type named struct {
	name   string
	tagged atomic.Pointer[TaggedName]
}

// Name is the full dotted name.
func (n *named) Name() string { return n.name }

// Store owns all stats of one process. Make it with NewStore. It is safe for concurrent use.
type Store struct {
	accept  func(name string) bool
	buckets func(name string) []float64
	tags    func() *TagExtractor
	root    *Scope

	mu         sync.Mutex
	counters   family[Counter]
	gauges     family[Gauge]
	histograms family[Histogram]
	texts      family[TextReadout]
}

// Option configures a Store.
type Option func(*Store)

// WithMatcher makes the store drop every stat whose full name accept refuses: such a stat can be
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

// NewStore makes an empty store.
func NewStore(opts ...Option) *Store {
	s := &Store{}
	for _, o := range opts {
		o(s)
	}
	if s.tags == nil {
		s.tags = sync.OnceValue(DefaultTagExtractor) // compiled when first asked for
	}
	s.root = &Scope{store: s}
	return s
}

// Root is the scope without a prefix. It is never closed before the store is dropped.
func (s *Store) Root() *Scope { return s.root }

// ResetCounters starts every counter's Value again at zero.
func (s *Store) ResetCounters() {
	for _, c := range s.Counters() {
		c.reset()
	}
}

// LatchHistograms ends the current interval of every histogram; see Histogram.Latch.
func (s *Store) LatchHistograms() {
	for _, h := range s.Histograms() {
		h.Latch()
	}
}

// Counters lists the counters by name. The slice is shared: callers must not change it.
func (s *Store) Counters() []*Counter { return list(s, &s.counters) }

// Gauges lists the gauges by name. The slice is shared: callers must not change it.
func (s *Store) Gauges() []*Gauge { return list(s, &s.gauges) }

// Histograms lists the histograms by name. The slice is shared: callers must not change it.
func (s *Store) Histograms() []*Histogram { return list(s, &s.histograms) }

// TextReadouts lists the text readouts by name. The slice is shared: callers must not change it.
func (s *Store) TextReadouts() []*TextReadout { return list(s, &s.texts) }

// held is a stat with the number of scope entries that refer to it.
type held[S any] struct {
	name string
	stat *S
	refs int
}

// family holds the stats of one kind; the store's lock guards it.
type family[S any] struct {
	byName map[string]*held[S]
	sorted []*S // by name; nil when byName has changed since. Never modified in place.
}

func list[S any](s *Store, f *family[S]) []*S {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f.sorted == nil && len(f.byName) != 0 {
		all := make([]*held[S], 0, len(f.byName))
		for _, h := range f.byName {
			all = append(all, h)
		}
		slices.SortFunc(all, func(a, b *held[S]) int { return cmp.Compare(a.name, b.name) })
		f.sorted = make([]*S, len(all))
		for i, h := range all {
			f.sorted[i] = h.stat
		}
	}
	return f.sorted
}

// acquire takes one reference on the named stat, making it with create when it is the first.
func acquire[S any](s *Store, f *family[S], name string, create func(name string) *S) *S {
	s.mu.Lock()
	defer s.mu.Unlock()
	h, ok := f.byName[name]
	if !ok {
		name = strings.Clone(name)
		h = &held[S]{name: name, stat: create(name)}
		if f.byName == nil {
			f.byName = make(map[string]*held[S])
		}
		f.byName[name] = h
		f.sorted = nil
	}
	h.refs++
	return h.stat
}

// release gives back the references that a scope's own map holds.
func release[S any](sc *Scope, f *family[S], own map[string]*S) {
	if len(own) == 0 {
		return
	}
	sc.store.mu.Lock()
	defer sc.store.mu.Unlock()
	for name := range own {
		full := sc.prefix + Sanitize(name)
		h := f.byName[full]
		if h == nil {
			continue // rejected by the matcher
		}
		if h.refs--; h.refs == 0 {
			delete(f.byName, full)
			f.sorted = nil
		}
	}
}

func (s *Store) accepts(name string) bool { return s.accept == nil || s.accept(name) }
