package pool

import (
	"sync"
	"sync/atomic"

	"github.com/weir-proxy/weir/pkg/proxy/timer"
)

// Runtime is what all pools of the process share. It runs a goroutine that does what timers ask for: closing connections
// may block, which the timers' goroutine must not.
type Runtime struct {
	wheel *timer.Wheel
	ids   atomic.Uint64

	wake chan struct{} // capacity 1
	stop chan struct{}
	done sync.WaitGroup

	mu     sync.Mutex
	queue  []func()
	open   map[*conn]struct{}
	closed bool
}

// NewRuntime starts a runtime. The wheel must outlive it.
func NewRuntime(wheel *timer.Wheel) *Runtime {
	r := &Runtime{
		wheel: wheel, open: make(map[*conn]struct{}),
		wake: make(chan struct{}, 1), stop: make(chan struct{}),
	}
	r.done.Go(r.run)
	return r
}

// Close closes all connections, and those that are still being made as soon as they are there. Work that is queued may be
// left undone. It must be called once.
func (r *Runtime) Close() {
	close(r.stop)
	r.done.Wait()
	r.mu.Lock()
	r.closed = true
	victims := make([]*conn, 0, len(r.open))
	for c := range r.open {
		victims = append(victims, c)
	}
	r.mu.Unlock()
	for _, c := range victims {
		c.close(false, c.busy())
	}
}

// add notes an open connection; false when the runtime is closed.
func (r *Runtime) add(c *conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.open[c] = struct{}{}
	return !r.closed
}

func (r *Runtime) forget(c *conn) {
	r.mu.Lock()
	delete(r.open, c)
	r.mu.Unlock()
}

// Wheel is the timers.
func (r *Runtime) Wheel() *timer.Wheel { return r.wheel }

// Do queues work for the runtime's goroutine. It does not block.
func (r *Runtime) Do(work func()) {
	r.mu.Lock()
	r.queue = append(r.queue, work)
	r.mu.Unlock()
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

func (r *Runtime) run() {
	for {
		select {
		case <-r.stop:
			return
		case <-r.wake:
		}
		r.mu.Lock()
		queue := r.queue
		r.queue = nil
		r.mu.Unlock()
		for _, work := range queue {
			work()
		}
	}
}
