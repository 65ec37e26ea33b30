package pool

import (
	"context"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/weir-proxy/weir/pkg/proxy/timer"
)

// Runtime is what all pools of the process share. It runs a goroutine that does what timers ask for: closing connections
// may block, which the timers' goroutine must not. Each connection that is being made has a goroutine of its own.
type Runtime struct {
	wheel *timer.Wheel
	ids   atomic.Uint64

	wake chan struct{} // capacity 1
	stop chan struct{}
	done sync.WaitGroup

	// bounded runs something that ends with cancel, which is called when the runtime closes; dials waits for it.
	bounded func(work func(context.Context))
	cancel  context.CancelFunc
	dials   sync.WaitGroup

	mu     sync.Mutex
	queue  []func()
	within namespaces
	open   map[*conn]struct{}
	spares map[*TCPConn]struct{}
	closed bool
}

// NewRuntime starts a runtime. The wheel must outlive it.
func NewRuntime(wheel *timer.Wheel) *Runtime {
	ctx, cancel := context.WithCancel(context.Background())
	r := &Runtime{
		bounded: func(work func(context.Context)) { work(ctx) }, cancel: cancel, wheel: wheel, open: make(map[*conn]struct{}),
		spares: make(map[*TCPConn]struct{}), within: make(namespaces),
		wake: make(chan struct{}, 1), stop: make(chan struct{}),
	}
	r.done.Go(r.run)
	return r
}

// Close closes all connections and gives up those that are being made. Work that is queued may be left undone. It must be
// called once.
func (r *Runtime) Close() {
	close(r.stop)
	r.done.Wait()
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.cancel()
	r.dials.Wait()
	r.mu.Lock()
	victims := make([]*conn, 0, len(r.open))
	for c := range r.open {
		victims = append(victims, c)
	}
	spares := slices.Collect(maps.Keys(r.spares))
	r.mu.Unlock()
	for _, c := range victims {
		c.close(false, c.busy())
	}
	for _, c := range spares {
		if c.pool.remove(c) {
			c.end(false, false)
		}
	}
}

// spawn runs work on a goroutine that Close waits for, with a context that Close ends; false when the runtime is closed.
func (r *Runtime) spawn(work func(context.Context)) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return false
	}
	r.dials.Go(func() { r.bounded(work) })
	return true
}

// add notes an open connection.
func (r *Runtime) add(c *conn) {
	r.mu.Lock()
	r.open[c] = struct{}{}
	r.mu.Unlock()
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
