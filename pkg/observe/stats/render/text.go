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
	if err := p.text(s, &o); err != nil {
		return fmt.Errorf("print stats: %w", err)
	}
	return nil
}

func (p *printer) text(s *stats.Store, o *Options) error {
	if err := p.each(s, o, func(x *stats.Series) error {
		return p.bytes(x.Name()).str(`: "`).str(x.Text()).str("\"\n").end()
	}, stats.TextReadoutKind); err != nil {
		return err
	}
	if err := p.each(s, o, func(x *stats.Series) error {
		return p.bytes(x.Name()).str(": ").uint(x.Value()).str("\n").end()
	}, stats.CounterKind, stats.GaugeKind); err != nil {
		return err
	}
	if err := p.each(s, o, func(x *stats.Series) error {
		p.textHistogram(x, o.Buckets)
		return p.end()
	}, stats.HistogramKind); err != nil {
		return err
	}
	return p.flush()
}

func (p *printer) textHistogram(x *stats.Series, mode BucketMode) {
	h := x.Histogram()
	p.worked(bucketsWork)
	p.bytes(x.Name())
	if !h.Used() {
		p.str(": No recorded values\n")
		return
	}
	switch mode {
	case Cumulative, Disjoint:
		p.str(": ")
		p.textBuckets(x, mode)
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
	now, all := interval.Quantiles(quantiles), cumulative.Quantiles(quantiles)
	for i, name := range percentiles {
		if i > 0 {
			p.str(" ")
		}
		p.str("P").str(name).str("(").float(now[i]).str(",").float(all[i]).str(")")
	}
}

func (p *printer) textBuckets(x *stats.Series, mode BucketMode) {
	interval, cumulative := views(x, mode)
	for i, bound := range x.Bounds() {
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
