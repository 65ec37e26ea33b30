package h2

import "time"

// task is something to do on another goroutine: serve a stream, or write what is to be sent when st is nil.
type task struct{ st *stream }

// workers are goroutines that have done a task and wait for another: a goroutine that has served a stream has a stack of
// the size that it takes. Those that were not needed for workersKept end. The connection's mu guards them.
type workers struct {
	parked []chan task
	least  int // fewest parked since the last look
	busy   int // streams being served
	timer  *time.Timer
	closed bool
}

// workersKept is how long a worker is kept that is not needed.
const workersKept = time.Second

// run does t on another goroutine. The caller holds mu.
func (c *link) run(t task) {
	w := &c.workers
	if n := len(w.parked); n > 0 {
		ch := w.parked[n-1]
		w.parked = w.parked[:n-1]
		w.least = min(w.least, n-1)
		ch <- t // has room for one
		return
	}
	ch := make(chan task, 1)
	ch <- t
	c.wg.Go(func() { c.work(ch) })
}

func (c *link) work(ch chan task) {
	for t := range ch {
		if t.st != nil {
			c.side.serve(t.st)
		}
		c.mu.Lock()
		if t.st == nil {
			c.write(nil)
		}
		stay := c.park(ch)
		c.mu.Unlock()
		if !stay {
			return
		}
	}
}

// park puts a worker among those that wait; false when it shall end.
func (c *link) park(ch chan task) bool {
	w := &c.workers
	if w.closed || c.err != nil {
		return false
	}
	w.parked = append(w.parked, ch)
	switch {
	case w.timer == nil:
		w.timer = time.AfterFunc(workersKept, c.trim)
	case len(w.parked) == 1 && w.least < 0:
		w.timer.Reset(workersKept)
	default:
		return true
	}
	w.least = len(w.parked)
	return true
}

// trim ends the workers that were not needed lately.
func (c *link) trim() {
	c.mu.Lock()
	defer c.mu.Unlock()
	w := &c.workers
	if w.closed {
		return
	}
	keep := len(w.parked) - max(w.least, 0)
	for _, ch := range w.parked[:len(w.parked)-keep] {
		close(ch)
	}
	w.parked = append(w.parked[:0], w.parked[len(w.parked)-keep:]...)
	w.least = len(w.parked)
	if keep == 0 && w.busy == 0 {
		w.least = -1 // the timer sleeps
		return
	}
	w.timer.Reset(workersKept)
}

// closeWorkers ends those that wait. The caller holds mu.
func (c *link) closeWorkers() {
	w := &c.workers
	w.closed = true
	for _, ch := range w.parked {
		close(ch)
	}
	w.parked = nil
	if w.timer != nil {
		w.timer.Stop()
	}
}
