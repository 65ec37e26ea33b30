package conn

import "errors"

// ErrHurried is wrapped by the error of a write that would have had to wait after Hurry.
var ErrHurried = errors.New("no room to write")

// WatchLoss has Lost called, on a goroutine of its own, when the socket fails (the peer has reset the connection, or keep-alive has
// given it up), at once if it has: while nobody reads, nobody would find out. It may be called more than once, and after Close. A
// socket whose failure Rest tells of anyway need not tell w, too.
func (c *Conn) WatchLoss(w interface{ Lost() }) {
	c.poller.mu.Lock()
	c.loss = w
	c.poller.mu.Unlock()
	if c.in.news.Load()&newsFailed != 0 {
		go w.Lost()
	}
}

// Hurry makes writes, present and future, fail with ErrHurried instead of waiting for room. What there is room for is written still.
func (c *Conn) Hurry() {
	c.out.hurried.Store(true)
	c.out.rouse()
}
