// Package timer gives connections and streams coarse timers that cost the hot path one atomic store, so that no request
// ever sets a socket deadline.
//
// It owns one goroutine per Wheel, which calls the fire functions. It must not know what is timed. Locking: Arm and
// Disarm write an atomic deadline; the wheel's lock is only taken when a timer must be looked at earlier than the wheel
// has planned. The wheel plans lazily: it keeps a heap of the times at which it will look at each timer, and a timer
// that was re-armed or disarmed meanwhile is re-planned or dropped when its look is due. A timer that is armed with the
// same duration once per request is therefore looked at once per duration, and an idle wheel never wakes up.
package timer

import (
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// never is the look time of a timer that the wheel has no plan for.
const never = math.MaxInt64

// Wheel runs timers. Make it with New.
type Wheel struct {
	start time.Time

	mu      sync.Mutex
	done    *sync.Cond // signalled when firing becomes nil
	heap    []*Timer   // by look, earliest first
	firing  *Timer     // whose fire function runs now
	planned int64      // when run wakes up next; never while it does not sleep on a timer
	closed  bool

	wake    chan struct{} // capacity 1: the plan became earlier
	stop    chan struct{}
	stopped chan struct{}
}

// New starts a wheel.
func New() *Wheel {
	w := &Wheel{
		start:   time.Now(),
		planned: never,
		wake:    make(chan struct{}, 1),
		stop:    make(chan struct{}),
		stopped: make(chan struct{}),
	}
	w.done = sync.NewCond(&w.mu)
	go w.run()
	return w
}

// Close ends the wheel and waits until no fire function runs. Timers that are armed never fire any more.
func (w *Wheel) Close() {
	w.mu.Lock()
	if !w.closed {
		w.closed = true
		close(w.stop)
	}
	w.mu.Unlock()
	<-w.stopped
}

// Now is the wheel's clock: monotonic nanoseconds since New, at least 1.
func (w *Wheel) Now() int64 { return 1 + int64(time.Since(w.start)) }

// At is t, which must hold a monotonic reading, on the wheel's clock.
func (w *Wheel) At(t time.Time) int64 { return 1 + int64(t.Sub(w.start)) }

func (w *Wheel) run() {
	defer close(w.stopped)
	sleep := time.NewTimer(time.Hour)
	defer sleep.Stop()
	for {
		if next := w.fireDue(); next == never {
			sleep.Stop()
		} else {
			sleep.Reset(time.Duration(next - w.Now()))
		}
		select {
		case <-sleep.C:
		case <-w.wake:
		case <-w.stop:
			return
		}
	}
}

// fireDue fires what is due and returns when to come back.
func (w *Wheel) fireDue() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	for !w.closed && len(w.heap) > 0 {
		t := w.heap[0]
		now := w.Now()
		if look := t.look.Load(); look > now {
			w.planned = look
			return look
		}
		w.remove(t)
		// The look time is gone from here on, so an Arm that stores its deadline after this load takes the lock and plans.
		deadline := t.deadline.Load()
		switch {
		case deadline == 0:
		case deadline > now:
			w.add(t, deadline)
		case t.deadline.CompareAndSwap(deadline, 0):
			w.call(t)
		default: // re-armed or disarmed this moment
			if deadline = t.deadline.Load(); deadline != 0 && t.at < 0 {
				w.add(t, deadline)
			}
		}
	}
	w.planned = never
	return never
}

// call runs t's fire function without the lock.
func (w *Wheel) call(t *Timer) {
	w.firing = t
	fire := t.fire
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		w.firing = nil
		w.done.Broadcast()
	}()
	fire()
}

// plan makes sure that the wheel looks at t not later than its deadline.
func (w *Wheel) plan(t *Timer) {
	w.mu.Lock()
	defer w.mu.Unlock()
	deadline := t.deadline.Load()
	if t.wheel != w || w.closed || deadline == 0 || deadline >= t.look.Load() {
		return
	}
	if t.at >= 0 {
		w.remove(t)
	}
	w.add(t, deadline)
	if deadline < w.planned {
		w.planned = deadline
		select {
		case w.wake <- struct{}{}:
		default:
		}
	}
}

// Timer is one deadline, embedded in the object that it guards. The zero value is unregistered: Arm and Disarm do
// nothing. Arm and Disarm may be called from any goroutine between Init and Release, which are the owner's.
type Timer struct {
	deadline atomic.Int64 // on the wheel's clock; 0 when not armed
	look     atomic.Int64 // when the wheel looks next

	wheel *Wheel
	fire  func()
	at    int // index in the heap, -1 when not there; the wheel's lock guards it
}

// Init registers the timer, which must be new or released. fire is called on the wheel's goroutine, so it must be short
// and must not block: typically it aborts a connection. It may Arm its own timer again, and must not Release it.
func (t *Timer) Init(w *Wheel, fire func()) {
	t.deadline.Store(0)
	t.look.Store(never)
	t.fire, t.at = fire, -1
	t.wheel = w
}

// Arm makes the timer fire once, d from now (about 1 ms late at most on an idle machine), in place of what it was armed
// for before. It does not allocate.
func (t *Timer) Arm(d time.Duration) {
	w := t.wheel
	if w == nil {
		return
	}
	t.ArmAt(w.Now() + max(0, int64(d)))
}

// ArmAt is Arm for a time on the wheel's clock, which it does not read. A time that has overflowed is never.
func (t *Timer) ArmAt(deadline int64) {
	w := t.wheel
	if w == nil {
		return
	}
	if deadline <= 0 {
		deadline = never - 1
	}
	t.deadline.Store(deadline)
	if deadline < t.look.Load() {
		w.plan(t)
	}
}

// Disarm stops the timer. A fire that has begun is not undone or waited for: see Release.
func (t *Timer) Disarm() { t.deadline.Store(0) }

// Stop is Disarm that tells whether the timer was armed. When it was before and is not now, it has fired, and that call may
// still be under way: only Release waits for it.
func (t *Timer) Stop() bool { return t.deadline.Swap(0) != 0 }

// Armed tells whether the timer is going to fire.
func (t *Timer) Armed() bool { return t.deadline.Load() != 0 }

// Release unregisters the timer. When it returns, fire is not running and will not be called: it waits for a call that
// has begun. It must not be called from fire itself, nor while holding what fire may wait for. An unregistered timer is
// left as it is, so Release may be repeated; Init makes the timer usable again.
func (t *Timer) Release() {
	w := t.wheel
	if w == nil {
		return
	}
	t.deadline.Store(0)
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.firing == t {
		w.done.Wait()
	}
	if t.at >= 0 {
		w.remove(t)
	}
	t.deadline.Store(0) // fire may have armed it again
	t.wheel, t.fire = nil, nil
}
