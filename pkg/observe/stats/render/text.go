package render

import (
	"fmt"
	"io"
	"strconv"

	"github.com/weir-proxy/weir/pkg/observe/stats"
)

// Text prints one "name: value" line a stat: text readouts, then counters and gauges, then
// histograms, each by name. An error is the writer's.
func Text(w io.Writer, s *stats.Store, o Options) error {
	p := newPrinter(w)
	for _, t := range selected(&o, TextReadouts, s.TextReadouts()) {
		if err := p.str(t.Name()).str(`: "`).str(t.Value()).str("\"\n").end(); err != nil {
			return fmt.Errorf("print stats: %w", err)
		}
	}
	for _, n := range numbers(s, &o) {
		if err := p.str(n.Name()).str(": ").uint(n.Value()).str("\n").end(); err != nil {
			return fmt.Errorf("print stats: %w", err)
		}
	}
	for _, h := range selected(&o, Histograms, s.Histograms()) {
		p.textHistogram(h, o.Buckets)
		if err := p.end(); err != nil {
			return fmt.Errorf("print stats: %w", err)
		}
	}
	if err := p.w.Flush(); err != nil {
		return fmt.Errorf("print stats: %w", err)
	}
	return nil
}

func (p *printer) textHistogram(h *stats.Histogram, mode BucketMode) {
	p.str(h.Name())
	if !h.Used() {
		p.str(": No recorded values\n")
		return
	}
	switch mode {
	case Cumulative, Disjoint:
		p.str(": ")
		p.textBuckets(h, mode)
	case Detailed:
		interval, cumulative := h.Interval(), h.Cumulative()
		p.str(":\n  totals=")
		p.textBins(cumulative.Bins())
		p.str("\n  intervals=")
		p.textBins(interval.Bins())
		p.str("\n  summary=")
		p.textQuantiles(h)
	default:
		p.str(": ")
		p.textQuantiles(h)
	}
	p.str("\n")
}

func (p *printer) textQuantiles(h *stats.Histogram) {
	interval, cumulative := h.Interval(), h.Cumulative()
	now, all := interval.Quantiles(quantiles()), cumulative.Quantiles(quantiles())
	for i, name := range percentiles() {
		if i > 0 {
			p.str(" ")
		}
		p.str("P").str(name).str("(").float(now[i]).str(",").float(all[i]).str(")")
	}
}

func (p *printer) textBuckets(h *stats.Histogram, mode BucketMode) {
	interval, cumulative := views(h, mode)
	for i, bound := range h.Bounds() {
		if i > 0 {
			p.str(" ")
		}
		// Six significant digits, as C's %g: 1800000 is 1.8e+06.
		p.line = strconv.AppendFloat(append(p.line, 'B'), bound, 'g', 6, 64)
		p.str("(").uint(interval[i]).str(",").uint(cumulative[i]).str(")")
	}
}

func (p *printer) textBins(bins []stats.Bucket) {
	for i, b := range bins {
		if i > 0 {
			p.str(", ")
		}
		p.float(b.Lower).str(",").float(b.Width).str(":").uint(b.Count)
	}
}
