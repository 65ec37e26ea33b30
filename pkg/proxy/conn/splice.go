package conn

import (
	"io"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// SpliceSize bounds what one Splice moves, and is what the pipe between the sockets holds.
const SpliceSize = 256 << 10

// maxPipes is how many unused pipes a poller keeps.
const maxPipes = 64

// pipes keeps unused pipes, which are empty.
type pipes struct {
	mu     sync.Mutex
	free   []pipe
	closed bool
}

// pipe is the kernel's buffer that splice(2) needs between two sockets.
type pipe struct{ r, w int }

func (p *pipes) get() (pipe, error) {
	p.mu.Lock()
	if n := len(p.free); n > 0 {
		v := p.free[n-1]
		p.free = p.free[:n-1]
		p.mu.Unlock()
		return v, nil
	}
	p.mu.Unlock()
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return pipe{}, os.NewSyscallError("pipe2", err)
	}
	// Beyond the user's share of pipe memory the system's default size stays, which works too.
	_, _ = unix.FcntlInt(uintptr(fds[0]), unix.F_SETPIPE_SZ, SpliceSize)
	return pipe{fds[0], fds[1]}, nil
}

// put takes a pipe back; one that is not empty is closed.
func (p *pipes) put(v pipe, empty bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if empty && !p.closed && len(p.free) < maxPipes {
		p.free = append(p.free, v)
		return
	}
	v.close()
}

func (p *pipes) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for _, v := range p.free {
		v.close()
	}
	p.free = nil
}

func (v pipe) close() {
	_ = unix.Close(v.r) // nobody else has the descriptors
	_ = unix.Close(v.w)
}

// Splice moves bytes that src has received to c without copying them through memory of the process: what is there, at
// most maxBytes and SpliceSize. It waits for something to move and for room, as Read and Write do. It returns how many bytes
// left src and how many of them c took, which are fewer only with a writeErr. readErr is io.EOF at the end of src. Nothing moves,
// without an error, when src is not Spliceable.
func (c *Conn) Splice(src *Conn, maxBytes int64) (read, written int, readErr, writeErr error) {
	src.rmu.Lock()
	defer src.rmu.Unlock()
	if src.prefix != nil {
		part := src.prefix[:min(int64(len(src.prefix)), maxBytes)]
		written, writeErr = c.Write(part)
		src.usePrefix(written)
		return written, written, nil, writeErr
	}
	c.wmu.Lock()
	defer c.wmu.Unlock()
	p, err := c.poller.pipes.get()
	if err != nil {
		return 0, 0, err, nil
	}
	left := 0
	defer func() { c.poller.pipes.put(p, left == 0) }()
	if left, readErr = src.fill(p, int(min(maxBytes, SpliceSize))); readErr != nil {
		return 0, 0, readErr, nil
	}
	read = left
	if left, err = c.drain(p, left); err != nil {
		writeErr = c.failure("write", err)
	}
	written = read - left
	c.tx.Add(uint64(written))
	return read, written, nil, writeErr
}

// fill moves what was received into the pipe, at least a byte unless the connection is no longer Spliceable. The caller holds rmu.
func (c *Conn) fill(p pipe, limit int) (int, error) {
	if err := c.in.refused(c); err != nil {
		return 0, c.failure("read", err)
	}
	for {
		if c.drained && c.in.quiet() {
			if err := c.in.wait(c); err != nil {
				return 0, c.failure("read", err)
			}
		}
		c.in.begin()
		n, err, ok := c.splice(p, limit)
		switch {
		case !ok:
			c.drained = false
			return 0, nil
		case err == syscall.EINTR:
		case err == syscall.EAGAIN:
			c.drained = true
			if !c.in.quiet() {
				if err := c.in.wait(c); err != nil {
					return 0, c.failure("read", err)
				}
			}
		case err != nil:
			return 0, c.failure("read", os.NewSyscallError("splice", err))
		case n == 0:
			c.drained = false
			return 0, io.EOF
		default:
			c.drained = false // pipes are full before the socket is empty
			c.count(int(n))
			return int(n), nil
		}
	}
}

// drain moves n bytes out of the pipe and returns how many it could not. The caller holds wmu.
func (c *Conn) drain(p pipe, n int) (left int, err error) {
	if err := c.out.refused(c); err != nil {
		return n, err
	}
	full := false
	for n > 0 {
		m, err := unix.Splice(p.r, nil, c.fd, nil, n, unix.SPLICE_F_MOVE|unix.SPLICE_F_NONBLOCK)
		switch {
		case err == nil:
			n -= int(m)
			full = false
		case err == syscall.EINTR:
		case err == syscall.EAGAIN && !full:
			full = true
			if err := c.full(); err != nil {
				return n, err
			}
		case err == syscall.EAGAIN:
			if err := c.out.wait(c); err != nil {
				return n, err
			}
			c.out.begin()
		default:
			return n, os.NewSyscallError("splice", err)
		}
	}
	return 0, nil
}
