package conn

import (
	"os"
	"syscall"
	"time"
)

// Write implements net.Conn.
func (c *Conn) Write(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	c.wmu.Lock()
	defer c.wmu.Unlock()
	n, err := c.write(p)
	c.tx.Add(uint64(n))
	if err != nil {
		return n, c.failure("write", err)
	}
	return n, nil
}

// TryWrite is Write of what there is room for, which may be less than p.
func (c *Conn) TryWrite(p []byte) (int, error) {
	c.wmu.Lock()
	defer c.wmu.Unlock()
	if err := c.out.refused(c); err != nil {
		return 0, c.failure("write", err)
	}
	for sent := 0; ; {
		if sent == len(p) {
			return sent, nil
		}
		n, errno := sendto(c.fd, p[sent:], syscall.MSG_DONTWAIT|syscall.MSG_NOSIGNAL)
		switch errno {
		case 0:
			sent += n
			c.tx.Add(uint64(n))
			c.tried()
		case syscall.EINTR:
		case syscall.EAGAIN:
			return sent, nil
		default:
			return sent, c.failure("write", os.NewSyscallError("sendto", errno))
		}
	}
}

// write sends all of p, parking while there is no room. The caller holds wmu.
func (c *Conn) write(p []byte) (sent int, err error) {
	if err := c.out.refused(c); err != nil {
		return 0, err
	}
	full := false // the last try found no room, and the next one will tell from when on there is news
	for sent < len(p) {
		n, errno := sendto(c.fd, p[sent:], syscall.MSG_DONTWAIT|syscall.MSG_NOSIGNAL)
		switch {
		case errno == 0:
			sent += n
			full = false
			c.tried()
		case errno == syscall.EINTR:
		case errno == syscall.EAGAIN && !full:
			full = true
			if err := c.full(); err != nil {
				return sent, err
			}
		case errno == syscall.EAGAIN:
			if err := c.out.wait(c); err != nil {
				return sent, err
			}
			c.out.begin()
		default:
			return sent, os.NewSyscallError("sendto", errno)
		}
	}
	return sent, nil
}

// full forgets that there was room to write, and has the poller tell when there is again. The caller holds wmu and tries once more
// before it waits.
func (c *Conn) full() error {
	c.out.begin()
	if c.room {
		return nil
	}
	c.room = true
	return c.poller.update(c)
}

// longPast is a deadline that is always over.
const longPast = 1

// SetDeadline implements net.Conn. After Abort it has no effect.
func (c *Conn) SetDeadline(t time.Time) error { return c.setDeadline(t, &c.in, &c.out) }

// SetReadDeadline implements net.Conn. After Abort it has no effect.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.setDeadline(t, &c.in) }

// SetWriteDeadline implements net.Conn. After Abort it has no effect.
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.setDeadline(t, &c.out) }

func (c *Conn) setDeadline(t time.Time, which ...*waiter) error {
	at := int64(0)
	if !t.IsZero() {
		at = max(longPast, c.poller.now()+int64(time.Until(t)))
	}
	if !c.limit(at, which...) {
		return c.failure("set deadline", os.ErrClosed)
	}
	return nil
}

// limit sets deadlines; it tells whether the connection is open. Once the connection was aborted or closed, deadlines
// stay over.
func (c *Conn) limit(at int64, which ...*waiter) bool {
	c.dmu.Lock()
	defer c.dmu.Unlock()
	closed := c.closed.Load()
	if closed || c.aborted.Load() {
		at = longPast
	}
	for _, w := range which {
		w.limit(at, c)
	}
	return !closed
}
