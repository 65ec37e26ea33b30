package cluster

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// hangup looks for a FIN on a socket, which a peek misses when the peer's TLS close alert waits before it.
type hangup struct {
	raw   syscall.RawConn
	look  func(fd uintptr) // made once, so that a look does not allocate
	found bool
}

func newHangup(c syscall.Conn) (*hangup, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	h := &hangup{raw: raw}
	h.look = func(fd uintptr) {
		fds := [1]unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
		n, err := unix.Poll(fds[:], 0)
		h.found = err == nil && n > 0
	}
	return h, nil
}

// seen tells whether the peer has ended its direction. It does not block; calls must not overlap.
func (h *hangup) seen() bool {
	h.found = true // what holds when the descriptor is gone
	if err := h.raw.Control(h.look); err != nil {
		return true
	}
	return h.found
}
