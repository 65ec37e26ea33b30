package httprouter

import (
	"time"

	"github.com/weir-proxy/weir/pkg/proxy/timer"
)

// deadline is a timer that stays registered while its exchange is pooled, which makes arming it cheap. Since it may then
// fire for an exchange that is over, it acts only when it is due; due is guarded by the exchange's lock.
type deadline struct {
	timer timer.Timer
	due   time.Time // zero: not armed
}

func (x *exchange) arm(d *deadline, after time.Duration) {
	x.mu.Lock()
	d.due = time.Now().Add(after)
	x.mu.Unlock()
	d.timer.Arm(after)
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
	now := time.Now()
	if d := x.limits.perTry; d > 0 {
		x.perTry.due = now.Add(d)
		x.perTry.timer.Arm(d)
	}
	if d := x.limits.perTryIdle; d > 0 {
		x.idle.due = now.Add(d)
		x.idle.timer.Arm(d)
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
func (x *exchange) endLife() {
	if x.limits.life > 0 {
		x.disarm(&x.life)
	}
}

func (x *exchange) disarm(d *deadline) {
	x.mu.Lock()
	d.due = time.Time{}
	x.mu.Unlock()
	d.timer.Disarm()
}

// expire is the timer's function.
func (x *exchange) expire(d *deadline, err error, final bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if d.due.IsZero() || time.Now().Before(d.due) {
		return
	}
	d.due = time.Time{}
	x.stopLocked(err, final)
}
