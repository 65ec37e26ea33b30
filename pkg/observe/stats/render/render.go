// Package render prints a statistics store as Envoy's admin interface does: as text, as JSON and in
// the Prometheus exposition format 0.0.4.
//
// It owns these formats and the selection of what to print. It must not know HTTP or where the
// options come from. It holds no state; the store may change while it prints.
package render

import (
	"fmt"
	"io"
	"math"
	"regexp"
	"runtime"
	"strconv"

	"github.com/weir-proxy/weir/pkg/observe/stats"
)

// Type selects kinds of stats.
type Type uint8

// The kinds that the admin parameter "type" knows.
const (
	All Type = iota
	Counters
	Gauges
	Histograms
	TextReadouts
)

// ParseType reads the admin parameter "type"; "" is All.
func ParseType(s string) (Type, error) {
	switch s {
	case "", "All":
		return All, nil
	case "Counters":
		return Counters, nil
	case "Gauges":
		return Gauges, nil
	case "Histograms":
		return Histograms, nil
	case "TextReadouts":
		return TextReadouts, nil
	}
	return All, fmt.Errorf("invalid /stats?type=%s: want All, Counters, Gauges, Histograms or TextReadouts", s)
}

// BucketMode says how histograms are shown.
type BucketMode uint8

// The modes that the admin parameter "histogram_buckets" knows.
const (
	// Unset shows quantiles, in Prometheus buckets.
	Unset BucketMode = iota
	// Summary shows quantiles.
	Summary
	// Cumulative shows buckets that include all smaller ones.
	Cumulative
	// Disjoint shows buckets on their own.
	Disjoint
	// Detailed shows the bins in which the values are held, and quantiles.
	Detailed
)

// ParseBucketMode reads the admin parameter "histogram_buckets"; "" and "none" are Unset.
func ParseBucketMode(s string) (BucketMode, error) {
	switch s {
	case "", "none":
		return Unset, nil
	case "summary":
		return Summary, nil
	case "cumulative":
		return Cumulative, nil
	case "disjoint":
		return Disjoint, nil
	case "detailed":
		return Detailed, nil
	}
	return Unset, fmt.Errorf("usage: /stats?histogram_buckets=(cumulative|disjoint|detailed|summary|none), not %q", s)
}

// Hidden says what is done with stats that Envoy would hide.
type Hidden uint8

// The values that the admin parameter "hidden" knows.
const (
	HiddenExclude Hidden = iota
	HiddenInclude
	// HiddenOnly shows nothing else, and so nothing.
	HiddenOnly
)

// ParseHidden reads the admin parameter "hidden"; "" is HiddenExclude.
func ParseHidden(s string) (Hidden, error) {
	switch s {
	case "", "exclude":
		return HiddenExclude, nil
	case "include":
		return HiddenInclude, nil
	case "showonly":
		return HiddenOnly, nil
	}
	return HiddenExclude, fmt.Errorf("usage: /stats?hidden=(include|exclude|showonly), not %q", s)
}

// Options select what is printed and how. The zero value prints everything with quantiles.
type Options struct {
	// Filter keeps the stats whose full name contains a match; nil keeps all.
	Filter *regexp.Regexp
	// UsedOnly leaves out stats that were never changed.
	UsedOnly bool
	// Type keeps one kind of stats.
	Type Type
	// Buckets is how histograms are shown. Prometheus knows only Unset, Cumulative and Summary.
	Buckets BucketMode
	// Hidden is what is done with hidden stats. Weir has none.
	Hidden Hidden
	// TextReadouts also prints text readouts in Prometheus; the other formats always do.
	TextReadouts bool
	// Namespaces are the first tokens of names that Prometheus shows without them and without the
	// "envoy_" prefix, such as "wasmcustom".
	Namespaces []string
}

// kinds are the kinds among ks that o wants.
func (o *Options) kinds(ks ...stats.Kind) stats.Only {
	of := map[Type]stats.Kind{
		Counters: stats.CounterKind, Gauges: stats.GaugeKind, Histograms: stats.HistogramKind, TextReadouts: stats.TextReadoutKind,
	}
	var only stats.Only
	for _, k := range ks {
		if o.Hidden != HiddenOnly && (o.Type == All || of[o.Type] == k) {
			only |= stats.These(k)
		}
	}
	return only
}

