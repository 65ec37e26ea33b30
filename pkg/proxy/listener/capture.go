package listener

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/conn"
	"github.com/weir-proxy/weir/pkg/proxy/streaminfo"
)

var errStopped = errors.New("open capture sockets: listeners are stopped")

// OpenCapture opens the sockets that the kernel side redirects captured connections to, at 127.0.0.1 and at ::1, in weir's own
// network namespace, as its loopback device allows. The error says why there are none, or none of one address family; a later call
// tries again to open those.
func (m *Manager) OpenCapture() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.stopped {
		return errStopped
	}
	opened, err := m.openLoopback(nil, m.capture)
	if len(opened) > 0 {
		m.capture = append(slices.Clip(m.capture), opened...)
		m.serveCapture(nil, opened)
		m.publish()
	}
	return err
}

// OpenCaptureIn opens capture sockets in another network namespace, those of one address family or of both, as its loopback
// device allows, and returns their addresses. The error says why there are none, or none of one family; a later call tries again
// to open those. CloseCaptureIn must follow.
func (m *Manager) OpenCaptureIn(in *streaminfo.Namespace) ([]netip.AddrPort, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.stopped {
		return nil, errStopped
	}
	opened, err := m.openLoopback(in, m.within[in])
	if len(opened) > 0 {
		m.within[in] = append(m.within[in], opened...)
		m.serveCapture(in, opened)
		m.publishWithin()
	}
	return boundAddrs(m.within[in]), err
}

// serveCapture accepts connections of capture sockets.
func (m *Manager) serveCapture(in *streaminfo.Namespace, sockets []*socket) {
	for _, s := range sockets {
		s.within = in
		m.loops.Go(func() { m.accept(s) })
	}
}

// CloseCaptureIn closes the capture sockets of a namespace and ends the connections that came from it: they keep it alive.
func (m *Manager) CloseCaptureIn(in *streaminfo.Namespace) {
	m.mu.Lock()
	for _, s := range m.within[in] {
		s.shut()
	}
	delete(m.within, in)
	m.publishWithin()
	m.mu.Unlock()
	m.abort(func(cn *connection) bool { return cn.info.Namespace == in })
}

// openLoopback binds the sockets of the families that there are none of yet. The error says why some are missing still.
func (m *Manager) openLoopback(in *streaminfo.Namespace, have []*socket) (sockets []*socket, err error) {
	cfg := &model.Listener{BindToPort: true, Resource: model.Resource{Name: "capture"}}
	bind := func() error {
		var failed []error
		for _, ip := range []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()} {
			if slices.ContainsFunc(have, func(s *socket) bool { return s.bound.Addr() == ip }) {
				continue
			}
			sp := spec{key: captureKey(in, ip), addr: netip.AddrPortFrom(ip, 0)}
			sp.inherited = m.inherit(sp)
			s, err := open(context.Background(), cfg, sp)
			if err == nil {
				err = m.mark(s)
			}
			if err != nil {
				failed = append(failed, fmt.Errorf("open capture socket: %w", err))
				continue
			}
			sockets = append(sockets, s)
		}
		return errors.Join(failed...)
	}
	if in == nil {
		err = bind()
	} else {
		err = in.Inside(bind)
	}
	return sockets, err
}

// mark marks a capture socket as weir's own, and closes it when that fails.
func (m *Manager) mark(s *socket) error {
	if m.opts.CaptureMark == 0 {
		return nil
	}
	err := s.option("mark", func(fd int) error {
		return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, int(m.opts.CaptureMark))
	})
	if err != nil {
		s.shut()
	}
	return err
}

func boundAddrs(sockets []*socket) []netip.AddrPort {
	var addrs []netip.AddrPort
	for _, s := range sockets {
		addrs = append(addrs, s.bound)
	}
	return addrs
}

// CaptureAddrs are the addresses of the capture sockets in weir's own network namespace; the zero value for one that is not open.
func (m *Manager) CaptureAddrs() (v4, v6 netip.AddrPort) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, addr := range boundAddrs(m.capture) {
		if addr.Addr().Is4() {
			v4 = addr
		} else {
			v6 = addr
		}
	}
	return v4, v6
}

// closeCapture closes the capture sockets of all namespaces. The caller holds mu.
func (m *Manager) closeCapture() {
	for _, s := range m.capture {
		m.acceptRest(s)
		s.shut()
	}
	for _, sockets := range m.within {
		for _, s := range sockets {
			m.acceptRest(s)
			s.shut()
		}
	}
	clear(m.within)
}

// SelfIn is SelfAddrs for another network namespace, where nothing but its capture sockets is weir's.
func (m *Manager) SelfIn(in *streaminfo.Namespace) func(netip.AddrPort) bool {
	return func(addr netip.AddrPort) bool {
		addr = conn.Unmap(addr)
		if ip := addr.Addr(); ip.IsUnspecified() { // connects to loopback
			loopback := netip.IPv6Loopback()
			if ip.Is4() {
				loopback = netip.AddrFrom4([4]byte{127, 0, 0, 1})
			}
			addr = netip.AddrPortFrom(loopback, addr.Port())
		}
		own := m.ownWithin.Load()
		return own != nil && slices.Contains((*own)[in], addr)
	}
}

// publishWithin recomputes what SelfIn looks up. The caller holds mu.
func (m *Manager) publishWithin() {
	own := make(map[*streaminfo.Namespace][]netip.AddrPort, len(m.within))
	for in, sockets := range m.within {
		own[in] = boundAddrs(sockets)
	}
	m.ownWithin.Store(&own)
}
