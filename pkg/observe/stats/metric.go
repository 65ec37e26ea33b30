package stats

import (
	"encoding/binary"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
)

// Tag is a name and value taken out of a stat name, such as envoy.cluster_name=web.
type Tag struct {
	Name, Value string
}

// Metric is a stat name without the values of its tags: "cluster.upstream_rq_total". There is one for each such name.
type Metric struct {
	// Base is the name.
	Base  string
	id    uint32
	shown atomic.Pointer[string]
}

// Shown keeps what f makes of the name, so that it is made once. All callers must make the same of it.
func (m *Metric) Shown(f func(base string) string) string {
	if s := m.shown.Load(); s != nil {
		return *s
	}
	s := f(m.Base)
	m.shown.Store(&s)
	return s
}

// Labels are the tags of a stat, the fixed ones first, then the others in the order in which the rules found them. Stats with
// the same tags under the same prefix have the same Labels.
type Labels struct {
	// Tags must not be changed.
	Tags []Tag
	// text is what listings print of them, "" before one has; the store's view lock guards it.
	text string
}

// shape says for each stat in the order of a group's listing which metric it is of and which of the group's labels it has.
// Groups of the same layout mostly share one, whatever their prefix.
type shape struct {
	order   []item
	metrics []*Metric
	labels  []uint16
}

// metricView lists series by metric. It is immutable.
type metricView struct {
	byKind [kinds][]MetricSeries
}

// MetricSeries are the series of a metric and kind.
type MetricSeries struct {
	Metric *Metric
	store  *Store
	kind   Kind
	parts  []part
	merged *merged // nil when there is one part
}

// part is the series of a metric in groups of one shape.
type part struct {
	*members
	at int // in the shape
}

// Metrics lists the metrics of a kind by name, with their series. The slice is shared and must not be changed.
func (s *Store) Metrics(k Kind) []MetricSeries {
	s.view.mu.Lock()
	defer s.view.mu.Unlock()
	s.refresh()
	if s.view.metrics == nil {
		s.view.metrics = s.makeMetrics()
	}
	return s.view.metrics.byKind[k]
}

// makeMetrics sorts all groups by shape and all shapes by metric. Called with view.mu held.
func (s *Store) makeMetrics() *metricView {
	byShape := make(map[*shape]*members)
	var shapes []*members
	for i := range s.view.nodes {
		yieldAt(i, yieldSteps)
		for _, g := range s.view.nodes[i].groups {
			if !g.view.tagged {
				s.split(g)
				runtime.Gosched() // it takes some hundred microseconds, and there may be thousands that are new
			}
			of := byShape[g.view.shape]
			if of == nil {
				of = &members{shape: g.view.shape}
				byShape[of.shape] = of
				shapes = append(shapes, of)
			}
			of.groups = append(of.groups, g)
		}
	}
	v := &metricView{}
	at := [kinds]map[*Metric]int{}
	for k := range kinds {
		at[k] = make(map[*Metric]int)
	}
	for _, of := range shapes {
		for i, m := range of.shape.metrics {
			k := of.shape.order[i].kind
			n, ok := at[k][m]
			if !ok {
				n = len(v.byKind[k])
				at[k][m] = n
				v.byKind[k] = append(v.byKind[k], MetricSeries{Metric: m, store: s, kind: k})
			}
			v.byKind[k][n].add(part{members: of, at: i})
		}
	}
	s.view.prune(byShape, at)
	for k := range v.byKind {
		slices.SortFunc(v.byKind[k], func(a, b MetricSeries) int { return strings.Compare(a.Metric.Base, b.Metric.Base) })
	}
	return v
}

// prune forgets shapes and metrics of groups that are gone, once they are the most.
func (v *view) prune(shapes map[*shape]*members, metrics [kinds]map[*Metric]int) {
	if len(v.shapes) > 2*len(shapes)+64 {
		maps.DeleteFunc(v.shapes, func(_ string, sh *shape) bool { return shapes[sh] == nil })
	}
	used := 0
	for _, m := range metrics {
		used += len(m)
	}
	if len(v.byBase) <= 2*used+64 {
		return
	}
	v.shapes = nil // they hold metrics
	maps.DeleteFunc(v.byBase, func(_ string, m *Metric) bool {
		return !slices.ContainsFunc(metrics[:], func(of map[*Metric]int) bool { _, ok := of[m]; return ok })
	})
}

// split finds the metric and the tags of each stat of a group, once. Called with view.mu held.
func (s *Store) split(g *group) {
	v := g.view
	if v.tagged {
		return
	}
	v.tagged = true
	x := s.tags()
	metrics, labels := make([]*Metric, len(v.order)), make([]uint16, len(v.order))
	key := s.view.shapeKey(g.layout)
	for i, it := range v.order {
		t := x.Extract(g.node.prefix + it.name)
		metrics[i] = s.view.metric(t.Base)
		labels[i] = v.labelled(g.node, t.Tags)
		key = append(key, byte(it.kind), byte(labels[i]), byte(labels[i]>>8))
		key = binary.LittleEndian.AppendUint32(key, metrics[i].id)
		key = binary.LittleEndian.AppendUint32(key, uint32(it.index))
	}
	s.view.key = key
	v.shape = s.view.shapes[string(key)]
	if v.shape == nil {
		v.shape = &shape{order: v.order, metrics: metrics, labels: labels}
		if s.view.shapes == nil {
			s.view.shapes = make(map[string]*shape)
		}
		s.view.shapes[string(key)] = v.shape
	}
}

// shapeKey begins the key of a shape: groups of one go by their name, others by their layout.
func (v *view) shapeKey(l *layout) []byte {
	if l.index == nil {
		return append(append(v.key[:0], l.items[0].name...), 0)
	}
	if v.layouts == nil {
		v.layouts = make(map[*layout]uint32)
	}
	id, ok := v.layouts[l]
	if !ok {
		id = uint32(len(v.layouts))
		v.layouts[l] = id
	}
	return binary.LittleEndian.AppendUint32(append(v.key[:0], 0), id)
}

// metric gives the metric of a name.
func (v *view) metric(base string) *Metric {
	m := v.byBase[base]
	if m == nil {
		if v.byBase == nil {
			v.byBase = make(map[string]*Metric)
		}
		v.lastID++
		m = &Metric{Base: strings.Clone(base), id: v.lastID}
		v.byBase[m.Base] = m
	}
	return m
}

// labelled gives the index of a set of tags in the group.
func (v *groupView) labelled(n *node, tags []Tag) uint16 {
	same := func(l *Labels) bool { return slices.Equal(l.Tags, tags) }
	if i := slices.IndexFunc(v.labels, same); i >= 0 {
		return uint16(i)
	}
	i := slices.IndexFunc(n.labels, same)
	if i < 0 {
		i = len(n.labels)
		n.labels = append(n.labels, &Labels{Tags: tags})
	}
	v.labels = append(v.labels, n.labels[i])
	return uint16(len(v.labels) - 1)
}
