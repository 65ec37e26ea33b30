package conn

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// PeerClosed looks, without waiting, whether the peer has reset the connection, or closed it and everything that it sent
// before was read. It takes no bytes and may be called beside a read.
func (c *Conn) PeerClosed() bool {
	c.pmu.Lock()
	defer c.pmu.Unlock()
	c.probe.closed = true // what holds when the descriptor is gone
	if err := c.raw.Control(c.probe.look); err != nil {
		return true
	}
	return c.probe.closed
}

func (c *Conn) look(fd uintptr) {
	var buf [1]byte
	n, errno := recvfrom(fd, buf[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	switch {
	case errno == syscall.EAGAIN || errno == syscall.EINTR:
		c.probe.closed = false
	case errno != 0:
		c.lost.Store(uintptr(errno))
		c.probe.closed = true
	case n == 0:
		c.probe.closed = true
	default: // bytes are waiting, which hides a reset behind them
		c.probe.closed = hungUp(fd)
	}
}

// hungUp tells of a reset or an error on the socket, with bytes still to read or not.
func hungUp(fd uintptr) bool {
	fds := [1]unix.PollFd{{Fd: int32(fd)}}
	n, err := unix.Poll(fds[:], 0)
	return err == nil && n > 0 && fds[0].Revents&(unix.POLLERR|unix.POLLHUP) != 0
}
