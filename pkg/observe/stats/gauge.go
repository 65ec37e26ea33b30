package stats

import "sync/atomic"

// Gauge is a level that goes up and down. The zero value is usable but belongs to no store.
type Gauge struct {
	value atomic.Int64
	used  atomic.Bool
	// hash tells that value has 64 bits and no sign.
	hash atomic.Bool
}

// Set replaces the level. A value above the largest int64 is held as that.
func (g *Gauge) Set(v uint64) {
	g.value.Store(int64(min(v, 1<<63-1)))
	g.touch()
}

// SetHash replaces the level by a hash, all bits of which count. A gauge that holds hashes must not be used otherwise.
func (g *Gauge) SetHash(v uint64) {
	g.hash.Store(true)
	g.value.Store(int64(v)) //nolint:gosec // Value undoes it
	g.touch()
}

// Add changes the level by delta, which may be negative.
func (g *Gauge) Add(delta int64) {
	g.value.Add(delta)
	g.touch()
}

// Sub lowers the level by delta.
func (g *Gauge) Sub(delta int64) { g.Add(-delta) }

// Inc raises the level by one.
func (g *Gauge) Inc() { g.Add(1) }

// Dec lowers the level by one.
func (g *Gauge) Dec() { g.Add(-1) }

// Value is the level. While concurrent Inc and Dec calls make it pass below zero, it reads as zero.
func (g *Gauge) Value() uint64 {
	v := g.value.Load()
	if v < 0 && g.hash.Load() {
		return uint64(v)
	}
	return uint64(max(v, 0))
}

// Used reports whether the gauge was ever set or changed.
func (g *Gauge) Used() bool { return g.used.Load() }

// touch reads before it writes so that a busy gauge's flag stays shared between cores.
func (g *Gauge) touch() {
	if !g.used.Load() {
		g.used.Store(true)
	}
}
