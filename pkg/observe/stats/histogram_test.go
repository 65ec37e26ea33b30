package stats

import (
	"math"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func record(h *Histogram, values ...uint64) {
	for _, v := range values {
		h.Record(v)
	}
}

func TestQuantiles(t *testing.T) {
	t.Parallel()
	qs := []float64{0, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.995, 0.999, 1}
	tests := []struct {
		name   string
		unit   Unit
		values []uint64
		want   []float64
	}{
		{
			"one value of one digit", Milliseconds,
			[]uint64{1},
			[]float64{1, 1.025, 1.05, 1.075, 1.09, 1.095, 1.099, 1.0995, 1.0999, 1.1},
		},
		{
			"two bins", Milliseconds,
			[]uint64{200, 300, 300},
			[]float64{200, 207.5, 302.5, 306.25, 308.5, 309.25, 309.85, 309.925, 309.985, 310},
		},
		{"zero", Unspecified, []uint64{0, 0}, make([]float64, 10)},
		{
			"percent is scaled", Percent,
			[]uint64{500000},
			[]float64{0.5, 0.5025, 0.505, 0.5075, 0.509, 0.5095, 0.5099, 0.50995, 0.50999, 0.51},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := NewStore().Root().Histogram("h", tt.unit)
			record(h, tt.values...)
			d := h.Cumulative()
			got := d.Quantiles(qs)
			for i := range got {
				if math.Abs(got[i]-tt.want[i]) > 1e-9 {
					t.Errorf("P%g = %v, want %v", qs[i]*100, got[i], tt.want[i])
				}
			}
		})
	}
	var empty Distribution
	if got := empty.Quantiles([]float64{0.5}); !math.IsNaN(got[0]) || empty.Sum() != 0 {
		t.Errorf("empty: %v, sum %v", got, empty.Sum())
	}
}

func TestCumulativeBuckets(t *testing.T) {
	t.Parallel()
	h := NewStore().Root().Histogram("h", Milliseconds)
	record(h, 50, 20, 30, 70, 100, 5000, 200)
	d := h.Cumulative()
	want := []uint64{0, 0, 0, 0, 1, 2, 4, 6, 6, 6, 6, 6, 7, 7, 7, 7, 7, 7, 7}
	if diff := cmp.Diff(want, d.Cumulative(defaultBounds)); diff != "" {
		t.Error(diff)
	}
	if d.Sum() != 5470 || d.Count() != 7 {
		t.Errorf("sum %v, count %d", d.Sum(), d.Count())
	}
}

func TestInterval(t *testing.T) {
	t.Parallel()
	s := NewStore()
	h := s.Root().Histogram("h", Milliseconds)
	record(h, 5, 5, 300)
	if d := h.Interval(); d.Count() != 0 {
		t.Errorf("before the first latch: %d", d.Count())
	}
	s.LatchHistograms()
	record(h, 5, 0, 9)
	s.LatchHistograms()
	d := h.Interval()
	want := []Bucket{{0, 0, 1}, {5, 0.1, 1}, {9, 0.1, 1}}
	if diff := cmp.Diff(want, d.Bins()); diff != "" || d.Sum() != 14 {
		t.Errorf("sum %v, bins %s", d.Sum(), diff)
	}
	s.LatchHistograms()
	if d := h.Interval(); d.Count() != 0 {
		t.Errorf("after a quiet interval: %d", d.Count())
	}
	if d := h.Cumulative(); d.Count() != 6 {
		t.Errorf("cumulative: %d", d.Count())
	}
}

func TestBoundsByName(t *testing.T) {
	t.Parallel()
	s := NewStore(WithBuckets(func(name string) []float64 {
		if name == "a.h" {
			return []float64{1, 2}
		}
		return nil
	}))
	s.Root().Histogram("a.h", Bytes)
	s.Root().Histogram("b.h", Bytes)
	all := s.Histograms()
	if got := all[0].Bounds(); len(got) != 2 {
		t.Errorf("got %v", got)
	}
	if got := all[1].Bounds(); len(got) != 19 || got[0] != 0.5 || got[18] != 3600000 {
		t.Errorf("got %v", got)
	}
}

// TestBuckets holds what counts without allocating to what a copy of the histogram says. It counts allocations, so it runs alone.
func TestBuckets(t *testing.T) {
	tests := map[string]struct {
		unit   Unit
		values []uint64
		bounds []float64
	}{
		"nothing":               {unit: Milliseconds, bounds: defaultBounds},
		"zero alone":            {unit: Milliseconds, values: []uint64{0}, bounds: defaultBounds},
		"on the bounds":         {unit: Milliseconds, values: []uint64{0, 1, 5, 10, 25, 50, 3_600_000}, bounds: defaultBounds},
		"above all":             {unit: Bytes, values: []uint64{math.MaxUint64, 4_000_000}, bounds: defaultBounds},
		"below all":             {unit: Bytes, values: []uint64{1, 2}, bounds: []float64{100, 200}},
		"fractions":             {unit: Percent, values: []uint64{PercentScale / 2, 3 * PercentScale}, bounds: defaultBounds},
		"no bounds":             {unit: Bytes, values: []uint64{1, 2, 3}},
		"many of several sizes": {unit: Microseconds, values: []uint64{3, 3, 30, 31, 39, 444, 449, 450, 12_345, 99_999, 1e12}, bounds: defaultBounds},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			h := &Histogram{unit: tt.unit}
			for _, v := range tt.values {
				h.Record(v)
			}
			d := h.Cumulative()
			counts := make([]uint64, len(tt.bounds))
			for i := range counts {
				counts[i] = 99 // of the histogram before
			}
			count, sum := h.Buckets(tt.bounds, counts)
			if want := d.Cumulative(tt.bounds); !slices.Equal(counts, want) || count != d.Count() || sum != d.Sum() {
				t.Errorf("got %v, %d, %v; want %v, %d, %v", counts, count, sum, want, d.Count(), d.Sum())
			}
			if n := testing.AllocsPerRun(10, func() { h.Buckets(tt.bounds, counts) }); n != 0 {
				t.Errorf("%v allocations", n)
			}
		})
	}
}

func FuzzHistogramBin(f *testing.F) {
	for _, v := range []uint64{0, 1, 9, 10, 99, 100, 109, 110, 999, 1000, 1e19, math.MaxUint64, 1 << 32, 9999999999999999999} {
		f.Add(v)
	}
	f.Fuzz(func(t *testing.T, v uint64) {
		h := &Histogram{}
		h.Record(v)
		d := h.Cumulative()
		bins := d.Bins()
		if len(bins) != 1 || bins[0].Count != 1 || d.Count() != 1 {
			t.Fatalf("%d gives bins %+v", v, bins)
		}
		b, x := bins[0], float64(v)
		// Two significant digits: the bin holds v (up to the float's precision) and is at most a tenth wide.
		if x < b.Lower*(1-1e-15) || (v != 0 && x > (b.Lower+b.Width)*(1+1e-15)) || b.Width > x/10+1e-9 {
			t.Fatalf("%d lies in bin %+v", v, b)
		}
	})
}
