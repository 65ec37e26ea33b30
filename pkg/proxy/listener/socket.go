package listener

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/conn"
	"github.com/weir-proxy/weir/pkg/proxy/streaminfo"
)

// socket is a listening socket with its accept loop. It outlives the listener's version that opened it when the next
// one has the same address.
type socket struct {
	key    string
	pipe   string // the path of unix sockets
	ln     net.Listener
	in     *conn.Acceptor         // accepts from ln; nil for unix sockets
	bound  netip.AddrPort         // the zero value for unix sockets
	target atomic.Pointer[active] // who gets the connections; nil for capture sockets
	within *streaminfo.Namespace  // of capture sockets; nil for weir's own
	stop   chan struct{}          // closed by shut
	// options are the socket_options that it has.
	options []model.SocketOption
}

// spec is a socket that a listener wants.
type spec struct {
	key  string
	addr netip.AddrPort
	pipe string
	// share the port with other sockets of ours.
	share bool
	// options are the socket_options of this address.
	options []model.SocketOption
	// inherited is the socket that another process had open, nil for none.
	inherited net.Listener
}

// specs are the sockets of a listener; none when it does not bind. One socket serves all processors, so reuse_port needs
// nothing: SO_REUSEPORT would only hide that another process has the address. Only binding.share sets it.
func specs(l *model.Listener) []spec {
	if !l.BindToPort {
		return nil
	}
	if l.Pipe != "" {
		return []spec{{key: fmt.Sprintf("unix:%s|%t", l.Pipe, l.PipeMode == 0), pipe: l.Pipe, options: l.OptionsAt(0)}}
	}
	// All others can be changed while the socket is open, and for socket_options another one is opened beside it.
	options := fmt.Sprintf("|%t", l.IPv4Compat)
	var out []spec
	for i, a := range addresses(l) {
		key := a.String() + options
		if a.Port() == 0 { // each its own
			key = fmt.Sprintf("%s#%s#%d", key, l.Name, i)
		}
		out = append(out, spec{key: key, addr: a, options: l.OptionsAt(i)})
	}
	return out
}

// open binds and listens, without accepting yet.
func open(ctx context.Context, l *model.Listener, s spec) (*socket, error) {
	lc := net.ListenConfig{KeepAlive: -1}
	lc.SetMultipathTCP(false) // has no sockmap, no reset and other options
	lc.Control = func(_, _ string, raw syscall.RawConn) error { return control(raw, l, s) }
	if s.inherited != nil {
		return adopt(l, s)
	}
	network, address := "tcp4", s.addr.String()
	switch {
	case s.pipe != "":
		network, address = "unix", s.pipe
		if !strings.HasPrefix(address, "@") {
			if err := os.Remove(address); err != nil && !errors.Is(err, os.ErrNotExist) {
				return nil, fmt.Errorf("bind %s: remove what is there: %w", address, err)
			}
		}
	case s.addr.Addr().Is6() && l.IPv4Compat:
		network = "tcp"
	case s.addr.Addr().Is6():
		network = "tcp6"
	}
	ln, err := lc.Listen(ctx, network, address)
	if err != nil {
		return nil, fmt.Errorf("bind %s: %w", address, conn.ListenError(err))
	}
	sock, err := newSocket(s, ln)
	if err != nil {
		return nil, err
	}
	if err := sock.finish(l, s); err != nil {
		sock.shut()
		return nil, err
	}
	return sock, nil
}

// newSocket makes a socket of a listener, which it closes on errors.
func newSocket(sp spec, ln net.Listener) (*socket, error) {
	s := &socket{key: sp.key, pipe: sp.pipe, ln: ln, bound: conn.AddrPort(ln.Addr()), stop: make(chan struct{}), options: sp.options}
	if tcp, ok := ln.(*net.TCPListener); ok {
		var err error
		if s.in, err = conn.NewAcceptor(tcp); err != nil {
			_ = ln.Close()
			return nil, err
		}
	}
	return s, nil
}

// finish sets what can only be set on a listening socket.
func (s *socket) finish(l *model.Listener, sp spec) error {
	if sp.pipe != "" && l.PipeMode != 0 && !strings.HasPrefix(sp.pipe, "@") {
		if err := os.Chmod(sp.pipe, os.FileMode(l.PipeMode)); err != nil {
			return fmt.Errorf("set mode of %s: %w", sp.pipe, err)
		}
	}
	if l.TCPBacklog != 0 {
		if err := s.listen(l.TCPBacklog); err != nil {
			return err
		}
	}
	switch {
	case len(sp.options) == 0:
		return nil
	case sp.inherited != nil:
		return s.option("socket_options", func(fd int) error { return conn.SetMissingOptions(fd, sp.options) })
	}
	return s.option("socket_options", func(fd int) error { return conn.SetOptions(fd, sp.options, true) })
}

