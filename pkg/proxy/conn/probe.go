package conn

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// PeerClosed looks, without waiting, whether the peer has reset the connection, or closed it and everything that it sent
// before was read. It takes no bytes and may be called beside a read.
func (c *Conn) PeerClosed() bool {
	if c.over.Load() {
		return true
	}
	c.pmu.Lock()
	defer c.pmu.Unlock()
	if c.closed.Load() {
		return true
	}
	var buf [1]byte
	n, errno := recvfrom(c.fd, buf[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	switch {
	case errno == syscall.EAGAIN || errno == syscall.EINTR:
		return false
	case errno != 0:
		c.lost.Store(uintptr(errno))
		return true
	case n == 0:
		return true
	}
	return hungUp(c.fd) // bytes are waiting, which hides a reset behind them
}

// hungUp tells of a reset or an error on the socket, with bytes still to read or not.
func hungUp(fd int) bool {
	fds := [1]unix.PollFd{{Fd: int32(fd)}}
	n, err := unix.Poll(fds[:], 0)
	return err == nil && n > 0 && fds[0].Revents&(unix.POLLERR|unix.POLLHUP) != 0
}
