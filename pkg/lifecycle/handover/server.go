package handover

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Socket is a listening socket that can be passed.
type Socket struct {
	// Key by which the newer process finds it. Never empty.
	Key string
	// Conn gives access to it while it is passed.
	Conn syscall.RawConn
}

// Handler is the older process. Its methods are called by one goroutine, in the order Begin, Statistics if at all, Sockets, then Done or
// Abort.
type Handler interface {
	// Begin gives up what only one process can have. pid is the newer process's.
	Begin(pid int) error
	// Origin is told to the newer process after Begin.
	Origin() Origin
	// Statistics begins to give statistics to the newer process. The rounds are asked for by another goroutine, until that process has
	// ended, be it before Done or long after.
	Statistics() Rounds
	// Sockets lists what is passed. Until Done or Abort the kernel's state is not this process's to change.
	Sockets() []Socket
	// Done tells that the newer process serves. It returns at once; the process ends within the given time.
	Done(shutdown time.Duration)
	// Abort tells that the newer process has failed after Begin.
	Abort()
}

// Server waits for a newer process.
type Server struct {
	ln      *net.UnixListener
	handler Handler
	log     *slog.Logger
	done    sync.WaitGroup

	mu     sync.Mutex
	conn   *net.UnixConn
	giving *giving // to the newest process that asked
	closed bool
}

// Listen waits for newer processes at a name: a path, which gets the mode, or an abstract name after @.
func Listen(name string, mode fs.FileMode, h Handler, log *slog.Logger) (*Server, error) {
	if !strings.HasPrefix(name, "@") {
		// A socket that nobody listens on was left by a process that was killed.
		if conn, err := net.DialUnix("unixpacket", nil, address(name)); err == nil {
			conn.Close()
			return nil, fmt.Errorf("listen for the next weir at %s: %w", name, syscall.EADDRINUSE)
		} else if errors.Is(err, syscall.ECONNREFUSED) {
			_ = os.Remove(name) // what fails here shows in the next line
		}
	}
	ln, err := net.ListenUnix("unixpacket", address(name))
	if err != nil {
		return nil, fmt.Errorf("listen for the next weir at %s: %w", name, err)
	}
	if !strings.HasPrefix(name, "@") && mode != 0 {
		if err := os.Chmod(name, mode); err != nil {
			return nil, errors.Join(fmt.Errorf("listen for the next weir: %w", err), ln.Close())
		}
	}
	s := &Server{ln: ln, handler: h, log: log}
	s.done.Go(s.run)
	return s, nil
}

// Close stops waiting, breaks off a handover that is under way, and returns when the handler is not called any more. It must not
// be called by the handler.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closed = true
	if s.conn != nil {
		s.conn.Close()
	}
	giving := s.giving
	s.mu.Unlock()
	if giving != nil {
		_ = giving.conn.Close() // a round under way must not hold this up
	}
	err := s.ln.Close()
	s.done.Wait()
	if err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("stop listening for the next weir: %w", err)
	}
	return nil
}

// Last gives the newer process what was not given yet of the statistics, since this one ends. It tells whether that one has them: if not,
// they are still this one's to ship.
func (s *Server) Last() bool {
	if s == nil {
		return false
	}
	s.mu.Lock()
	giving := s.giving
	s.mu.Unlock()
	return giving != nil && giving.last()
}

// give starts to give statistics through the channel that came with the request.
func (s *Server) give(file *os.File) error {
	g, err := newGiving(file, s.handler.Statistics())
	if err != nil {
		return err
	}
	s.mu.Lock()
	before := s.giving
	s.giving = g
	if s.closed {
		_ = g.conn.Close() // this process ends
	}
	s.mu.Unlock()
	if before != nil {
		before.close()
	}
	s.done.Go(func() { g.run(s.log) })
	return nil
}

func (s *Server) run() {
	for {
		conn, err := s.ln.AcceptUnix()
		if err != nil {
			return
		}
		s.mu.Lock()
		s.conn = conn
		closed := s.closed
		s.mu.Unlock()
		handedOver := false
		if !closed {
			handedOver = s.serve(conn)
		}
		conn.Close()
		if handedOver {
			return
		}
	}
}

// serve handles one newer process and tells whether it serves now.
func (s *Server) serve(conn *net.UnixConn) bool {
	pid, err := peer(conn)
	if err != nil {
		s.log.Warn("a handover was refused", "error", err)
		_ = send(conn, message{Verb: verbError, Error: err.Error()}, -1) // it is on its way out
		return false
	}
	begun := false
	for {
		m, file, err := receive(conn)
		var handedOver bool
		if err == nil {
			handedOver, err = s.answer(conn, m, file, pid, &begun)
		}
		if file != nil {
			file.Close()
		}
		if handedOver {
			return true
		}
		if err != nil {
			if begun {
				s.log.Warn("the next weir did not get to serve; this one goes on", "pid", pid, "error", err)
				s.handler.Abort()
			}
			return false
		}
	}
}

func (s *Server) answer(conn *net.UnixConn, m message, file *os.File, pid int, begun *bool) (handedOver bool, err error) {
	switch {
	case m.Verb == verbBegin && !*begun:
		*begun = true
		s.log.Info("the next weir is starting", "pid", pid)
		if err := s.handler.Begin(pid); err != nil {
			return false, errors.Join(err, send(conn, message{Verb: verbError, Error: err.Error()}, -1))
		}
		o := s.handler.Origin()
		return false, send(conn, message{Verb: verbOK, Origin: &origin{Format: seriesFormat, Start: o.Start, Generation: o.Generation}}, -1)
	case m.Verb == verbStatistics && *begun:
		if err := s.give(file); err != nil {
			return false, errors.Join(err, send(conn, message{Verb: verbError, Error: err.Error()}, -1))
		}
	case m.Verb == verbSockets && *begun:
		for _, socket := range s.handler.Sockets() {
			if err := pass(conn, socket); err != nil {
				return false, err
			}
		}
	case m.Verb == verbDone && *begun:
		s.log.Info("the next weir serves; this one finishes its connections", "pid", pid, "limit", m.Shutdown)
		// The name is free before the next one is told.
		if err := s.ln.Close(); err != nil {
			s.log.Warn("stop listening for the next weir", "error", err)
		}
		s.handler.Done(m.Shutdown)
		if err := send(conn, message{Verb: verbOK}, -1); err != nil {
			s.log.Warn("the next weir was not told", "error", err)
		}
		return true, nil
	default:
		err := fmt.Errorf("unexpected %q", m.Verb)
		return false, errors.Join(err, send(conn, message{Verb: verbError, Error: err.Error()}, -1))
	}
	return false, send(conn, message{Verb: verbOK}, -1)
}

func pass(conn *net.UnixConn, socket Socket) error {
	var sendErr error
	err := socket.Conn.Control(func(fd uintptr) { sendErr = send(conn, message{Verb: verbSocket, Key: socket.Key}, int(fd)) })
	if err = errors.Join(err, sendErr); err != nil {
		return fmt.Errorf("pass socket %s: %w", socket.Key, err)
	}
	return nil
}
