// Package conn is the socket as the proxy uses it: TCP and unix stream sockets whose reads and writes go straight to
// recvfrom and sendto, without a deadline, a timer or an allocation per call.
//
// It owns the life of one file descriptor (through package net, whose poller parks the goroutine), the byte counts of
// the wire, and dialling with weir's mark. It must not know listeners, protocols or configuration beyond keep-alive
// options.
//
// A read tries the socket first and parks on EAGAIN. Parking without trying, on the ground that the last read came back
// short, would save that system call (0.3 us here), but is not sound on Go's edge-triggered poller: an edge that arrives
// between two calls of RawConn.Read is forgotten when the second begins, and a FIN that arrived together with the last
// bytes makes no edge of its own.
//
// Locking: reads are serialised among themselves, and so are writes; Abort, Close, Reset and PeerClosed may be called
// from any goroutine at any time.
package conn

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// ErrAborted is returned by reads and writes after Abort.
var ErrAborted = errors.New("connection aborted")

// ErrWouldBlock is returned by TryRead when nothing is there.
var ErrWouldBlock = errors.New("read would block")

// socket is what *net.TCPConn and *net.UnixConn have in common.
type socket interface {
	net.Conn
	syscall.Conn
	CloseWrite() error
}

// Conn is a connected stream socket. Make it with New. It implements net.Conn; deadlines work, but are meant for set-up
// phases (listener filters, TLS handshakes), not for use per request.
type Conn struct {
	nc            socket
	raw           syscall.RawConn
	rx, tx        *atomic.Uint64
	ownRx, ownTx  atomic.Uint64
	local, remote netip.AddrPort
	aborted       atomic.Bool
	// lost is the error that a look at the socket took off it (the kernel tells each one once); it is reported in place
	// of the end of file that follows.
	lost atomic.Uintptr

	rmu    sync.Mutex // guards the read state; held while a read is parked
	rd     readState
	prefix []byte // bytes that were read ahead and are handed out first
	free   func() // gives the prefix's buffer back

	wmu sync.Mutex // guards the write state; held while a write is parked
	wr  writeState

	pmu   sync.Mutex // guards probe
	probe probeState
}

// The states of the calls under way; onReady is the function given to RawConn, made once.
type readState struct {
	buf     []byte
	n       int
	err     error
	lender  Lender // gives buf for each attempt, when set
	mode    readMode
	waited  bool
	onReady func(fd uintptr) bool
}

type writeState struct {
	buf     []byte
	n       int
	err     error
	onReady func(fd uintptr) bool
}

type probeState struct {
	closed bool
	look   func(fd uintptr)
}

// readMode says what a read does with the socket.
type readMode uint8

const (
	readBlock readMode = iota // wait until there is something and take it
	readTry                   // take what is there
	readWait                  // wait until there is something and leave it
)

// New wraps a *net.TCPConn or *net.UnixConn (or what has their methods), which it owns from then on. Wire bytes are
// counted into rx and tx; nil counts for RxBytes and TxBytes alone.
func New(nc net.Conn, rx, tx *atomic.Uint64) (*Conn, error) {
	s, ok := nc.(socket)
	if !ok {
		return nil, fmt.Errorf("wrap connection: %T is not a stream socket", nc)
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("wrap connection: %w", err)
	}
	c := &Conn{nc: s, raw: raw, rx: rx, tx: tx, local: AddrPort(nc.LocalAddr()), remote: AddrPort(nc.RemoteAddr())}
	if c.rx == nil {
		c.rx = &c.ownRx
	}
	if c.tx == nil {
		c.tx = &c.ownTx
	}
	c.rd.onReady, c.wr.onReady, c.probe.look = c.recv, c.send, c.look
	return c, nil
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

// Read implements net.Conn.
func (c *Conn) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	c.rmu.Lock()
	defer c.rmu.Unlock()
	if c.prefix != nil {
		return c.readPrefix(p), nil
	}
	return c.read(p, readBlock)
}

// TryRead is Read that returns ErrWouldBlock instead of waiting. After WaitReadable it is the way to read with a buffer
// that was taken only then: a wake-up can be spurious.
func (c *Conn) TryRead(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	c.rmu.Lock()
	defer c.rmu.Unlock()
	if c.prefix != nil {
		return c.readPrefix(p), nil
	}
	return c.read(p, readTry)
}

