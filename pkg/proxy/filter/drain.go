package filter

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// Drain tells the filter of a connection to finish what is under way. The zero value is ready for use, and may be used
// from any goroutine. It needs no goroutine while nothing is to be told.
type Drain struct {
	mu    sync.Mutex
	begun bool
	tell  func()
	calls sync.WaitGroup
	soon  atomic.Pointer[Period]
}

// Period is a time in which busy connections are asked to finish: each at a response, whose chance to be the one grows from none at
// Since to certainty after Over, as in Envoy. An Over of 0 is each at its next response.
type Period struct {
	Since time.Time
	Over  time.Duration
}

// Within has Due choose a moment of the period, ahead of Begin, which comes at its own time.
func (d *Drain) Within(p *Period) { d.soon.Store(p) }

// Due tells, for a response that is about to be sent, whether it is to be the last one of its connection.
func (d *Drain) Due() bool {
	p := d.soon.Load()
	return p != nil && (p.Over <= 0 || rand.Int64N(int64(p.Over)) < int64(time.Since(p.Since)))
}

// Begin tells, once.
func (d *Drain) Begin() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.begun {
		return
	}
	d.begun = true
	d.call()
}

// Notify has f called, on a goroutine of its own, when the drain begins or if it has begun.
func (d *Drain) Notify(f func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.tell = f
	if d.begun {
		d.call()
	}
}

// Forget ends Notify, and waits for the call if there is one.
func (d *Drain) Forget() {
	d.mu.Lock()
	d.tell = nil
	d.mu.Unlock()
	d.calls.Wait()
}

// call is made with mu held. The filter may write to its connection, which can block: not whoever begins the drain.
func (d *Drain) call() {
	if d.tell != nil {
		d.calls.Go(d.tell)
	}
}
