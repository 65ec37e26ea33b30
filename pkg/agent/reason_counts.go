package agent

import (
	"sync"

	"github.com/weir-proxy/weir/pkg/observe/stats"
)

// reasonCounts are counters that the kernel side keeps by name, and how far the statistics have been told of them.
type reasonCounts struct {
	// mu makes one of reading and telling: the statistics are brought up to date by intervals and by requests to the admin interface.
	mu       sync.Mutex
	counters map[string]*stats.Counter
	counted  map[string]uint64
}

// count adds to the counters of scope what has come since the last call. read gives all names each time.
func (r *reasonCounts) count(scope *stats.Scope, read func() (map[string]uint64, error)) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	now, err := read()
	if err != nil {
		return err
	}
	if r.counters == nil {
		r.counters = make(map[string]*stats.Counter, len(now))
		for name := range now {
			r.counters[name] = scope.Counter(name)
		}
	}
	for name, n := range now {
		r.counters[name].Add(n - r.counted[name])
	}
	r.counted = now
	return nil
}