// keeps tells whether a stat of a wanted kind is printed; what is cheap to know comes first.
func (o *Options) keeps(s *stats.Series) bool {
	return (!o.UsedOnly || s.Used()) && (o.Filter == nil || o.Filter.Match(s.Name()))
}

// each gives the stats of some kinds that o selects, until f fails.
func (p *printer) each(s *stats.Store, o *Options, f func(*stats.Series) error, ks ...stats.Kind) (err error) {
	only := o.kinds(ks...)
	if only == 0 {
		return nil
	}
	list := s.Each
	if o.UsedOnly {
		list = s.EachUsed
	}
	list(only, func(x *stats.Series) bool {
		p.worked(o.effort())
		if o.keeps(x) {
			err = f(x)
		}
		return err == nil
	})
	return err
}

// quantiles are those that Envoy shows. Read only.
var quantiles = []float64{0, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.995, 0.999, 1}

// percentiles are the quantiles times 100, as literals because 0.995*100 is not 99.5. Read only.
var percentiles = []string{"0", "25", "50", "75", "90", "95", "99", "99.5", "99.9", "100"}

// A listing writes pieces of this size, so that the system calls cost little beside what they move, and lets others have the
// core after so much work, in units of one number printed: 20 to 40 microseconds.
const (
	pieceSize   = 64 << 10
	turn        = 512
	filterWork  = 8  // units of a match of a regular expression
	bucketsWork = 16 // units of a histogram
)

// printer collects what is printed and writes it out in pieces. Its memory is that of a piece and of the longest line.
type printer struct {
	w    io.Writer
	line []byte
	work int
}

func newPrinter(w io.Writer) *printer {
	const slack = 8 << 10 // for the line that exceeds a piece
	return &printer{w: w, line: make([]byte, 0, pieceSize+slack)}
}

// worked is told of work, and lets others have the core when it was enough.
func (p *printer) worked(units int) {
	if p.work += units; p.work >= turn {
		p.work = 0
		runtime.Gosched()
	}
}

// effort is how much work it is to look at one stat.
func (o *Options) effort() int {
	if o.Filter != nil {
		return filterWork
	}
	return 1
}

func (p *printer) str(s string) *printer {
	p.line = append(p.line, s...)
	return p
}

func (p *printer) bytes(b []byte) *printer {
	p.line = append(p.line, b...)
	return p
}

func (p *printer) uint(n uint64) *printer {
	p.line = strconv.AppendUint(p.line, n, 10)
	return p
}

func (p *printer) float(f float64) *printer {
	p.line = appendFloat(p.line, f)
	return p
}

// end ends a line, or what may lie in different pieces otherwise: it writes a piece out if there is one.
func (p *printer) end() error {
	if len(p.line) < pieceSize {
		return nil
	}
	return p.flush()
}

// flush writes the rest out.
func (p *printer) flush() error {
	if len(p.line) == 0 {
		return nil
	}
	_, err := p.w.Write(p.line)
	p.line = p.line[:0]
	return err
}

// appendFloat appends the shortest decimal form, "nan" for not a number.
func appendFloat(b []byte, f float64) []byte {
	switch {
	case math.IsNaN(f):
		return append(b, "nan"...)
	case math.Abs(f) < 1e16:
		return strconv.AppendFloat(b, f, 'f', -1, 64)
	}
	return strconv.AppendFloat(b, f, 'g', -1, 64)
}

// disjoint turns cumulative counts into counts of their own.
func disjoint(counts []uint64) []uint64 {
	out := make([]uint64, len(counts))
	before := uint64(0)
	for i, n := range counts {
		out[i] = n - before
		before = n
	}
	return out
}

// views gives a histogram's buckets of the last interval and since the start.
func views(x *stats.Series, mode BucketMode) (interval, cumulative []uint64) {
	h, bounds := x.Histogram(), x.Bounds()
	i, c := h.Interval(), h.Cumulative()
	interval, cumulative = i.Cumulative(bounds), c.Cumulative(bounds)
	if mode == Disjoint {
		interval, cumulative = disjoint(interval), disjoint(cumulative)
	}
	return interval, cumulative
}
