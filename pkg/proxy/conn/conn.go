// Package conn is the socket as the proxy uses it: TCP and unix stream sockets whose reads and writes go straight to
// recvfrom and sendto, without a deadline, a timer or an allocation per call.
//
// It owns the life of file descriptors, the poller that parks goroutines on them, the byte counts of the wire, and dialling
// with weir's mark. It must not know listeners, protocols or configuration beyond keep-alive options.
//
// A read of a socket that the last read has drained (it got less than it asked for, or EAGAIN) parks at once, unless the
// poller has had news of the socket since: each recvfrom that can only say EAGAIN would cost as much as the work of many
// lines of code. That is sound because the poller's edges are remembered between reads, and because a peer's FIN, which
// makes no edge of its own when it arrives together with bytes, is an event that is never forgotten (docs/decisions/0005).
//
// Locking: reads are serialised among themselves, and so are writes; Abort, Close, Reset and PeerClosed may be called
// from any goroutine at any time. The descriptor is closed under the locks of both directions and of pmu, so holding one
// of them keeps it open.
package conn

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

// ErrAborted is returned by reads and writes after Abort.
var ErrAborted = errors.New("connection aborted")

// ErrWouldBlock is returned by TryRead when nothing is there.
var ErrWouldBlock = errors.New("read would block")

// Conn is a connected stream socket. Poller.Adopt, Poller.Take and Dialer make them. It implements net.Conn; deadlines work, but are meant for
// set-up phases (listener filters, TLS handshakes), not for use per request.
type Conn struct {
	poller       *Poller
	fd           int
	generation   int32 // tells it from others that had the descriptor; of the poller
	stream       bool  // TCP, whose reads come back short only when nothing is left
	laddr, raddr net.Addr
	rx, tx       *atomic.Uint64
	ownRx, ownTx atomic.Uint64

	local, remote netip.AddrPort
	in, out       waiter
	aborted       atomic.Bool
	closed        atomic.Bool
	// lost is the error that a look at the socket took off it (the kernel tells each one once); it is reported in place
	// of the end of file that follows.
	lost atomic.Uintptr
	// over tells that a read has come to the end of what the peer sends.
	over atomic.Bool

	rmu     sync.Mutex    // held while a read is parked; guards what follows
	drained bool          // nothing was left when the last read returned
	prefix  []byte        // bytes that were read ahead and are handed out first
	free    func()        // gives the prefix's buffer back
	taken   atomic.Uint64 // bytes read off the socket; written under rmu
	seen    uint64        // Lane.Mixed when nothing was left last

	smu   sync.Mutex           // held while bytes are spliced off the socket, and while it gets its lane
	lane  atomic.Pointer[Lane] // nil while not accelerated
	trial atomic.Int32         // reads and writes left until the connection is accelerated; not above 0: it is not to be

	// release is called when the connection has been closed; nil for most.
	release func()

	wmu  sync.Mutex // held while a write is parked; guards what follows
	room bool       // the poller tells of room to write

	loss interface{ Lost() } // who is told when the socket fails; Poller.mu guards it

	pmu sync.Mutex // held while something else is done with the descriptor
	dmu sync.Mutex // guards the setting of deadlines
}

// readMode says what a read does with the socket.
type readMode uint8

const (
	readBlock readMode = iota // wait until there is something and take it
	readTry                   // take what is there
	readWait                  // wait until there is something and leave it
)

// Adopt takes over a *net.TCPConn or *net.UnixConn (or what has their methods), which it closes: the socket lives on in
// the result. Wire bytes are counted into rx and tx; nil counts for RxBytes and TxBytes alone. On errors nc is left open.
func (p *Poller) Adopt(nc net.Conn, rx, tx *atomic.Uint64) (*Conn, error) {
	s, ok := nc.(syscall.Conn)
	if !ok {
		return nil, fmt.Errorf("take over connection: %T is not a socket", nc)
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("take over connection: %w", err)
	}
	fd := -1
	var dup error
	// Package net's own descriptor cannot be taken from it, only be closed after it was copied.
	err = raw.Control(func(own uintptr) { fd, dup = unix.FcntlInt(own, unix.F_DUPFD_CLOEXEC, 0) })
	if err = errors.Join(err, dup); err != nil {
		return nil, fmt.Errorf("take over connection: %w", err)
	}
	c := p.newConn(fd, rx, tx)
	c.identify(nc.LocalAddr(), nc.RemoteAddr())
	if err := p.add(c); err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("take over connection: %w", err)
	}
	_ = nc.Close() // closes package net's descriptor alone
	return c, nil
}

