package stats

import (
	"math/bits"
	"sync"
	"sync/atomic"
)

// Unit says what a histogram's values measure.
type Unit uint8

// The units that Envoy's histograms have.
const (
	Unspecified Unit = iota
	Bytes
	Microseconds
	Milliseconds
	// Percent histograms record the fraction times PercentScale and are shown as the fraction.
	Percent
)

// PercentScale is what a Percent histogram's recorded value is divided by when shown: recording
// 500_000 shows 0.5.
const PercentScale = 1_000_000

const (
	decades       = 20 // decimal digits of the largest uint64
	binsPerDecade = 90 // two significant digits: 10 to 99
)

type decade [binsPerDecade]atomic.Uint64

// Histogram is a distribution of unsigned values, held with two significant decimal digits: log-linear
// bins as in Envoy's histograms, so that the quantiles agree. Memory is bounded: nothing before the first value, then 720
// bytes for each power of ten that ever occurred, at most 20 of them. The zero value is usable but belongs to no store.
type Histogram struct {
	data atomic.Pointer[recorded]
	unit Unit
	off  bool // rejected by the matcher: records nothing
}

// recorded is what a histogram has from its first value on.
type recorded struct {
	zero    atomic.Uint64 // values that were 0, which no decade holds
	sum     atomic.Uint64
	decades [decades]atomic.Pointer[decade]

	mu       sync.Mutex // guards previous and interval
	previous Distribution
	interval Distribution
}

// Record adds one value. It allocates only at the first value, and when one of a new power of ten first occurs.
func (h *Histogram) Record(v uint64) {
	r := h.data.Load()
	if r == nil {
		if h.off {
			return
		}
		h.data.CompareAndSwap(nil, new(recorded))
		r = h.data.Load()
	}
	if v == 0 {
		r.zero.Add(1)
		return
	}
	r.sum.Add(v)
	d, i := binOf(v)
	dec := r.decades[d].Load()
	if dec == nil {
		r.decades[d].CompareAndSwap(nil, new(decade))
		dec = r.decades[d].Load()
	}
	dec[i].Add(1)
}

// Unit is the unit that the histogram was created with.
func (h *Histogram) Unit() Unit { return h.unit }

// Used reports whether anything was ever recorded.
func (h *Histogram) Used() bool { return h.data.Load() != nil }

// Latch ends the current interval: what was recorded since the last Latch becomes Interval.
// The store's flusher calls it once per flush interval.
func (h *Histogram) Latch() {
	r := h.data.Load()
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	now := h.Cumulative()
	r.interval = now.minus(&r.previous)
	r.previous = now
}

// Interval is the distribution of the last interval that Latch ended; empty before the first.
func (h *Histogram) Interval() Distribution {
	r := h.data.Load()
	if r == nil {
		return Distribution{scale: h.scale()}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.interval
}

func (h *Histogram) scale() float64 {
	if h.unit == Percent {
		return PercentScale
	}
	return 1
}

// Cumulative is the distribution of everything recorded so far. Values recorded meanwhile may be
// partly included.
func (h *Histogram) Cumulative() Distribution {
	out := Distribution{scale: h.scale()}
	r := h.data.Load()
	if r == nil {
		return out
	}
	out.sum = r.sum.Load()
	if n := r.zero.Load(); n != 0 {
		out.bins = append(out.bins, bin{decade: zeroDecade, count: n})
		out.count = n
	}
	for d := range r.decades {
		dec := r.decades[d].Load()
		if dec == nil {
			continue
		}
		for i := range dec {
			if n := dec[i].Load(); n != 0 {
				out.bins = append(out.bins, bin{decade: int8(d), index: uint8(i), count: n})
				out.count += n
			}
		}
	}
	return out
}

// Buckets counts, as Cumulative and then Distribution.Cumulative do but without allocating, everything recorded so far: the
// values below each of the ascending bounds into counts, which is as long, and all of them, with their sum.
func (h *Histogram) Buckets(bounds []float64, counts []uint64) (count uint64, sum float64) {
	r := h.data.Load()
	if r == nil {
		clear(counts)
		return 0, 0
	}
	total := r.sum.Load()
	at, scale := 0, h.scale()
	add := func(b bin) {
		left, width := b.span()
		for ; at < len(bounds) && (left+width)/scale > bounds[at]; at++ {
			counts[at] = count
		}
		count += b.count
	}
	if n := r.zero.Load(); n != 0 {
		add(bin{decade: zeroDecade, count: n})
	}
	for d := range r.decades {
		dec := r.decades[d].Load()
		if dec == nil {
			continue
		}
		for i := range dec {
			if n := dec[i].Load(); n != 0 {
				add(bin{decade: int8(d), index: uint8(i), count: n})
			}
		}
	}
	for ; at < len(bounds); at++ {
		counts[at] = count
	}
	if count == 0 {
		return 0, 0
	}
	return count, float64(total) / scale
}

// binOf gives the power of ten of v (> 0) and its bin there, v's two leading digits less ten.
func binOf(v uint64) (d, index int) {
	// bits.Len64*1233>>12 is the decimal length or one too many (log10(2) is about 1233/4096).
	d = bits.Len64(v) * 1233 >> 12
	if v < powersOfTen[d] {
		d--
	}
	if d == 0 {
		return 0, int(v)*10 - 10
	}
	return d, int(v/powersOfTen[d-1]) - 10
}

// powersOfTen is read only.
var powersOfTen = [decades]uint64{
	1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9,
	1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19,
}
