package conn

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Poller tells connections when their sockets become readable or writable. It is an epoll instance of our own, itself
// waited for by Go's poller: one goroutine takes all events that are there with one system call and wakes up the
// goroutines that wait for them, or does by itself what they would do (Conn.Rest): waking one up has a thread woken up for it. Against Go's poller alone that lets a connection remember an edge between two reads, so
// that a read of a drained socket parks without a recvfrom that could only say EAGAIN, and it tells of a peer's FIN.
//
// A Poller is safe for concurrent use. It must be closed after its connections.
type Poller struct {
	file  *os.File
	fd    int
	start time.Time
	pipes pipes
	// accelerator is nil without acceleration.
	accelerator atomic.Pointer[acceleration]
	done        sync.WaitGroup

	mu     sync.Mutex
	conns  []*Conn // by descriptor; nil where there is none
	last   int32   // generation that was given out last
	closed bool
}

// pollBatch is how many events one system call takes.
const pollBatch = 128

// interest is what every socket is registered for: what comes in, the peer's FIN, and urgent data. A socket is registered for
// room to write only when there was none (Conn.full): nearly all sockets have room whenever they are written to, and news of it
// at the beginning of each would wake up the poller for nothing.
const interest = unix.EPOLLIN | unix.EPOLLRDHUP | unix.EPOLLPRI | unix.EPOLLET

// NewPoller starts a poller.
func NewPoller() (*Poller, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("create epoll instance: %w", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil { // else package os would not hand it to Go's poller
		_ = unix.Close(fd)
		return nil, fmt.Errorf("set up epoll instance: %w", err)
	}
	p := &Poller{file: os.NewFile(uintptr(fd), "epoll"), fd: fd, start: time.Now()}
	raw, err := p.file.SyscallConn()
	if err != nil {
		_ = p.file.Close()
		return nil, fmt.Errorf("set up epoll instance: %w", err)
	}
	p.done.Go(func() { p.run(raw) })
	return p, nil
}

// now is the clock of deadlines: nanoseconds, never 0.
func (p *Poller) now() int64 { return int64(time.Since(p.start)) + 1 }

// run dispatches events until the poller is closed. One call of Read lasts as long as the poller: within it, Go's poller
// remembers edges that come while events are dispatched.
func (p *Poller) run(raw syscall.RawConn) {
	events, due := make([]unix.EpollEvent, pollBatch), make([]func(), 0, pollBatch)
	// The error says that the poller was closed.
	_ = raw.Read(func(uintptr) bool {
		for {
			n, err := epollTake(p.fd, events)
			if err != nil && err != unix.EINTR {
				return true
			}
			resume(p.dispatch(events[:n], due))
			if n < len(events) {
				return false
			}
		}
	})
}

// promptly is how many connections of a batch the poller's goroutine resumes by itself. When more have something to do, the other
// processors are to have their part of it.
const promptly = 2

// resume calls the functions, after it has given away those that are not for the poller's goroutine.
func resume(due []func()) {
	own := due
	if len(due) > promptly {
		own = due[len(due)-promptly:]
		for _, f := range due[:len(due)-promptly] {
			go f()
		}
	}
	for _, f := range own {
		f()
	}
	clear(due)
}

// dispatch tells connections of events. It appends to due who is to be resumed.
func (p *Poller) dispatch(events []unix.EpollEvent, due []func()) []func() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range events {
		e := &events[i]
		if int(e.Fd) >= len(p.conns) {
			continue
		}
		// An event of a descriptor that was closed, and perhaps opened again, meanwhile is nobody's.
		if c := p.conns[e.Fd]; c != nil && c.generation == e.Pad {
			if f := c.event(e.Events); f != nil {
				due = append(due, f)
			}
		}
	}
	return due
}

// add registers a connection.
func (p *Poller) add(c *Conn) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return os.ErrClosed
	}
	p.last++
	c.generation = p.last
	for c.fd >= len(p.conns) {
		p.conns = append(p.conns, make([]*Conn, max(64, len(p.conns)))...)
	}
	p.conns[c.fd] = c
	if errno := p.control(unix.EPOLL_CTL_ADD, c); errno != 0 {
		p.conns[c.fd] = nil
		return os.NewSyscallError("epoll_ctl", errno)
	}
	return nil
}

// update registers a connection for what it wants to be told of now. What is the case already is told once more.
func (p *Poller) update(c *Conn) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return os.ErrClosed
	}
	return failure("epoll_ctl", p.control(unix.EPOLL_CTL_MOD, c))
}

// control is epoll_ctl(2). The caller holds mu.
func (p *Poller) control(op int, c *Conn) syscall.Errno {
	events := uint32(interest)
	if c.room {
		events |= unix.EPOLLOUT
	}
	return epollCtl(p.fd, op, c.fd, &unix.EpollEvent{Events: events, Fd: int32(c.fd), Pad: c.generation})
}

// remove forgets a connection whose descriptor is about to be closed, which takes it out of the epoll instance: the socket has no
// other descriptor, and if it had, its events would be nobody's.
func (p *Poller) remove(c *Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.conns[c.fd] == c {
		p.conns[c.fd] = nil
	}
}

// Close ends the poller. Connections that are still open fail.
func (p *Poller) Close() error {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil
	}
	p.closed = true
	var open []*Conn
	for _, c := range p.conns {
		if c != nil {
			open = append(open, c)
		}
	}
	p.mu.Unlock()
	for _, c := range open {
		c.Abort()
	}
	err := p.file.Close()
	p.done.Wait()
	p.pipes.close()
	if errors.Is(err, os.ErrClosed) {
		return nil
	}
	return err
}
