package httprouter

import (
	"sync/atomic"
	"time"

	"github.com/weir-proxy/weir/pkg/proxy/timer"
)

// deadline is a timer that stays registered while its exchange is pooled, which makes arming and disarming it one atomic
// store each.
type deadline struct {
	timer timer.Timer
	fire  func()
	armed atomic.Bool
}

func (d *deadline) init(w *timer.Wheel, fire func()) {
	d.fire = fire
	d.timer.Init(w, fire)
}

// until sets the deadline, a time on the wheel's clock.
func (d *deadline) until(when int64) {
	d.timer.ArmAt(when)
	d.armed.Store(true)
}

// arm sets the deadline from now on.
func (x *exchange) arm(d *deadline, after time.Duration) {
	d.until(x.f.deps.Wheel.Now() + int64(after))
}

// disarm takes the deadline back. A timer that has fired is waited for, so that it cannot end what comes later; the caller
// must not hold the exchange's lock, which the fire function takes.
func (x *exchange) disarm(d *deadline) {
	if !d.armed.Load() {
		return
	}
	d.armed.Store(false)
	if !d.timer.Stop() {
		d.timer.Release()
		d.timer.Init(x.f.deps.Wheel, d.fire)
	}
}

// timesTries tells whether attempts have timeouts of their own.
func (x *exchange) timesTries() bool { return x.limits.perTry > 0 || x.limits.perTryIdle > 0 }

// beginTry starts the timeouts of an attempt that has a connection; when the request is not complete, requestDone will.
func (x *exchange) beginTry() {
	if !x.timesTries() {
		return
	}
	x.mu.Lock()
	x.trying = true
	x.mu.Unlock()
	if x.send.src == nil || x.send.complete.Load() {
		x.armTry()
	}
}

func (x *exchange) armTry() {
	if !x.timesTries() {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.trying {
		return
	}
	now := x.f.deps.Wheel.Now()
	if d := x.limits.perTry; d > 0 {
		x.perTry.until(now + int64(d))
	}
	if d := x.limits.perTryIdle; d > 0 {
		x.idle.until(now + int64(d))
	}
}

// endTry stops the timeouts of an attempt.
func (x *exchange) endTry() {
	if !x.timesTries() {
		return
	}
	x.mu.Lock()
	x.trying = false
	x.mu.Unlock()
	x.disarm(&x.perTry)
	x.disarm(&x.idle)
}

// endLife stops the bound on how long an attempt may last.
func (x *exchange) endLife() { x.disarm(&x.life) }
