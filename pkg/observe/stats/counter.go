package stats

import "sync/atomic"

// Counter counts events. It only grows, except that Store.ResetCounters starts Value again at zero.
// The zero value is usable but belongs to no store.
type Counter struct {
	total   atomic.Uint64 // since creation, never reset
	resetAt atomic.Uint64 // total at the last reset
	latchAt atomic.Uint64 // total at the last latch
	named
}

// Inc adds one.
func (c *Counter) Inc() { c.total.Add(1) }

// Add adds n.
func (c *Counter) Add(n uint64) { c.total.Add(n) }

// Value is the number counted since creation or the last reset.
func (c *Counter) Value() uint64 {
	// resetAt is read first: total never falls, so the difference cannot wrap.
	at := c.resetAt.Load()
	return c.total.Load() - at
}

// Latch returns what was counted since the last Latch, for sinks that send deltas. A store has one
// flusher, which calls it once per flush interval and hands the number to every sink; a reset in
// between does not lose counts.
func (c *Counter) Latch() uint64 {
	now := c.total.Load()
	return now - c.latchAt.Swap(now)
}

// Used reports whether the counter was ever increased; a reset does not clear it.
func (c *Counter) Used() bool { return c.total.Load() != 0 }

func (c *Counter) reset() { c.resetAt.Store(c.total.Load()) }
