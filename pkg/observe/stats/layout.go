package stats

import (
	"cmp"
	"slices"
	"strings"
)

// Kind is a kind of stat.
type Kind uint8

// The kinds, in the order of their listing.
const (
	TextReadoutKind Kind = iota
	CounterKind
	GaugeKind
	HistogramKind
	kinds
)

// Layout is a fixed set of stat names that some kind of thing has, such as all that Envoy keeps of a cluster. It is declared
// once, in a package-level variable, and then given to each scope of such a thing: there the whole set is one registration
// and a handful of allocations, and names are put together only when stats are listed. A Layout is immutable.
type Layout[T any] struct {
	names   *layout
	declare func(f *Fields, t *T)
}

// NewLayout declares a layout. The function is called now, to learn the names, and again for each scope, to set the fields
// of t: it must do the same each time, whatever t holds. A name must not occur twice.
func NewLayout[T any](declare func(f *Fields, t *T)) *Layout[T] {
	l := &Layout[T]{names: &layout{}, declare: declare}
	var t T
	declare(&Fields{learn: l.names}, &t)
	l.names.finish()
	return l
}

// Deferred makes the set appear in listings only once one of its stats has been used
// (Bootstrap.deferred_stat_options). It changes stores that defer; see WithDeferred.
func (l *Layout[T]) Deferred() *Layout[T] {
	l.names.deferred = true
	return l
}

// Fill registers the set in a scope and sets t's fields. Scopes of the same prefix share the stats; they are listed until
// the last such scope is closed. Stats of these names that are there already are taken in.
func (l *Layout[T]) Fill(sc *Scope, t *T) {
	l.declare(&Fields{group: sc.block(l.names)}, t)
}

// Fields declares the stats of a layout. Where at is nil the stat is listed and never moves.
type Fields struct {
	learn *layout // in NewLayout
	group *group  // in Fill
	next  [kinds]int
}

// Counter declares a counter and its field.
func (f *Fields) Counter(name string, at **Counter) {
	if i, ok := f.take(CounterKind, name, Unspecified); ok && at != nil {
		g, i := f.group.at(CounterKind, i)
		*at = &g.counters[i]
	}
}

// Gauge declares a gauge and its field.
func (f *Fields) Gauge(name string, at **Gauge) {
	if i, ok := f.take(GaugeKind, name, Unspecified); ok && at != nil {
		g, i := f.group.at(GaugeKind, i)
		*at = &g.gauges[i]
	}
}

// GaugeIn declares a gauge whose name is a prefix, which ends in a dot, and the rest.
func (f *Fields) GaugeIn(prefix, name string, at **Gauge) {
	if f.learn != nil {
		name = prefix + name
	}
	f.Gauge(name, at)
}

// Histogram declares a histogram and its field.
func (f *Fields) Histogram(name string, unit Unit, at **Histogram) {
	if i, ok := f.take(HistogramKind, name, unit); ok && at != nil {
		g, i := f.group.at(HistogramKind, i)
		*at = &g.histograms[i]
	}
}

// TextReadout declares a text readout and its field.
func (f *Fields) TextReadout(name string, at **TextReadout) {
	if i, ok := f.take(TextReadoutKind, name, Unspecified); ok && at != nil {
		g, i := f.group.at(TextReadoutKind, i)
		*at = &g.texts[i]
	}
}

// take gives the index of the next stat of a kind; ok is false while the names are learnt.
func (f *Fields) take(k Kind, name string, unit Unit) (int, bool) {
	if f.learn != nil {
		f.learn.names[k] = append(f.learn.names[k], name)
		if k == HistogramKind {
			f.learn.units = append(f.learn.units, unit)
		}
		return 0, false
	}
	f.next[k]++
	return f.next[k] - 1, true
}

// layout is the names of a group. It is immutable but for users.
type layout struct {
	names    [kinds][]string
	units    []Unit           // of the histograms
	below    []string         // the distinct prefixes of names with dots, each ending in one
	index    []map[string]int // by kind; nil for a group of one
	items    []item           // by name and kind; nil for a group of one
	deferred bool
	users    int // groups of one with this layout; the store's lock guards it
}

func (l *layout) finish() {
	l.index = make([]map[string]int, kinds)
	for k := range l.names {
		l.index[k] = make(map[string]int, len(l.names[k]))
		for i, name := range l.names[k] {
			l.index[k][name] = i
			if cut := strings.LastIndexByte(name, '.') + 1; cut > 0 && !slices.Contains(l.below, name[:cut]) {
				l.below = append(l.below, name[:cut])
			}
		}
	}
	l.items = l.sorted()
}

func (l *layout) sorted() []item {
	var items []item
	for k, names := range l.names {
		for i, name := range names {
			items = append(items, item{name: name, kind: Kind(k), index: i})
		}
	}
	slices.SortFunc(items, item.compare)
	return items
}

// find gives the index of a name, -1 if it is not in the layout.
func (l *layout) find(k Kind, name string) int {
	if l.index == nil {
		return slices.Index(l.names[k], name)
	}
	if i, ok := l.index[k][name]; ok {
		return i
	}
	return -1
}

// item is one stat of a group under the name below the group's prefix.
type item struct {
	name  string
	group *group
	kind  Kind
	index int
}

func (a item) compare(b item) int {
	if c := strings.Compare(a.name, b.name); c != 0 {
		return c
	}
	return cmp.Compare(a.kind, b.kind)
}
