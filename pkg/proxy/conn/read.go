package conn

import (
	"io"
	"os"
	"slices"
	"syscall"
)

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
	return c.read(p, nil, readBlock)
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
	return c.read(p, nil, readTry)
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
	var probe [1]byte
	_, err := c.read(probe[:], nil, readWait)
	return err
}

// WhenReadable is WaitReadable without a goroutine that waits: resume is called once, on a goroutine of its own, when a
// read will not have to wait, or when a deadline, Abort or Close makes it fail. No read may be under way, nor begin before.
func (c *Conn) WhenReadable(resume func()) {
	if !c.told() || !c.in.rest(c, resume, false) {
		go resume()
	}
}

// Rest is WhenReadable for a resume that neither waits nor panics, which may be called on the poller's goroutine. It is false, and
// resume is not called, when a read need not wait or cannot be told to.
func (c *Conn) Rest(resume func()) bool { return c.told() && c.in.rest(c, resume, true) }

// told tells that there is nothing to read but what the poller will tell of.
func (c *Conn) told() bool {
	c.rmu.Lock()
	defer c.rmu.Unlock()
	// The end of what the peer sends may have been told together with bytes that were read since: that is not told again.
	return c.prefix == nil && c.drained && c.in.news.Load()&newsEnded == 0
}

// Lender lends a read its buffer for as long as it has something to put there.
type Lender interface {
	// Lend returns the buffer to read into, which must not be empty.
	Lend() []byte
	// TakeBack is called when nothing is there yet, before the read waits. Lend will be called again.
	TakeBack()
}

// ReadLent is Read into a buffer that is given back while the read waits, so that an idle connection holds none, and one
// on which bytes wait already is read by one call. When it returns without error, the last buffer is lent still.
func (c *Conn) ReadLent(l Lender) (int, error) {
	c.rmu.Lock()
	defer c.rmu.Unlock()
	if c.prefix != nil {
		return c.readPrefix(l.Lend()), nil
	}
	if c.drained && c.in.quiet() {
		l.TakeBack()
	}
	return c.read(nil, l, readBlock)
}

// HungUp tells, without a system call, whether the peer has ended its direction or the connection failed, even behind
// unread bytes.
func (c *Conn) HungUp() bool { return c.closed.Load() || c.in.news.Load()&newsEnded != 0 }

// read runs one call on the socket, into p or what l lends. The caller holds rmu.
func (c *Conn) read(p []byte, l Lender, mode readMode) (int, error) {
	if err := c.in.refused(c); err != nil {
		return 0, c.failure("read", err)
	}
	flags := syscall.MSG_DONTWAIT
	if mode == readWait {
		if c.in.ready() {
			return 0, nil
		}
		flags |= syscall.MSG_PEEK
	}
	for {
		if c.drained && c.in.quiet() {
			if mode == readTry {
				return 0, ErrWouldBlock
			}
			if err := c.in.wait(c); err != nil {
				return 0, c.failure("read", err)
			}
			if mode == readWait {
				return 0, nil
			}
		}
		if l != nil {
			p = l.Lend()
		}
		mixed := c.mixed()
		c.in.begin()
		n, errno := recvfrom(c.fd, p, flags)
		switch {
		case errno == 0 && mode == readWait:
			c.drained = false
			return 0, nil
		case errno == 0:
			c.drained = c.stream && n < len(p) && c.mixed() == c.seen
			return c.took(n)
		case errno == syscall.EINTR:
		case errno == syscall.EAGAIN:
			c.drained, c.seen = true, mixed
			if l != nil {
				l.TakeBack()
			}
			if c.in.quiet() {
				continue
			}
			// Urgent data has been there: from then on a read parks after a try only.
			if mode == readTry {
				return 0, ErrWouldBlock
			}
			if err := c.in.wait(c); err != nil {
				return 0, c.failure("read", err)
			}
		case mode == readWait: // the read that follows reports it
			c.lost.Store(uintptr(errno))
			c.drained = false
			return 0, nil
		default:
			return 0, c.failure("read", os.NewSyscallError("recvfrom", errno))
		}
	}
}

// took accounts for n bytes that were read.
func (c *Conn) took(n int) (int, error) {
	if n > 0 {
		c.count(n)
		return n, nil
	}
	if errno := syscall.Errno(c.lost.Load()); errno != 0 {
		return 0, c.failure("read", os.NewSyscallError("recvfrom", errno))
	}
	c.over.Store(true)
	return 0, io.EOF
}

// Prepend gives back bytes that were read ahead: reads hand them out before anything else, those that were given back
// earlier included. free, which may be nil, is called once when p is not needed any more: when its bytes are used up, or
// copied, or the connection is closed. It must not be called while a read is under way.
func (c *Conn) Prepend(p []byte, free func()) {
	c.rmu.Lock()
	defer c.rmu.Unlock()
	if c.prefix != nil { // a listener filter read further than the one who gives back now
		joined := slices.Concat(p, c.prefix)
		c.dropPrefix()
		if free != nil {
			free()
		}
		p, free = joined, nil
	}
	c.prefix, c.free = p, free
	if len(p) == 0 {
		c.dropPrefix()
	}
}

func (c *Conn) readPrefix(p []byte) int {
	n := copy(p, c.prefix)
	c.usePrefix(n)
	return n
}

func (c *Conn) usePrefix(n int) {
	if c.prefix = c.prefix[n:]; len(c.prefix) == 0 {
		c.dropPrefix()
	}
}

func (c *Conn) dropPrefix() {
	c.prefix = nil
	if c.free != nil {
		c.free()
		c.free = nil
	}
}
