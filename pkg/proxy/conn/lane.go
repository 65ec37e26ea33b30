package conn

import (
	"net/netip"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Accelerator lets bytes of peers on this host reach sockets past TCP.
type Accelerator interface {
	// Expect is told an address that is about to be dialled. It must be cheap.
	Expect(addr netip.AddrPort)
	// Accelerate takes in a socket of which read bytes were read so far, at least. begin is called with its lane right before
	// bytes may come past TCP, or not at all.
	Accelerate(fd int, local, remote netip.AddrPort, read uint64, begin func(Lane))
}

// Lane is what an accelerated socket shares with the kernel. The zero value is none.
type Lane struct {
	// Read is told after each read how many bytes were read since the connection began: what the kernel may put into the
	// socket next depends on it.
	Read *atomic.Uint64
	// Mixed changes when bytes came by TCP behind such that came past it, which a read does not return together.
	Mixed *atomic.Uint64
	// Release is called when the descriptor has been closed.
	Release func()
}

// AcceleratedAfter is the number of reads and writes after which a connection is accelerated by default. It costs several system
// calls, which connections that end before they have saved as much are spared.
const AcceleratedAfter = 8

// acceleration is what a poller knows of it.
type acceleration struct {
	Accelerator
	after int32
}

// Accelerate makes connections of the poller that begin from now on be accelerated after so many reads and writes; nil ends
// that for those that are not yet.
func (p *Poller) Accelerate(a Accelerator, after int) {
	if a == nil {
		p.accelerator.Store(nil)
		return
	}
	p.accelerator.Store(&acceleration{a, int32(after)})
}

// expect tells the accelerator, if any, of a dial.
func (p *Poller) expect(addr netip.AddrPort) {
	if a := p.accelerator.Load(); a != nil {
		a.Expect(addr)
	}
}

// trials is how many reads and writes of a new connection are left until it is accelerated; 0 is never.
func (c *Conn) trials() int32 {
	a := c.poller.accelerator.Load()
	if !c.stream || a == nil {
		return 0
	}
	if c.remote.Addr() != c.local.Addr() && !c.remote.Addr().IsLoopback() {
		return 0
	}
	return a.after
}

// count accounts for n bytes that were read, and tells the kernel. The caller holds rmu.
func (c *Conn) count(n int) {
	c.rx.Add(uint64(n))
	taken := c.taken.Load() + uint64(n)
	c.taken.Store(taken)
	if lane := c.lane.Load(); lane != nil {
		lane.Read.Store(taken)
		return
	}
	c.tried()
}

// tried counts a read or a write. The caller holds rmu or wmu, so that the descriptor stays open.
//
// The connection may be accelerated beside a read: the kernel is told of fewer bytes than were read then, and puts nothing into
// the socket until the next read corrects that.
func (c *Conn) tried() {
	if c.trial.Load() <= 0 || c.trial.Add(-1) != 0 {
		return
	}
	if a := c.poller.accelerator.Load(); a != nil {
		a.Accelerate(c.fd, c.local, c.remote, c.taken.Load(), c.enter)
	}
}

// enter makes the connection one of the lane, before the first byte comes past TCP: what reads the socket from then on knows.
func (c *Conn) enter(lane Lane) {
	c.smu.Lock()
	defer c.smu.Unlock()
	c.lane.Store(&lane)
}

// splice moves what TCP has received into the pipe; ok is false when the connection is not Spliceable.
func (c *Conn) splice(p pipe, limit int) (n int64, err error, ok bool) {
	c.smu.Lock()
	defer c.smu.Unlock()
	if !c.Spliceable() {
		return 0, nil, false
	}
	n, err = unix.Splice(c.fd, nil, p.w, nil, limit, unix.SPLICE_F_MOVE|unix.SPLICE_F_NONBLOCK)
	return n, err, true
}

// mixed is the count of Lane.Mixed; always 0 without a lane.
func (c *Conn) mixed() uint64 {
	if lane := c.lane.Load(); lane != nil {
		return lane.Mixed.Load()
	}
	return 0
}

// Spliceable tells whether bytes of the connection may be moved by Splice: not when they can come past TCP, where splice does
// not see them. It may become false at any time.
func (c *Conn) Spliceable() bool { return !c.Accelerated() }

// Accelerated tells whether bytes from the peer can come past TCP. It may become true at any time, and stays so.
func (c *Conn) Accelerated() bool { return c.lane.Load() != nil }
