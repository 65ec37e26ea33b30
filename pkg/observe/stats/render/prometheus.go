package render

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/weir-proxy/weir/pkg/observe/stats"
)

// Prometheus prints the exposition format 0.0.4: counters, gauges, text readouts (as gauges of value
// 0 with the label text_value, if asked for), then histograms, each grouped by metric name. Tags
// become labels. A mode of buckets that the format cannot show is an error, as is the writer's.
func Prometheus(w io.Writer, s *stats.Store, o Options) error { return expose(w, s, &o, false) }

// OpenMetrics prints OpenMetrics 1.0 with the sample names that Prometheus prints: a counter whose name does not end in
// "_total", or would then bear the name of another metric, is of type unknown.
func OpenMetrics(w io.Writer, s *stats.Store, o Options) error { return expose(w, s, &o, true) }

func expose(w io.Writer, s *stats.Store, o *Options, open bool) error {
	if o.Buckets == Disjoint || o.Buckets == Detailed {
		return fmt.Errorf("print stats: unsupported prometheus histogram bucket mode")
	}
	x := &exposition{printer: newPrinter(w), store: s, options: o, open: open}
	if err := x.print(); err != nil {
		return fmt.Errorf("print stats: %w", err)
	}
	return nil
}

// exposition is one listing.
type exposition struct {
	*printer
	store   *stats.Store
	options *Options
	open    bool            // OpenMetrics
	taken   map[string]bool // in OpenMetrics, the names of all metrics
	members stats.MetricIterator

	bounds []float64 // those that les are the texts of
	les    []string
	counts []uint64
}

func (x *exposition) print() error {
	texts := stats.Only(0)
	if x.options.TextReadouts {
		texts = x.options.kinds(stats.TextReadoutKind)
	}
	histograms, show := "histogram", x.histogram
	if x.options.Buckets == Summary {
		histograms, show = "summary", x.summary
	}
	if x.open {
		x.reserve()
	}
	for _, part := range []struct {
		kind stats.Kind
		only stats.Only
		name string
		show func(metric, labels string, s *stats.Series)
	}{
		{stats.CounterKind, x.options.kinds(stats.CounterKind), "counter", x.number},
		{stats.GaugeKind, x.options.kinds(stats.GaugeKind), "gauge", x.number},
		{stats.TextReadoutKind, texts, "gauge", x.readout},
		{stats.HistogramKind, x.options.kinds(stats.HistogramKind), histograms, show},
	} {
		if part.only == 0 {
			continue
		}
		if err := x.families(part.kind, part.name, part.show); err != nil {
			return err
		}
	}
	if x.open {
		if err := x.str("# EOF\n").end(); err != nil {
			return err
		}
	}
	return x.flush()
}

