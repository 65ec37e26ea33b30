package listener

import (
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/weir-proxy/weir/pkg/proxy/timer"
)

const (
	// reclaimAfter is how many connections come to rest before the memory that their goroutines had is given back to the
	// system: about 8 MB of stacks, which the runtime would keep for long.
	reclaimAfter = 1024
	// reclaimDelay lets others come to rest too, and reclaimPause bounds how often, since it is a collection of all garbage.
	reclaimDelay = time.Second
	reclaimPause = 30 * time.Second
)

// reclaimer gives memory back after many connections have come to rest.
type reclaimer struct {
	rests atomic.Int64
	next  atomic.Int64 // not before, on the wheel's clock
	timer timer.Timer
}

// rested notes that a connection has come to rest.
func (m *Manager) rested() {
	r := &m.reclaim
	if r.rests.Add(1) == reclaimAfter {
		r.timer.Arm(max(reclaimDelay, time.Duration(r.next.Load()-m.opts.Wheel.Now())))
	}
}

// giveBack is the timer's function, which must not block.
func (m *Manager) giveBack() {
	m.reclaim.next.Store(m.opts.Wheel.Now() + int64(reclaimPause))
	m.reclaim.rests.Store(0)
	m.loops.Go(debug.FreeOSMemory)
}
