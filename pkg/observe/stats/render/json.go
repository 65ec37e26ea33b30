package render

import (
	"fmt"
	"io"
	"math"
	"unicode/utf8"

	"github.com/weir-proxy/weir/pkg/observe/stats"
)

// JSON prints {"stats":[{"name":..,"value":..},..,{"histograms":..}]} in the order of Text. The last
// element is there only if a histogram is. Values that are not a number are null. An error is the
// writer's.
func JSON(w io.Writer, s *stats.Store, o Options) error {
	j := &jsonPrinter{printer: newPrinter(w)}
	if err := j.document(s, &o); err != nil {
		return fmt.Errorf("print stats: %w", err)
	}
	return nil
}

// jsonPrinter remembers whether the innermost open array already has an element.
type jsonPrinter struct {
	*printer
	more bool
}

func (j *jsonPrinter) document(s *stats.Store, o *Options) error {
	j.str(`{"stats":[`)
	if err := j.each(s, o, func(x *stats.Series) error {
		return j.element().str(`{"name":`).quoted(x.Name()).str(`,"value":`).quoted([]byte(x.Text())).str("}").end()
	}, stats.TextReadoutKind); err != nil {
		return err
	}
	if err := j.each(s, o, func(x *stats.Series) error {
		return j.element().str(`{"name":`).quoted(x.Name()).str(`,"value":`).uint(x.Value()).str("}").end()
	}, stats.CounterKind, stats.GaugeKind); err != nil {
		return err
	}
	if err := j.histograms(s, o); err != nil {
		return err
	}
	if err := j.str("]}").end(); err != nil {
		return err
	}
	return j.flush()
}

// element separates array elements.
func (j *jsonPrinter) element() *printer {
	if j.more {
		j.str(",")
	}
	j.more = true
	return j.printer
}

// histograms prints them as one element, if there are any.
func (j *jsonPrinter) histograms(s *stats.Store, o *Options) error {
	closing, some := "", false
	err := j.each(s, o, func(x *stats.Series) error {
		if some {
			j.str(",")
		} else {
			closing = j.beginHistograms(o.Buckets)
			some = true
		}
		j.str(`{"name":`).quoted(x.Name())
		j.histogram(x, o.Buckets)
		return j.str("}").end()
	}, stats.HistogramKind)
	j.str(closing)
	return err
}

// beginHistograms gives what ends the element.
func (j *jsonPrinter) beginHistograms(mode BucketMode) (closing string) {
	j.element().str(`{"histograms":`)
	switch mode {
	case Cumulative, Disjoint:
		j.str("[")
		return "]}"
	case Detailed:
		j.str(`{"supported_percentiles":`).percentiles().str(`,"details":[`)
	default:
		j.str(`{"supported_quantiles":`).percentiles().str(`,"computed_quantiles":[`)
	}
	return "]}}"
}

func (j *jsonPrinter) histogram(x *stats.Series, mode BucketMode) {
	h := x.Histogram()
	j.worked(bucketsWork)
	switch mode {
	case Cumulative, Disjoint:
		interval, cumulative := views(x, mode)
		j.str(`,"buckets":[`)
		for i, bound := range x.Bounds() {
			if i > 0 {
				j.str(",")
			}
			j.str(`{"upper_bound":`).jsonFloat(bound).str(`,"interval":`).uint(interval[i]).
				str(`,"cumulative":`).uint(cumulative[i]).str("}")
		}
		j.str("]")
	case Detailed:
		interval, cumulative := h.Interval(), h.Cumulative()
		j.str(`,"totals":`).bins(cumulative.Bins()).str(`,"intervals":`).bins(interval.Bins())
		j.str(`,"percentiles":`).quantilePairs(h)
	default:
		j.str(`,"values":`).quantilePairs(h)
	}
}

func (p *printer) percentiles() *printer {
	p.str("[")
	for i, name := range percentiles {
		if i > 0 {
			p.str(",")
		}
		p.str(name)
	}
	return p.str("]")
}

func (p *printer) quantilePairs(h *stats.Histogram) *printer {
	interval, cumulative := h.Interval(), h.Cumulative()
	now, all := interval.Quantiles(quantiles), cumulative.Quantiles(quantiles)
	p.str("[")
	for i := range now {
		if i > 0 {
			p.str(",")
		}
		p.str(`{"cumulative":`).jsonFloat(all[i]).str(`,"interval":`).jsonFloat(now[i]).str("}")
	}
	return p.str("]")
}

func (p *printer) bins(bins []stats.Bucket) *printer {
	p.str("[")
	for i, b := range bins {
		if i > 0 {
			p.str(",")
		}
		p.str(`{"lower_bound":`).jsonFloat(b.Lower).str(`,"width":`).jsonFloat(b.Width).
			str(`,"count":`).uint(b.Count).str("}")
	}
	return p.str("]")
}

func (p *printer) jsonFloat(f float64) *printer {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return p.str("null")
	}
	return p.float(f)
}

// quoted appends a JSON string. Bytes that are not UTF-8 become U+FFFD.
func (p *printer) quoted(s []byte) *printer {
	const hex = "0123456789abcdef"
	p.line = append(p.line, '"')
	for len(s) > 0 {
		if n := plain(s); n > 0 {
			p.line = append(p.line, s[:n]...)
			s = s[n:]
			continue
		}
		r, n := utf8.DecodeRune(s)
		s = s[n:]
		switch {
		case r == '"' || r == '\\':
			p.line = append(p.line, '\\', byte(r))
		case r < ' ' || r == 0x7f:
			p.line = append(p.line, '\\', 'u', '0', '0', hex[r>>4], hex[r&15])
		default:
			p.line = utf8.AppendRune(p.line, r)
		}
	}
	p.line = append(p.line, '"')
	return p
}

// plain is how many bytes at the beginning are themselves in a JSON string.
func plain(s []byte) int {
	for i, c := range s {
		if c < ' ' || c >= 0x7f || c == '"' || c == '\\' {
			return i
		}
	}
	return len(s)
}
