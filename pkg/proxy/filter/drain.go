package filter

import "sync"

// Drain tells the filter of a connection to finish what is under way. The zero value is ready for use, and may be used
// from any goroutine. It needs no goroutine while nothing is to be told.
type Drain struct {
	mu    sync.Mutex
	begun bool
	tell  func()
	calls sync.WaitGroup
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