// maxBacklog is more than any system allows: the kernel takes net.core.somaxconn then, as Go's own listen does.
const maxBacklog = 1 << 30

// listen changes the backlog of the open socket.
func (s *socket) listen(backlog int) error {
	return s.option("backlog", func(fd int) error { return unix.Listen(fd, backlog) })
}

// option sets an option of the open socket.
func (s *socket) option(what string, set func(fd int) error) error {
	raw, err := s.ln.(syscall.Conn).SyscallConn()
	if err == nil {
		var setErr error
		err = raw.Control(func(fd uintptr) { setErr = set(int(fd)) })
		err = errors.Join(err, setErr)
	}
	if err != nil {
		return fmt.Errorf("set %s of %s: %w", what, s.address(), err)
	}
	return nil
}

// adapt brings the options of the open socket to what the listener's next version wants.
func (s *socket) adapt(l *model.Listener, sp spec) error {
	was := s.target.Load().cfg
	if l.TCPBacklog == 0 && was.TCPBacklog != 0 {
		if err := s.listen(maxBacklog); err != nil {
			return err
		}
	}
	if sp.pipe == "" && l.Transparent != was.Transparent {
		if err := s.transparent(l.Transparent); err != nil {
			return err
		}
	}
	return s.finish(l, sp)
}

// control sets the options that must be there before bind.
func control(raw syscall.RawConn, l *model.Listener, sp spec) error {
	if !l.Transparent && !l.Freebind && !sp.share && len(sp.options) == 0 {
		return nil
	}
	level, transparent, freebind := unix.SOL_IP, unix.IP_TRANSPARENT, unix.IP_FREEBIND
	if sp.addr.Addr().Is6() {
		level, transparent, freebind = unix.SOL_IPV6, unix.IPV6_TRANSPARENT, unix.IPV6_FREEBIND
	}
	var optErr error
	err := raw.Control(func(fd uintptr) {
		if l.Transparent {
			optErr = unix.SetsockoptInt(int(fd), level, transparent, 1)
		}
		if l.Freebind && optErr == nil {
			optErr = unix.SetsockoptInt(int(fd), level, freebind, 1)
		}
		if sp.share && optErr == nil {
			optErr = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
		}
		if optErr == nil {
			optErr = conn.SetOptions(int(fd), sp.options, false)
		}
	})
	if err != nil {
		return err
	}
	return optErr
}

func (s *socket) address() string {
	if s.bound.IsValid() {
		return s.bound.String()
	}
	return s.ln.Addr().String()
}

// shut closes the socket, which ends its accept loop.
func (s *socket) shut() {
	select {
	case <-s.stop:
	default:
		close(s.stop)
		_ = s.ln.Close()
		if s.in != nil {
			_ = s.in.Close()
		}
	}
}

// next waits for a connection.
func (s *socket) next() (conn.Accepted, error) {
	if s.in != nil {
		return s.in.Accept()
	}
	nc, err := s.ln.Accept()
	return conn.AcceptedBy(nc), err
}

// Back-off after an accept that failed for want of descriptors or memory.
const (
	minBackoff = 5 * time.Millisecond
	maxBackoff = time.Second
)

// accept is the accept loop of a socket. Its goroutine serves the connections until one is going to wait; then that has the goroutine
// and another one accepts. A connection that never waits costs no change of goroutines, for which a thread would be woken up.
func (m *Manager) accept(s *socket) {
	backoff := time.Duration(0)
	for t := m.newTurn(s); !t.over.Load(); {
		accepted, err := s.next()
		if err == nil {
			backoff = 0
			m.arrived(s, accepted, t.keeps(accepted))
			continue
		}
		select {
		case <-s.stop:
			return
		default:
		}
		if !passing(err) {
			m.opts.Log.Error("accept loop ended", "address", s.address(), "error", err)
			return
		}
		m.stats.acceptErrors.Inc()
		if backoff == 0 {
			m.opts.Log.Warn("accept", "address", s.address(), "error", err)
		}
		backoff = min(max(2*backoff, minBackoff), maxBackoff)
		select {
		case <-time.After(backoff):
		case <-s.stop:
			return
		}
	}
}

// passing tells errors of one connection, or of a shortage, from those of the socket.
func passing(err error) bool {
	errno, ok := errors.AsType[syscall.Errno](err)
	if !ok {
		return false
	}
	switch errno {
	case syscall.EBADF, syscall.EINVAL, syscall.ENOTSOCK, syscall.EOPNOTSUPP, syscall.EFAULT:
		return false
	}
	return true
}
