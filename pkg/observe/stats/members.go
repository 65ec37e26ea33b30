package stats

import (
	"slices"
	"strings"
	"sync"
)

// members are the groups of a shape in the order of their prefixes.
type members struct {
	shape  *shape
	groups []*group
	// shown is what listings print of the labels: first by their index in the shape, then by group. It is nil before one has
	// asked, and does not change afterwards; the store's view lock guards making it.
	shown [][]string
}

// LabelFormat appends what listings print of tags.
type LabelFormat func(to []byte, tags []Tag) []byte

// labelBlock is how much text of labels lies together. A listing reads it from the first to the last for each metric, which
// costs little where it lies side by side. The last of the labels that are in a block keeps it.
const labelBlock = 4 << 10

// texts gives what listings print of the labels, by group, in the series at a place of the shape.
func (m *members) texts(s *Store, at int, format LabelFormat) []string {
	s.view.mu.Lock()
	defer s.view.mu.Unlock()
	if m.shown == nil {
		m.shown = s.view.labelTexts(m, format)
	}
	return m.shown[m.shape.labels[at]]
}

func (v *view) labelTexts(m *members, format LabelFormat) [][]string {
	shown := make([][]string, len(m.groups[0].view.labels))
	for i := range shown {
		shown[i] = make([]string, len(m.groups))
	}
	for n, g := range m.groups {
		yieldAt(n, yieldSteps)
		for i, l := range g.view.labels {
			if l.text == "" && len(l.Tags) > 0 {
				v.key = format(v.key[:0], l.Tags)
				l.text = v.keep(v.key)
			}
			shown[i][n] = l.text
		}
	}
	return shown
}

// keep copies a text behind the one before.
func (v *view) keep(text []byte) string {
	if v.block.Cap()-v.block.Len() < len(text) {
		v.block.Reset()
		v.block.Grow(max(labelBlock, len(text)))
	}
	at := v.block.Len()
	v.block.Write(text)
	return v.block.String()[at:]
}

// merged is the order of the series of a metric with several parts, made when first asked for.
type merged struct {
	once  sync.Once
	order []memberRef
}

// memberRef is a group of a part.
type memberRef struct{ part, group uint32 }

func (m *MetricSeries) add(p part) {
	m.parts = append(m.parts, p)
	if len(m.parts) == 2 {
		m.merged = &merged{}
	}
}

// order gives the series by name; nil says that they are those of the only part.
func (m *MetricSeries) order() []memberRef {
	if m.merged == nil {
		return nil
	}
	m.merged.once.Do(func() {
		var refs []memberRef
		for p := range m.parts {
			for g := range m.parts[p].groups {
				refs = append(refs, memberRef{part: uint32(p), group: uint32(g)})
			}
		}
		compared := 0
		slices.SortFunc(refs, func(a, b memberRef) int {
			compared++
			yieldAt(compared, yieldCompared)
			pa, pb := &m.parts[a.part], &m.parts[b.part]
			return compareNames(pa.groups[a.group].node.prefix, pa.shape.order[pa.at].name, pb.groups[b.group].node.prefix, pb.shape.order[pb.at].name)
		})
		m.merged.order = refs
	})
	return m.merged.order
}

// MetricIterator gives the series of metrics. Its memory is used again, so one serves a whole listing.
type MetricIterator struct {
	next   Series
	values [readAhead]uint64
}

// readAhead is how many values are read before the first of them is given. They lie far apart, and reading them one after the
// other without anything between lets the processor fetch several at a time.
const readAhead = 32

// Each gives the series of a metric by name until yield returns false.
func (it *MetricIterator) Each(m *MetricSeries, yield func(s *Series, l *Labels) bool) {
	it.each(m, func(p *part, n int) bool {
		return yield(&it.next, p.groups[n].view.labels[p.shape.labels[p.at]])
	})
}

// EachShown gives the series of a metric by name with what format makes of their labels, which is made once and kept: all
// callers must make the same of them.
func (it *MetricIterator) EachShown(m *MetricSeries, format LabelFormat, yield func(s *Series, labels string) bool) {
	var of *part
	var texts []string
	it.each(m, func(p *part, n int) bool {
		if p != of {
			of, texts = p, p.texts(m.store, p.at, format)
		}
		return yield(&it.next, texts[n])
	})
}

// each gives the part and the number of the group in it with each series.
func (it *MetricIterator) each(m *MetricSeries, yield func(p *part, n int) bool) {
	order, count := m.order(), len(m.parts[0].groups)
	if order != nil {
		count = len(order)
	}
	for from := 0; from < count; from += readAhead {
		some := min(readAhead, count-from)
		for i := range some {
			p, n := m.member(order, from+i)
			it.values[i] = p.groups[n].number(m.kind, p.shape.order[p.at].index)
		}
		for i := range some {
			p, n := m.member(order, from+i)
			g := p.groups[n]
			if m.store.deferred && g.asleep(m.store) {
				continue
			}
			o := &p.shape.order[p.at]
			it.next.store, it.next.group, it.next.kind, it.next.index = m.store, g, m.kind, o.index
			it.next.name, it.next.rest = it.next.name[:0], o.name
			it.next.value, it.next.read = it.values[i], true
			if !yield(p, n) {
				return
			}
		}
	}
}

func (m *MetricSeries) member(order []memberRef, i int) (p *part, n int) {
	if order == nil {
		return &m.parts[0], i
	}
	return &m.parts[order[i].part], int(order[i].group)
}

// number is the value of a counter or a gauge, 0 for others.
func (g *group) number(k Kind, i int) uint64 {
	switch k {
	case CounterKind:
		return g.counters[i].Value()
	case GaugeKind:
		return g.gauges[i].Value() + g.share(i)
	}
	return 0
}

// compareNames compares a+b with c+d.
func compareNames(a, b, c, d string) int {
	if len(a) > len(c) {
		return -compareNames(c, d, a, b)
	}
	if x := strings.Compare(a, c[:len(a)]); x != 0 {
		return x
	}
	// What is left of c lies over the first bytes of b.
	c = c[len(a):]
	n := min(len(b), len(c))
	if x := strings.Compare(b[:n], c[:n]); x != 0 {
		return x
	}
	if n < len(c) {
		return -1
	}
	return strings.Compare(b[n:], d)
}