// event is called by the poller, under its lock. The poller is to call what it returns, without the lock, unless that is nil.
func (c *Conn) event(events uint32) (resume func()) {
	const ended = unix.EPOLLRDHUP | unix.EPOLLHUP | unix.EPOLLERR
	if events&(unix.EPOLLIN|unix.EPOLLPRI|ended) != 0 {
		bits := newsReady
		if events&ended != 0 {
			bits |= newsEnded
		}
		if events&unix.EPOLLPRI != 0 {
			bits |= newsUrgent
		}
		if events&unix.EPOLLERR != 0 {
			bits |= newsFailed
		}
		resume = c.in.tell(bits)
		if events&unix.EPOLLERR != 0 && resume == nil && c.loss != nil { // what is resumed finds out by itself
			go c.loss.Lost()
		}
	}
	if events&(unix.EPOLLOUT|unix.EPOLLHUP|unix.EPOLLERR) != 0 {
		c.out.tell(newsReady) // nobody rests there
	}
	return resume
}

// AddrPort is a as netip, unmapped; the zero value for unix sockets.
func AddrPort(a net.Addr) netip.AddrPort {
	if t, ok := a.(*net.TCPAddr); ok {
		return Unmap(t.AddrPort())
	}
	return netip.AddrPort{}
}

// Unmap turns an IPv4-mapped IPv6 address into the IPv4 address.
func Unmap(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }

// failure gives an error the form that package net gives it.
func (c *Conn) failure(op string, err error) error {
	if c.aborted.Load() {
		return ErrAborted
	}
	return &net.OpError{Op: op, Net: c.laddr.Network(), Source: c.laddr, Addr: c.raddr, Err: err}
}

// Abort makes reads and writes, present and future, return ErrAborted at once. The connection still has to be closed.
func (c *Conn) Abort() {
	c.aborted.Store(true)
	c.limit(longPast, &c.in, &c.out)
}

// Aborted tells whether Abort was called.
func (c *Conn) Aborted() bool { return c.aborted.Load() }

// Close implements net.Conn. It waits for reads and writes under way to return.
func (c *Conn) Close() error {
	if c.closed.Swap(true) {
		return c.failure("close", net.ErrClosed)
	}
	c.limit(longPast, &c.in, &c.out) // stops the timers and wakes up
	c.rmu.Lock()
	defer c.rmu.Unlock()
	c.wmu.Lock()
	defer c.wmu.Unlock()
	c.pmu.Lock()
	defer c.pmu.Unlock()
	c.dropPrefix()
	c.poller.remove(c)
	var err error
	lane := c.lane.Load()
	if lane == nil {
		err = failure("close", closeSocket(c.fd))
	} else { // the kernel waits for what is on its way past TCP
		err = os.NewSyscallError("close", unix.Close(c.fd))
	}
	if c.release != nil {
		c.release()
	}
	if lane != nil {
		lane.Release()
	}
	if err != nil {
		return c.failure("close", err)
	}
	return nil
}

// Control calls f with the descriptor, which stays open meanwhile.
func (c *Conn) Control(f func(fd int) error) error {
	c.pmu.Lock()
	defer c.pmu.Unlock()
	if c.closed.Load() {
		return net.ErrClosed
	}
	return f(c.fd)
}

// CloseWrite sends a FIN and leaves the other direction open.
func (c *Conn) CloseWrite() error {
	if err := c.Control(func(fd int) error { return failure("shutdown", shutdownWrite(fd)) }); err != nil {
		return c.failure("close", err)
	}
	return nil
}

// Reset closes so that the peer sees a TCP reset (SO_LINGER 0). A unix socket, which has no resets, is just closed.
func (c *Conn) Reset() {
	if c.stream {
		_ = c.Control(func(fd int) error {
			return unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
		})
	}
	_ = c.Close()
}

// LocalAddr implements net.Conn.
func (c *Conn) LocalAddr() net.Addr { return c.laddr }

// RemoteAddr implements net.Conn.
func (c *Conn) RemoteAddr() net.Addr { return c.raddr }

// Local is the socket's own address, unmapped; the zero value for unix sockets.
func (c *Conn) Local() netip.AddrPort { return c.local }

// Remote is the peer's address, unmapped; the zero value for unix sockets.
func (c *Conn) Remote() netip.AddrPort { return c.remote }

// RxBytes is the number of bytes received so far.
func (c *Conn) RxBytes() uint64 { return c.rx.Load() }

// TxBytes is the number of bytes sent so far.
func (c *Conn) TxBytes() uint64 { return c.tx.Load() }

var _ net.Conn = (*Conn)(nil)
