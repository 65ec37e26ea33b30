package stats

// Series is one stat of a listing. It is valid until the next one is given.
type Series struct {
	store *Store
	group *group
	kind  Kind
	index int
	name  []byte // made when asked for, when it is empty: that of the group's prefix and rest
	rest  string
	value uint64 // if it was read already
	read  bool
}

// Kind is the kind of the stat.
func (s *Series) Kind() Kind { return s.kind }

// Name is the full dotted name; it is overwritten by the next stat's.
func (s *Series) Name() []byte {
	if len(s.name) == 0 {
		s.name = append(append(s.name, s.group.node.prefix...), s.rest...)
	}
	return s.name
}

// Used reports whether the stat was ever changed.
func (s *Series) Used() bool { return s.group.used(s.kind, s.index) }

// Value is the value of a counter or a gauge.
func (s *Series) Value() uint64 {
	if s.read {
		return s.value
	}
	return s.group.number(s.kind, s.index)
}

// Delta is what a counter counted in the last interval that LatchCounters ended. Only the flusher may ask.
func (s *Series) Delta() uint64 {
	if b := s.group.base.Load(); b != nil {
		return b.delta[s.index]
	}
	return 0
}

// Text is the value of a text readout.
func (s *Series) Text() string { return s.group.texts[s.index].Value() }

// Histogram is the histogram.
func (s *Series) Histogram() *Histogram { return &s.group.histograms[s.index] }

// Bounds are the upper bounds of the buckets in which the histogram is exported, ascending, as shown
// (after division by PercentScale for Percent). The slice must not be changed.
func (s *Series) Bounds() []float64 {
	if s.store.buckets != nil {
		if b := s.store.buckets(string(s.Name())); b != nil {
			return b
		}
	}
	return defaultBounds
}

// NamedCounter is a counter with its name.
type NamedCounter struct {
	*Counter
	name string
	used bool
}

// Name is the full dotted name.
func (c NamedCounter) Name() string { return c.name }

// Used reports whether the counter had ever been increased when it was listed.
func (c NamedCounter) Used() bool { return c.used }

// NamedGauge is a gauge with its name.
type NamedGauge struct {
	*Gauge
	name string
}

// Name is the full dotted name.
func (g NamedGauge) Name() string { return g.name }

// NamedHistogram is a histogram with its name and its buckets.
type NamedHistogram struct {
	*Histogram
	name   string
	bounds []float64
}

// Name is the full dotted name.
func (h NamedHistogram) Name() string { return h.name }

// Bounds are as those of Series.
func (h NamedHistogram) Bounds() []float64 { return h.bounds }

// NamedTextReadout is a text readout with its name.
type NamedTextReadout struct {
	*TextReadout
	name string
}

// Name is the full dotted name.
func (t NamedTextReadout) Name() string { return t.name }

// Counters lists the counters by name. It is for small listings; Each allocates less.
func (s *Store) Counters() (out []NamedCounter) {
	s.Each(These(CounterKind), func(x *Series) bool {
		out = append(out, NamedCounter{Counter: &x.group.counters[x.index], name: string(x.name), used: x.Used()})
		return true
	})
	return out
}

// Gauges lists the gauges by name. It is for small listings; Each allocates less.
func (s *Store) Gauges() (out []NamedGauge) {
	s.Each(These(GaugeKind), func(x *Series) bool {
		out = append(out, NamedGauge{Gauge: &x.group.gauges[x.index], name: string(x.name)})
		return true
	})
	return out
}

// Histograms lists the histograms by name. It is for small listings; Each allocates less.
func (s *Store) Histograms() (out []NamedHistogram) {
	s.Each(These(HistogramKind), func(x *Series) bool {
		out = append(out, NamedHistogram{Histogram: x.Histogram(), name: string(x.name), bounds: x.Bounds()})
		return true
	})
	return out
}

// TextReadouts lists the text readouts by name. It is for small listings; Each allocates less.
func (s *Store) TextReadouts() (out []NamedTextReadout) {
	s.Each(These(TextReadoutKind), func(x *Series) bool {
		out = append(out, NamedTextReadout{TextReadout: &x.group.texts[x.index], name: string(x.name)})
		return true
	})
	return out
}