// WaitReadable parks until a read will (in all likelihood) not have to wait: bytes are there, the peer closed, or the
// connection failed. It needs no buffer, so that an idle connection holds none. An error means that the connection was
// closed or aborted on our side.
func (c *Conn) WaitReadable() error {
	c.rmu.Lock()
	defer c.rmu.Unlock()
	if c.prefix != nil {
		return nil
	}
	_, err := c.read(nil, readWait)
	return err
}

// Lender lends a read its buffer for as long as it has something to put there.
type Lender interface {
	// Lend returns the buffer to read into, which must not be empty.
	Lend() []byte
	// TakeBack is called when nothing is there yet, before the read waits. Lend will be called again.
	TakeBack()
}

// ReadLent is Read into a buffer that is given back while the read waits, so that an idle connection holds none, and one
// on which bytes wait already is read by one call. When it returns, the last buffer is lent still.
func (c *Conn) ReadLent(l Lender) (int, error) {
	c.rmu.Lock()
	defer c.rmu.Unlock()
	if c.prefix != nil {
		return c.readPrefix(l.Lend()), nil
	}
	c.rd.lender = l
	n, err := c.read(nil, readBlock)
	c.rd.lender = nil
	return n, err
}

// read runs one call on the socket. The caller holds rmu.
func (c *Conn) read(p []byte, mode readMode) (int, error) {
	rd := &c.rd
	rd.buf, rd.n, rd.err, rd.mode, rd.waited = p, 0, nil, mode, false
	err := c.raw.Read(rd.onReady)
	rd.buf = nil
	switch {
	case err != nil:
		return 0, c.failure("read", err)
	case rd.err == ErrWouldBlock:
		return 0, ErrWouldBlock
	case rd.err != nil:
		return 0, c.failure("read", os.NewSyscallError("recvfrom", rd.err))
	case mode == readWait:
		return 0, nil
	case rd.n == 0:
		if errno := syscall.Errno(c.lost.Load()); errno != 0 {
			return 0, c.failure("read", os.NewSyscallError("recvfrom", errno))
		}
		return 0, io.EOF
	}
	c.rx.Add(uint64(rd.n))
	return rd.n, nil
}

// recv is called by the poller's side of RawConn.Read; false parks until the next edge.
func (c *Conn) recv(fd uintptr) bool {
	rd := &c.rd
	flags := syscall.MSG_DONTWAIT
	var probe [1]byte
	buf := rd.buf
	if rd.mode == readWait {
		if rd.waited {
			return true
		}
		flags |= syscall.MSG_PEEK
		buf = probe[:]
	}
	if rd.lender != nil {
		buf = rd.lender.Lend()
	}
	for {
		n, errno := recvfrom(fd, buf, flags)
		switch {
		case errno == 0:
			rd.n = n
			return true
		case errno == syscall.EINTR:
			continue
		case errno == syscall.EAGAIN && rd.mode == readTry:
			rd.err = ErrWouldBlock
			return true
		case errno == syscall.EAGAIN:
			rd.waited = true
			if rd.lender != nil {
				rd.lender.TakeBack()
			}
			return false
		case rd.mode == readWait: // the read that follows reports it
			c.lost.Store(uintptr(errno))
			return true
		default:
			rd.err = errno
			return true
		}
	}
}

// Prepend gives back bytes that were read ahead: reads hand them out before anything else. free, which may be nil, is
// called once when they are used up or the connection is closed. It must not be called while a read is under way, nor
// twice before the bytes were read.
func (c *Conn) Prepend(p []byte, free func()) {
	c.rmu.Lock()
	defer c.rmu.Unlock()
	c.prefix, c.free = p, free
	if len(p) == 0 {
		c.dropPrefix()
	}
}

func (c *Conn) readPrefix(p []byte) int {
	n := copy(p, c.prefix)
	if c.prefix = c.prefix[n:]; len(c.prefix) == 0 {
		c.dropPrefix()
	}
	return n
}

func (c *Conn) dropPrefix() {
	c.prefix = nil
	if c.free != nil {
		c.free()
		c.free = nil
	}
}

