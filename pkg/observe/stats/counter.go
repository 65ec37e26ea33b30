package stats

import "sync/atomic"

// Counter counts events. It only grows, except that Store.ResetCounters starts Value again at zero. It is one word, so that
// the counters of a group, which one request moves together, share few cache lines; what resets and deltas need is kept by
// the group. The zero value is usable but belongs to no store.
type Counter struct {
	total atomic.Uint64
}

// Inc adds one.
func (c *Counter) Inc() { c.total.Add(1) }

// Add adds n.
func (c *Counter) Add(n uint64) { c.total.Add(n) }

// Value is the number counted since creation or the last reset.
func (c *Counter) Value() uint64 { return c.total.Load() }
