package program

import (
	"fmt"

	"github.com/cilium/ebpf"
)

// Reason is why a program decided as it did, the index of its counter.
type Reason interface {
	~uint32
	// String is the name that statistics show.
	String() string
}

// Counters are those of the reasons from first to the one before end, by name and over all CPUs. Reasons that were never given are there
// with 0; with a nil map all are.
func Counters[R Reason](counters *ebpf.Map, first, end R) (map[string]uint64, error) {
	out := make(map[string]uint64, end-first)
	perCPU := make([]uint64, ebpf.MustPossibleCPU())
	for reason := first; reason < end; reason++ {
		out[reason.String()] = 0
		if counters == nil {
			continue
		}
		if err := counters.Lookup(uint32(reason), perCPU); err != nil {
			return nil, fmt.Errorf("read counter %s: %w", reason, err)
		}
		for _, n := range perCPU {
			out[reason.String()] += n
		}
	}
	return out, nil
}
