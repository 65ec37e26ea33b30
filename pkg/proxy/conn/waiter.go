package conn

import (
	"net"
	"os"
	"sync/atomic"
	"time"
)

// waiter is one direction of a socket: what the poller said of it, and the goroutine that waits for more. One goroutine
// waits at a time.
type waiter struct {
	news     atomic.Uint32
	waiting  atomic.Uint32 // nobody, parked or resting
	deadline atomic.Int64  // on the connection's clock; 0: none
	wake     chan struct{} // holds the token for the goroutine that has parked
	resume   func()        // of resting
	timer    *time.Timer   // guarded by Conn.dmu
}

// Who waits.
const (
	nobody uint32 = iota
	parked
	resting
)

// News of the poller.
const (
	// newsReady: the direction may be used, until a try says otherwise.
	newsReady uint32 = 1 << iota
	// newsEnded: the peer has ended its direction, or the socket failed. There need not be another edge for that.
	newsEnded
	// newsUrgent: there was urgent data, before which a read stops short.
	newsUrgent
)

// tell adds news and wakes up whoever waits.
func (w *waiter) tell(bits uint32) {
	if w.news.Load()&bits != bits {
		w.news.Or(bits)
	}
	w.rouse()
}

// rouse makes whoever waits look again.
func (w *waiter) rouse() {
	switch w.waiting.Load() {
	case parked:
		if w.waiting.CompareAndSwap(parked, nobody) {
			w.wake <- struct{}{}
		}
	case resting:
		w.start()
	}
}

// begin forgets that the direction was ready, right before it is tried: what happens from then on is news.
func (w *waiter) begin() {
	if w.news.Load()&newsReady != 0 {
		w.news.And(^newsReady)
	}
}

// quiet tells that nothing has happened since begin, ever since.
func (w *waiter) quiet() bool { return w.news.Load() == 0 }

// wait parks until the direction is ready; the error is why it must not be used.
func (w *waiter) wait(c *Conn) error {
	for {
		if err := w.refused(c); err != nil {
			return err
		}
		if w.ready() {
			return nil
		}
		w.waiting.Store(parked)
		// Whoever came before the mark could be seen has not woken us up.
		if (w.ready() || w.refused(c) != nil) && w.waiting.CompareAndSwap(parked, nobody) {
			continue
		}
		<-w.wake
	}
}

// rest is wait without a goroutine: resume is called on one of its own.
func (w *waiter) rest(c *Conn, resume func()) {
	w.resume = resume
	w.waiting.Store(resting)
	if w.ready() || w.refused(c) != nil {
		w.start()
	}
}

// start resumes whoever rests, once.
func (w *waiter) start() {
	resume := w.resume
	if w.waiting.CompareAndSwap(resting, nobody) {
		go resume()
	}
}

func (w *waiter) ready() bool { return w.news.Load()&newsReady != 0 }

// refused says why the direction cannot be used now.
func (w *waiter) refused(c *Conn) error {
	if c.closed.Load() {
		return net.ErrClosed
	}
	if at := w.deadline.Load(); at != 0 && c.poller.now() >= at {
		return os.ErrDeadlineExceeded
	}
	return nil
}

// limit sets the deadline; 0 is none. The caller holds Conn.dmu.
func (w *waiter) limit(at int64, c *Conn) {
	w.deadline.Store(at)
	if w.timer != nil {
		w.timer.Stop()
	}
	if left := at - c.poller.now(); at != 0 && left > 0 {
		if w.timer == nil {
			w.timer = time.AfterFunc(time.Duration(left), w.rouse)
		} else {
			w.timer.Reset(time.Duration(left))
		}
	}
	w.rouse()
}