// families prints all stats of one kind, those of one metric together.
func (x *exposition) families(kind stats.Kind, name string, show func(metric, labels string, s *stats.Series)) (err error) {
	all := x.store.Metrics(kind)
	for i := range all {
		metric := x.metric(&all[i])
		if metric == "" {
			continue
		}
		begun := false
		x.members.EachShown(&all[i], appendLabels, func(s *stats.Series, labels string) bool {
			x.worked(x.options.effort())
			if !x.options.keeps(s) {
				return true
			}
			if !begun {
				x.begin(metric, name)
				begun = true
			}
			show(metric, labels, s)
			err = x.end()
			return err == nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (x *exposition) metric(m *stats.MetricSeries) string {
	return m.Metric.Shown(func(base string) string { return MetricName(base, x.options.Namespaces) })
}

// reserve notes the names of metrics.
func (x *exposition) reserve() {
	x.taken = make(map[string]bool)
	for _, k := range []stats.Kind{stats.CounterKind, stats.GaugeKind, stats.HistogramKind, stats.TextReadoutKind} {
		all := x.store.Metrics(k)
		for i := range all {
			x.taken[x.metric(&all[i])] = true
		}
	}
}

// begin prints the line of the type.
func (x *exposition) begin(metric, kind string) {
	if x.open && kind == "counter" {
		family, ok := strings.CutSuffix(metric, "_total")
		if ok && !x.taken[family] {
			metric = family
		} else {
			kind = "unknown"
		}
	}
	x.str("# TYPE ").str(metric).str(" ").str(kind).str("\n")
}

func (x *exposition) number(metric, labels string, s *stats.Series) {
	line := append(x.line, metric...)
	line = append(line, '{')
	line = append(line, labels...)
	line = append(line, "} "...)
	line = strconv.AppendUint(line, s.Value(), 10)
	x.line = append(line, '\n')
}

func (x *exposition) readout(metric, labels string, s *stats.Series) {
	x.str(metric).str("{").str(labels).str(separator(labels)).str(`text_value="`).labelValue(s.Text()).str("\"} 0\n")
}

func (x *exposition) histogram(metric, labels string, s *stats.Series) {
	x.worked(bucketsWork)
	x.bucketsOf(s.Bounds())
	count, sum := s.Histogram().Buckets(x.bounds, x.counts)
	// All buckets begin with the same bytes.
	from := len(x.line)
	x.str(metric).str("_bucket{").str(labels).str(separator(labels)).str(`le="`)
	head := len(x.line) - from
	for i, le := range x.les {
		if i > 0 {
			x.bytes(x.line[from : from+head])
		}
		n := count
		if i < len(x.counts) {
			n = x.counts[i]
		}
		x.str(le).uint(n).str("\n")
	}
	x.totals(metric, labels, count, sum)
}

// bucketsOf prepares for histograms with these bounds, which are mostly those of the one before.
func (x *exposition) bucketsOf(bounds []float64) {
	if len(x.les) > 0 && slices.Equal(x.bounds, bounds) {
		return
	}
	x.bounds, x.counts, x.les = bounds, make([]uint64, len(bounds)), make([]string, 0, len(bounds)+1)
	for _, bound := range bounds {
		p := &printer{}
		x.les = append(x.les, string(p.bound(bound, x.open).str(`"} `).line))
	}
	x.les = append(x.les, `+Inf"} `)
}

// summary prints the quantiles of the last interval with the totals since the start.
func (x *exposition) summary(metric, labels string, s *stats.Series) {
	x.worked(bucketsWork)
	h := s.Histogram()
	interval, d := h.Interval(), h.Cumulative()
	for i, v := range interval.Quantiles(quantiles) {
		x.str(metric).str("{").str(labels).str(separator(labels)).str(`quantile="`).bound(quantiles[i], x.open).str("\"} ")
		if math.IsNaN(v) {
			x.str("NaN\n")
			continue
		}
		x.float(v).str("\n")
	}
	x.totals(metric, labels, d.Count(), d.Sum())
}

func (x *exposition) totals(metric, labels string, count uint64, sum float64) {
	x.str(metric).str("_sum{").str(labels).str("} ").float(sum).str("\n")
	x.str(metric).str("_count{").str(labels).str("} ").uint(count).str("\n")
}

// bound prints a bucket's bound or a quantile, in OpenMetrics always with a fraction.
func (p *printer) bound(f float64, open bool) *printer {
	p.float(f)
	if open && f == math.Trunc(f) && math.Abs(f) < 1e16 {
		p.str(".0")
	}
	return p
}

func separator(labels string) string {
	if labels == "" {
		return ""
	}
	return ","
}

// appendLabels appends tags as `a="1",b="2"`.
func appendLabels(to []byte, tags []stats.Tag) []byte {
	p := &printer{line: to}
	for i, t := range tags {
		if i > 0 {
			p.str(",")
		}
		p.line = appendName(p.line, t.Name)
		p.str(`="`).labelValue(t.Value).str(`"`)
	}
	return p.line
}

// labelValue appends s with the escapes of the exposition format.
func (p *printer) labelValue(s string) *printer {
	for _, r := range s {
		switch r {
		case '\\', '"':
			p.line = append(p.line, '\\', byte(r))
		case '\n':
			p.line = append(p.line, '\\', 'n')
		default:
			p.line = utf8.AppendRune(p.line, r)
		}
	}
	return p
}

// MetricName is the Prometheus name of a tag-extracted stat name: "envoy_" and the name with every
// byte outside [a-zA-Z0-9_] as '_'. A name whose first token is one of the namespaces loses that
// token and gets no prefix; if then nothing is left or it begins with a digit, the result is "".
func MetricName(base string, namespaces []string) string {
	if first, rest, ok := strings.Cut(base, "."); ok && slices.Contains(namespaces, first) {
		if rest == "" || rest[0] >= '0' && rest[0] <= '9' {
			return ""
		}
		return string(appendName(nil, rest))
	}
	return string(appendName([]byte("envoy_"), base))
}

func appendName(b []byte, s string) []byte {
	for i := range len(s) {
		c := s[i]
		if c != '_' && (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') {
			c = '_'
		}
		b = append(b, c)
	}
	return b
}
