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
	hurried  atomic.Bool   // nobody is to wait any more
	wake     chan struct{} // holds the token for the goroutine that has parked
	resume   func()        // of resting
	prompt   bool          // resume may be called on the poller's goroutine
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
	// newsFailed: the socket failed. It is never forgotten.
	newsFailed
)

// tell adds news and wakes up whoever waits, on behalf of the poller. What it returns, unless it is nil, resumes somebody who rests:
// the poller is to call it.
func (w *waiter) tell(bits uint32) (resume func()) {
	if w.news.Load()&bits != bits {
		w.news.Or(bits)
	}
	if w.waiting.Load() == resting {
		resume, prompt := w.rested()
		if resume == nil || prompt {
			return resume
		}
		go resume()
	}
	w.rouse()
	return nil
}

// rouse makes whoever waits look again.
func (w *waiter) rouse() {
	switch w.waiting.Load() {
	case parked:
		if w.waiting.CompareAndSwap(parked, nobody) {
			w.wake <- struct{}{}
		}
	case resting:
		if resume, _ := w.rested(); resume != nil {
			go resume()
		}
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
		if w.hurried.Load() {
			return ErrHurried
		}
		w.waiting.Store(parked)
		// Whoever came before the mark could be seen has not woken us up.
		if (w.ready() || w.hurried.Load() || w.refused(c) != nil) && w.waiting.CompareAndSwap(parked, nobody) {
			continue
		}
		<-w.wake
	}
}

// rest is wait without a goroutine: resume is called when the wait is over, with prompt perhaps on the poller's goroutine. It is
// false when the wait is over already: then resume is not called.
func (w *waiter) rest(c *Conn, resume func(), prompt bool) bool {
	w.resume, w.prompt = resume, prompt
	w.waiting.Store(resting)
	if !w.ready() && w.refused(c) == nil {
		return true
	}
	return !w.waiting.CompareAndSwap(resting, nobody)
}

// rested is how to resume whoever rests, for one who asks; nil for others.
func (w *waiter) rested() (resume func(), prompt bool) {
	if !w.waiting.CompareAndSwap(resting, nobody) {
		return nil, false
	}
	return w.resume, w.prompt // nobody writes them before resume was called
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
