package render

import (
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/weir-proxy/weir/pkg/observe/stats"
)

// Prometheus prints the exposition format 0.0.4: counters, gauges, text readouts (as gauges of value
// 0 with the label text_value, if asked for), then histograms, each grouped by metric name. Tags
// become labels. A mode of buckets that the format cannot show is an error, as is the writer's.
func Prometheus(w io.Writer, s *stats.Store, o Options) error {
	if o.Buckets == Disjoint || o.Buckets == Detailed {
		return fmt.Errorf("print stats: unsupported prometheus histogram bucket mode")
	}
	p := newPrinter(w)
	if err := p.prometheus(s, &o); err != nil {
		return fmt.Errorf("print stats: %w", err)
	}
	return nil
}

func (p *printer) prometheus(s *stats.Store, o *Options) error {
	if err := families(p, s, o, "counter", selected(o, Counters, s.Counters()), printNumber[*stats.Counter]); err != nil {
		return err
	}
	if err := families(p, s, o, "gauge", selected(o, Gauges, s.Gauges()), printNumber[*stats.Gauge]); err != nil {
		return err
	}
	if o.TextReadouts {
		texts := selected(o, TextReadouts, s.TextReadouts())
		if err := families(p, s, o, "gauge", texts, printReadout); err != nil {
			return err
		}
	}
	kind, show := "histogram", printHistogram
	if o.Buckets == Summary {
		kind, show = "summary", printSummary
	}
	if err := families(p, s, o, kind, selected(o, Histograms, s.Histograms()), show); err != nil {
		return err
	}
	return p.w.Flush()
}

// families prints all stats of one kind, those of one metric together.
func families[S stats.Stat](
	p *printer, s *stats.Store, o *Options, kind string, all []S, show func(p *printer, metric, labels string, stat S),
) error {
	byMetric := make(map[string][]S)
	metricOf := make(map[string]string)
	for _, stat := range all {
		base := s.Tagged(stat).Base
		metric, ok := metricOf[base]
		if !ok {
			metric = MetricName(base, o.Namespaces)
			metricOf[base] = metric
		}
		if metric != "" {
			byMetric[metric] = append(byMetric[metric], stat)
		}
	}
	for _, metric := range slices.Sorted(maps.Keys(byMetric)) {
		p.str("# TYPE ").str(metric).str(" ").str(kind).str("\n")
		for _, stat := range byMetric[metric] {
			show(p, metric, labels(s.Tagged(stat).Tags), stat)
			if err := p.end(); err != nil {
				return err
			}
		}
	}
	return nil
}

func printNumber[S number](p *printer, metric, labels string, n S) {
	p.str(metric).str("{").str(labels).str("} ").uint(n.Value()).str("\n")
}

func printReadout(p *printer, metric, labels string, t *stats.TextReadout) {
	p.str(metric).str("{").str(labels).str(separator(labels)).str(`text_value="`).
		labelValue(t.Value()).str("\"} 0\n")
}

func printHistogram(p *printer, metric, labels string, h *stats.Histogram) {
	d := h.Cumulative()
	counts := d.Cumulative(h.Bounds())
	for i, bound := range h.Bounds() {
		p.str(metric).str("_bucket{").str(labels).str(separator(labels)).str(`le="`).float(bound).
			str("\"} ").uint(counts[i]).str("\n")
	}
	p.str(metric).str("_bucket{").str(labels).str(separator(labels)).str(`le="+Inf"} `).uint(d.Count()).str("\n")
	printTotals(p, metric, labels, &d)
}

// printSummary prints the quantiles of the last interval with the totals since the start.
func printSummary(p *printer, metric, labels string, h *stats.Histogram) {
	interval, d := h.Interval(), h.Cumulative()
	for i, v := range interval.Quantiles(quantiles()) {
		p.str(metric).str("{").str(labels).str(separator(labels)).str(`quantile="`).float(quantiles()[i]).str("\"} ")
		if math.IsNaN(v) {
			p.str("NaN\n")
			continue
		}
		p.float(v).str("\n")
	}
	printTotals(p, metric, labels, &d)
}

func printTotals(p *printer, metric, labels string, d *stats.Distribution) {
	p.str(metric).str("_sum{").str(labels).str("} ").float(d.Sum()).str("\n")
	p.str(metric).str("_count{").str(labels).str("} ").uint(d.Count()).str("\n")
}

func separator(labels string) string {
	if labels == "" {
		return ""
	}
	return ","
}

// labels formats tags as `a="1",b="2"`.
func labels(tags []stats.Tag) string {
	if len(tags) == 0 {
		return ""
	}
	p := &printer{line: make([]byte, 0, 96)}
	for i, t := range tags {
		if i > 0 {
			p.str(",")
		}
		p.line = appendName(p.line, t.Name)
		p.str(`="`).labelValue(t.Value).str(`"`)
	}
	return string(p.line)
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
