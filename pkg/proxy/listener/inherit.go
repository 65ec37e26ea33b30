package listener

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/conn"
	"github.com/weir-proxy/weir/pkg/proxy/streaminfo"
)

// Passable is an open socket that another process can go on with.
type Passable struct {
	// Key by which Options.Inherit finds it there.
	Key string
	// Conn gives access to it.
	Conn syscall.RawConn
}

// captureScheme is what the keys of capture sockets begin with.
const captureScheme = "capture:"

// IsCapture tells the keys of capture sockets from those of listeners.
func IsCapture(key string) bool { return strings.HasPrefix(key, captureScheme) }

// captureKey is the key of a capture socket, in a namespace other than weir's own unless in is nil.
func captureKey(in *streaminfo.Namespace, ip netip.Addr) string {
	if in == nil {
		return captureScheme + ip.String()
	}
	return fmt.Sprintf("%s%s@%d", captureScheme, ip, in.Cookie)
}

// inherit gives the socket of an earlier process for a spec. One that is bound elsewhere is no use.
func (m *Manager) inherit(sp spec) net.Listener {
	if m.opts.Inherit == nil {
		return nil
	}
	ln := m.opts.Inherit(sp.key)
	if ln == nil {
		return nil
	}
	bound := conn.AddrPort(ln.Addr())
	fits := bound.Addr() == sp.addr.Addr() && (sp.addr.Port() == 0 || bound.Port() == sp.addr.Port())
	if sp.pipe != "" {
		fits = ln.Addr().Network() == "unix" && ln.Addr().String() == sp.pipe
	}
	if !fits {
		m.opts.Log.Warn("an inherited socket is bound elsewhere", "key", sp.key, "address", ln.Addr())
		_ = ln.Close() // a copy
		return nil
	}
	return ln
}

// adopt makes a socket of one that was inherited.
func adopt(l *model.Listener, sp spec) (*socket, error) {
	s, err := newSocket(sp, sp.inherited)
	if err != nil {
		return nil, err
	}
	if u, ok := s.ln.(*net.UnixListener); ok {
		u.SetUnlinkOnClose(true) // it is this process's from now on
	}
	err = s.finish(l, sp)
	if err == nil && l.Transparent {
		err = s.transparent(true)
	}
	if err != nil {
		s.shut()
		return nil, err
	}
	return s, nil
}

// transparent switches IP_TRANSPARENT of the open socket on or off.
func (s *socket) transparent(on bool) error {
	level, option, value := unix.SOL_IP, unix.IP_TRANSPARENT, 0
	if s.bound.Addr().Is6() {
		level, option = unix.SOL_IPV6, unix.IPV6_TRANSPARENT
	}
	if on {
		value = 1
	}
	return s.option("transparent", func(fd int) error { return unix.SetsockoptInt(fd, level, option, value) })
}

// Pass lists the open sockets for another process to go on with. From now on closing one loses no connection that waits there,
// and leaves the file of a unix socket; KeepSockets undoes that.
func (m *Manager) Pass() []Passable {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.setPassed(true)
	var out []Passable
	add := func(key string, s *socket) {
		c, ok := s.ln.(syscall.Conn)
		if !ok {
			return
		}
		if raw, err := c.SyscallConn(); err == nil {
			out = append(out, Passable{Key: key, Conn: raw})
		}
	}
	for key, s := range m.sockets {
		add(key, s)
	}
	for _, s := range m.capture {
		add(captureKey(nil, s.bound.Addr()), s)
	}
	for in, sockets := range m.within {
		for _, s := range sockets {
			add(captureKey(in, s.bound.Addr()), s)
		}
	}
	return out
}

// KeepSockets tells that no other process goes on with the sockets after all.
func (m *Manager) KeepSockets() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.setPassed(false)
}

func (m *Manager) setPassed(passed bool) {
	m.passed = passed
	for _, s := range m.sockets {
		if u, ok := s.ln.(*net.UnixListener); ok {
			u.SetUnlinkOnClose(!passed)
		}
	}
}

// acceptRest takes the connections that wait at a socket, so that closing it resets none. Nothing is done when another process
// goes on with it. The caller holds mu.
func (m *Manager) acceptRest(s *socket) {
	c, ok := s.ln.(syscall.Conn)
	if !ok || m.passed && !IsCapture(s.key) {
		return
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return
	}
	var waiting []net.Conn
	err = raw.Control(func(fd uintptr) {
		for {
			nfd, _, err := unix.Accept4(int(fd), unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
			if err != nil {
				return // none is left, or the socket is closed
			}
			f := os.NewFile(uintptr(nfd), "accepted")
			if nc, err := net.FileConn(f); err == nil {
				waiting = append(waiting, nc)
			}
			f.Close()
		}
	})
	if err != nil {
		return
	}
	for _, nc := range waiting {
		m.arrived(s, conn.AcceptedBy(nc), nil)
	}
}
