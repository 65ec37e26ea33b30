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
