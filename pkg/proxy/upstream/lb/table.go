package lb

import (
	"errors"
	"math"
	"slices"

	"github.com/weir-proxy/weir/pkg/proxy/upstream"
)

// Choice is an outline that is one of several to be chosen from, in proportion to their weights.
type Choice struct {
	Outline Outline
	Weight  float64
}

// Table is choices in one list of slots: a host has as many as is its share, spread evenly. To go round the slots, or to
// draw one, is to pick.
type Table struct {
	// Hosts that have slots, each once.
	Hosts []*upstream.Host
	// Slots are places in Hosts. They are nil when each host has one, in order.
	Slots []uint32
	// Exact tells that the slots are the shares, which otherwise would take more slots than there may be.
	Exact bool
}

// ErrPartly says that some but not all of the connections would find nobody, which a table does not know.
var ErrPartly = errors.New("a part of its connections finds no host that is available")

// maxExact bounds the search for a number of slots that makes all shares whole.
const maxExact = 4096

// Flatten makes one table of choices. It is empty when nobody is available in any of them. A table whose shares are not whole
// has maxSlots slots, and as many as hosts at the least.
func Flatten(choices []Choice, maxSlots int) (Table, error) {
	f := flattened{at: make(map[*upstream.Host]int)}
	total := 0.0
	for _, c := range choices {
		total += c.Weight
	}
	for _, c := range choices {
		if c.Weight > 0 {
			f.add(&c.Outline, c.Weight/total)
		}
	}
	switch {
	case len(f.hosts) == 0:
		return Table{Exact: true}, nil
	case f.nobody > 0:
		return Table{}, ErrPartly
	}
	t := Table{Hosts: f.hosts}
	var counts []int
	counts, t.Exact = slotCounts(f.shares, maxSlots)
	if slices.Max(counts) > 1 {
		t.Slots = spread(counts)
	}
	return t, nil
}

// flattened are hosts with their shares of everything, and the share that nobody serves.
type flattened struct {
	hosts  []*upstream.Host
	shares []float64
	nobody float64
	at     map[*upstream.Host]int
}

func (f *flattened) add(o *Outline, whole float64) {
	if len(o.Parts) == 0 {
		f.nobody += whole
	}
	for _, p := range o.Parts {
		part := whole * float64(p.Load) / 100
		if len(p.Groups) == 0 {
			f.nobody += part
		}
		weights := 0.0
		for _, g := range p.Groups {
			weights += g.Weight
		}
		for _, g := range p.Groups {
			sum := 0.0
			for _, s := range g.Shares {
				sum += s
			}
			for i, h := range g.Hosts {
				f.give(h, part*g.Weight/weights*g.Shares[i]/sum)
			}
		}
	}
}

func (f *flattened) give(h *upstream.Host, share float64) {
	i, known := f.at[h]
	if !known {
		i = len(f.hosts)
		f.at[h] = i
		f.hosts, f.shares = append(f.hosts, h), append(f.shares, 0)
	}
	f.shares[i] += share
}

// slotCounts are the slots of each host, at least one: the fewest that are in proportion to the shares, which sum up to 1, or
// the nearest to that among maxSlots.
func slotCounts(shares []float64, maxSlots int) (counts []int, exact bool) {
	maxSlots = max(maxSlots, len(shares))
	counts = make([]int, len(shares))
	for slots := len(shares); slots <= min(maxSlots, max(maxExact, len(shares))); slots++ {
		if whole(shares, slots, counts) {
			return counts, true
		}
	}
	left := maxSlots - len(shares) // one is for each
	rests := make([]int, len(shares))
	given := 0
	for i, s := range shares {
		more := max(0, s*float64(maxSlots)-1)
		counts[i] = 1 + int(more)
		given += int(more)
		rests[i] = i
	}
	slices.SortStableFunc(rests, func(a, b int) int {
		return compareRests(shares[a]*float64(maxSlots), shares[b]*float64(maxSlots))
	})
	for i := 0; given < left; i, given = i+1, given+1 {
		counts[rests[i%len(rests)]]++
	}
	for i := len(rests) - 1; given > left; i-- { // who has one slot but deserves less has been given too much
		if at := rests[(i%len(rests)+len(rests))%len(rests)]; counts[at] > 1 {
			counts[at]--
			given--
		}
	}
	return counts, false
}

// whole fills counts with shares of slots and tells whether these are whole numbers.
func whole(shares []float64, slots int, counts []int) bool {
	for i, s := range shares {
		n := math.Round(s * float64(slots))
		if n < 1 || math.Abs(s*float64(slots)-n) > 1e-6 {
			return false
		}
		counts[i] = int(n)
	}
	return true
}

// compareRests orders by what a whole number of slots leaves over, the most first.
func compareRests(a, b float64) int {
	restA, restB := a-math.Floor(a), b-math.Floor(b)
	switch {
	case restA > restB:
		return -1
	case restA < restB:
		return 1
	}
	return 0
}

// spread puts the slots of each into one list, evenly spread.
func spread(counts []int) []uint32 {
	weights, total := make([]float64, len(counts)), 0
	for i, n := range counts {
		weights[i] = float64(n)
		total += n
	}
	// After one slot for each unit of the weights everybody had their turns exactly.
	schedule := newEDF(weights, func() uint64 { return 0 })
	slots := make([]uint32, total)
	for i := range slots {
		slots[i] = uint32(schedule.next())
	}
	return slots
}
