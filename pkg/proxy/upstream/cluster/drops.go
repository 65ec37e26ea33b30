package cluster

import (
	"maps"
	"sync"
)

// drops counts the requests that drop_overloads dropped, by category. The zero value has counted nothing.
type drops struct {
	mu sync.Mutex
	by map[string]uint64
}

func (d *drops) count(category string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.by == nil {
		d.by = map[string]uint64{}
	}
	d.by[category]++
}

// Drops are the numbers of requests that drop_overloads dropped so far, by category; nil for none.
func (c *Cluster) Drops() map[string]uint64 {
	c.core.drops.mu.Lock()
	defer c.core.drops.mu.Unlock()
	return maps.Clone(c.core.drops.by)
}
