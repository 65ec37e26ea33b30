package stats

import "math"

// zeroDecade marks the bin of the value 0, which sorts before all others.
const zeroDecade = -1

// bin counts values with the same two leading digits: [10+index, 11+index) * 10^(decade-1).
type bin struct {
	decade int8
	index  uint8
	count  uint64
}

func (b bin) before(o bin) bool {
	if b.decade != o.decade {
		return b.decade < o.decade
	}
	return b.index < o.index
}

// span gives the bin's lowest value and its width.
func (b bin) span() (left, width float64) {
	if b.decade == zeroDecade {
		return 0, 0
	}
	digits := float64(10 + int(b.index))
	if b.decade == 0 {
		return digits / 10, 0.1 // digits*0.1 would print as 0.30000000000000004
	}
	width = float64(powersOfTen[b.decade-1])
	return digits * width, width
}

// Distribution is an immutable copy of a histogram's contents. The zero value is empty.
type Distribution struct {
	bins  []bin // ascending, none empty
	count uint64
	sum   uint64 // as recorded
	scale float64
}

// Count is the number of values.
func (d *Distribution) Count() uint64 { return d.count }

// Sum is the exact sum of the values, modulo 2^64 before scaling.
func (d *Distribution) Sum() float64 {
	if d.count == 0 {
		return 0
	}
	return float64(d.sum) / d.scale
}

// Quantiles gives the approximate value below which each fraction q of the values lies, with linear
// interpolation inside a bin as in Envoy. The fractions must ascend and lie in [0,1]. An empty
// distribution gives NaN.
func (d *Distribution) Quantiles(qs []float64) []float64 {
	out := make([]float64, len(qs))
	at, below := 0, 0.0
	for i, q := range qs {
		if d.count == 0 {
			out[i] = math.NaN()
			continue
		}
		rank := q * float64(d.count)
		for at < len(d.bins)-1 && below+float64(d.bins[at].count) < rank {
			below += float64(d.bins[at].count)
			at++
		}
		left, width := d.bins[at].span()
		out[i] = (left + width*(rank-below)/float64(d.bins[at].count)) / d.scale
	}
	return out
}

// Cumulative counts, for each of the ascending bounds, the values in bins that end at or below it.
// As in Envoy, a value equal to a bound lies in the bin that begins there and is not counted.
func (d *Distribution) Cumulative(bounds []float64) []uint64 {
	out := make([]uint64, len(bounds))
	at, below := 0, uint64(0)
	for i, bound := range bounds {
		for at < len(d.bins) {
			left, width := d.bins[at].span()
			if (left+width)/d.scale > bound {
				break
			}
			below += d.bins[at].count
			at++
		}
		out[i] = below
	}
	return out
}

// Bucket is a range of values [Lower, Lower+Width) and the number of values in it.
type Bucket struct {
	Lower, Width float64
	Count        uint64
}

// Bins gives the non-empty bins, ascending, at full resolution.
func (d *Distribution) Bins() []Bucket {
	out := make([]Bucket, len(d.bins))
	for i, b := range d.bins {
		left, width := b.span()
		out[i] = Bucket{Lower: left / d.scale, Width: width / d.scale, Count: b.count}
	}
	return out
}

// minus subtracts an earlier copy of the same histogram.
func (d *Distribution) minus(earlier *Distribution) Distribution {
	out := Distribution{scale: d.scale, sum: d.sum - earlier.sum}
	old := earlier.bins
	for _, b := range d.bins {
		for len(old) > 0 && old[0].before(b) {
			old = old[1:]
		}
		if len(old) > 0 && !b.before(old[0]) {
			b.count -= old[0].count
		}
		if b.count != 0 {
			out.bins = append(out.bins, b)
			out.count += b.count
		}
	}
	return out
}

// defaultBounds are Envoy's default buckets, the same for every unit
// (config.metrics.v3.StatsConfig.histogram_bucket_settings). Read only.
var defaultBounds = []float64{
	0.5, 1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000,
	30000, 60000, 300000, 600000, 1800000, 3600000,
}