// Write implements net.Conn.
func (c *Conn) Write(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	c.wmu.Lock()
	defer c.wmu.Unlock()
	wr := &c.wr
	wr.buf, wr.n, wr.err = p, 0, nil
	err := c.raw.Write(wr.onReady)
	wr.buf = nil
	c.tx.Add(uint64(wr.n))
	switch {
	case err != nil:
		return wr.n, c.failure("write", err)
	case wr.err != nil:
		return wr.n, c.failure("write", os.NewSyscallError("sendto", wr.err))
	}
	return wr.n, nil
}

// send is called by the poller's side of RawConn.Write; false parks until there is room.
func (c *Conn) send(fd uintptr) bool {
	wr := &c.wr
	for wr.n < len(wr.buf) {
		n, errno := sendto(fd, wr.buf[wr.n:], syscall.MSG_DONTWAIT|syscall.MSG_NOSIGNAL)
		switch errno {
		case 0:
			wr.n += n
		case syscall.EINTR:
		case syscall.EAGAIN:
			return false
		default:
			wr.err = errno
			return true
		}
	}
	return true
}

// failure gives an error the form that package net gives it.
func (c *Conn) failure(op string, err error) error {
	if c.aborted.Load() {
		return ErrAborted
	}
	if e, ok := errors.AsType[*net.OpError](err); ok {
		err = e.Err
	}
	return &net.OpError{Op: op, Net: c.nc.LocalAddr().Network(), Source: c.nc.LocalAddr(), Addr: c.nc.RemoteAddr(), Err: err}
}

// Close implements net.Conn.
func (c *Conn) Close() error {
	err := c.nc.Close()
	c.rmu.Lock() // a parked read has been woken up by the close
	c.dropPrefix()
	c.rmu.Unlock()
	return err
}

// CloseWrite sends a FIN and leaves the other direction open.
func (c *Conn) CloseWrite() error { return c.nc.CloseWrite() }

// Abort makes reads and writes, present and future, return ErrAborted at once. The connection still has to be closed.
func (c *Conn) Abort() {
	c.aborted.Store(true)
	// An error means that it is closed, which is as good.
	_ = c.nc.SetDeadline(past())
}

// Aborted tells whether Abort was called.
func (c *Conn) Aborted() bool { return c.aborted.Load() }

// Reset closes so that the peer sees a TCP reset (SO_LINGER 0). A unix socket, which has no resets, is just closed.
func (c *Conn) Reset() {
	if t, ok := c.nc.(*net.TCPConn); ok {
		_ = t.SetLinger(0)
	}
	_ = c.Close()
}

// SetDeadline implements net.Conn. After Abort it has no effect.
func (c *Conn) SetDeadline(t time.Time) error { return c.deadline(c.nc.SetDeadline, t) }

// SetReadDeadline implements net.Conn. After Abort it has no effect.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.deadline(c.nc.SetReadDeadline, t) }

// SetWriteDeadline implements net.Conn. After Abort it has no effect.
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.deadline(c.nc.SetWriteDeadline, t) }

func (c *Conn) deadline(set func(time.Time) error, t time.Time) error {
	err := set(t)
	if c.aborted.Load() { // whichever comes last, the abort wins
		_ = c.nc.SetDeadline(past())
	}
	return err
}

func past() time.Time { return time.Unix(1, 0) }

// LocalAddr implements net.Conn.
func (c *Conn) LocalAddr() net.Addr { return c.nc.LocalAddr() }

// RemoteAddr implements net.Conn.
func (c *Conn) RemoteAddr() net.Addr { return c.nc.RemoteAddr() }

// Local is the socket's own address, unmapped; the zero value for unix sockets.
func (c *Conn) Local() netip.AddrPort { return c.local }

// Remote is the peer's address, unmapped; the zero value for unix sockets.
func (c *Conn) Remote() netip.AddrPort { return c.remote }

// RxBytes is the number of bytes received so far.
func (c *Conn) RxBytes() uint64 { return c.rx.Load() }

// TxBytes is the number of bytes sent so far.
func (c *Conn) TxBytes() uint64 { return c.tx.Load() }

// SyscallConn implements syscall.Conn.
func (c *Conn) SyscallConn() (syscall.RawConn, error) { return c.raw, nil }
