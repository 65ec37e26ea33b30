package udp

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/streaminfo"
)

const errInUse = syscall.EADDRINUSE

// IPv6Slots is how many capture sockets there are at ::1: IPv6 has one loopback address only, so that the destinations of one
// client's socket are told apart by the port that their datagrams come to.
const IPv6Slots = 16

// routes find the listener of an original destination. They are immutable.
type routes struct {
	exact      map[netip.AddrPort]*active
	any4, any6 map[uint16]*active
	catchAll   *active
}

// publish recomputes what captured datagrams look up. The caller holds mu.
func (m *Manager) publish() {
	r := &routes{exact: map[netip.AddrPort]*active{}, any4: map[uint16]*active{}, any6: map[uint16]*active{}}
	for _, name := range slices.Backward(slices.Sorted(maps.Keys(m.active))) { // the first by name is entered last, and stays
		a := m.active[name]
		if a.cfg.TrafficDirection == model.TrafficInbound {
			continue // what was captured on its way out is not for it
		}
		for _, addr := range addresses(a.cfg) {
			switch addr = unmapped(addr); {
			case !addr.Addr().IsUnspecified():
				r.exact[addr] = a
			case addr.Addr().Is4():
				r.any4[addr.Port()] = a
			default:
				r.any6[addr.Port()] = a
			}
		}
		if a.cfg.UseOriginalDst {
			r.catchAll = a
		}
	}
	for port, a := range r.any6 {
		if r.any4[port] == nil && a.cfg.IPv4Compat {
			r.any4[port] = a
		}
	}
	m.routes.Store(r)
}

// find gives the listener at exactly this address, else the one for any address on the port, else the one that takes the rest; nil
// when there is none.
func (r *routes) find(dst netip.AddrPort) *active {
	if a := r.exact[dst]; a != nil {
		return a
	}
	anyOf := r.any6
	if dst.Addr().Is4() {
		anyOf = r.any4
	}
	if a := anyOf[dst.Port()]; a != nil {
		return a
	}
	return r.catchAll
}

// Capture is where the kernel side sends captured datagrams.
type Capture struct {
	// IPv4 is the port of the socket that takes what comes to any address of 127.0.0.0/8.
	IPv4 uint16
	// IPv6 are the ports of the sockets at ::1; empty when the host has no IPv6.
	IPv6 []uint16
}

// OpenCapture opens the capture sockets of a network namespace, nil for weir's own, of one address family or of both, as its loopback
// device allows. What does not come to a loopback address is dropped by the kernel, so that nobody else's datagrams reach them. The
// error says why there are none, or none for IPv6; a later call tries again to open those. CloseCapture must follow.
func (m *Manager) OpenCapture(in *streaminfo.Namespace) (Capture, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.stopped {
		return Capture{}, errors.New("open capture sockets for datagrams: listeners are stopped")
	}
	have := len(m.capture[in])
	if have <= 1 {
		if err := m.moreCapture(in); err != nil {
			err = fmt.Errorf("open capture sockets for datagrams: %w", err)
			if have == 0 && len(m.capture[in]) > 0 {
				m.opts.Log.Warn("IPv6 datagrams are not captured", "error", err)
			}
			return m.captureOf(in), err
		}
	}
	return m.captureOf(in), nil
}

// moreCapture opens the capture sockets that there are none of yet, and the means to tell of hosts that refuse. The caller holds mu.
func (m *Manager) moreCapture(in *streaminfo.Namespace) error {
	have := m.capture[in]
	var opened []*socket
	var refuse *refusals
	var deaf error
	bind := func() (err error) {
		if opened, err = openCapture(m.opts.CaptureMark, len(have) == 0); len(opened) > 0 {
			refuse, deaf = openRefusals()
		}
		return err
	}
	inside := func(f func() error) error { return f() }
	if in != nil {
		inside = in.Inside
	}
	err := inside(bind)
	if deaf != nil {
		m.opts.Log.Info("applications do not learn that a host refuses their datagrams", "error", deaf)
	}
	for _, s := range opened {
		m.run(s, m.captured(s, in, refuse))
	}
	if len(opened) > 0 {
		m.capture[in], m.refusals[in] = append(have, opened...), append(m.refusals[in], refuse)
	}
	return err
}

// captureOf are the ports of a namespace's capture sockets, of which that for IPv4 is the first. The caller holds mu.
func (m *Manager) captureOf(in *streaminfo.Namespace) Capture {
	var out Capture
	for i, s := range m.capture[in] {
		if i == 0 {
			out.IPv4 = s.bound.Port()
		} else {
			out.IPv6 = append(out.IPv6, s.bound.Port())
		}
	}
	return out
}

// openCapture binds the socket for IPv4, if that is asked for, and those for IPv6 unless there is an error. The mark tells them from
// sockets that others bind to their ports when they are gone.
func openCapture(mark uint32, four bool) ([]*socket, error) {
	var all []*socket
	if four {
		s, err := open(context.Background(), spec{addr: netip.AddrPortFrom(netip.IPv4Unspecified(), 0), loopback: true, mark: mark, room: groBatch, size: largest})
		if err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	before := len(all)
	for range IPv6Slots {
		s, err := open(context.Background(), spec{addr: netip.AddrPortFrom(netip.IPv6Loopback(), 0), mark: mark, room: 1, size: largest})
		if err != nil {
			for _, six := range all[before:] {
				six.shut()
			}
			return all[:before], err
		}
		all = append(all, s)
	}
	return all, nil
}

// CloseCapture closes the capture sockets of a network namespace and ends the sessions that came from it: they keep it alive.
func (m *Manager) CloseCapture(in *streaminfo.Namespace) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.shutCapture(in)
	for _, a := range m.active {
		a.handler.Vacate(in)
	}
}

// shutCapture closes the sockets of a network namespace. The caller holds mu.
func (m *Manager) shutCapture(in *streaminfo.Namespace) {
	for _, s := range m.capture[in] {
		s.shut()
	}
	for _, r := range m.refusals[in] {
		r.close()
	}
	delete(m.capture, in)
	delete(m.refusals, in)
}

// captured hands the datagrams of a capture socket to the listener of their original destination.
func (m *Manager) captured(s *socket, in *streaminfo.Namespace, r *refusals) func(*Message) {
	var d Datagram
	return func(msg *Message) {
		if !msg.To.IsLoopback() {
			return
		}
		local := netip.AddrPortFrom(msg.To, s.bound.Port())
		dst, source, ok := m.flows.find(flow{in, msg.From, local}, &m.opts)
		if !ok {
			m.stats.noOriginalDst.Inc()
			return
		}
		a := m.routes.Load().find(dst)
		if a == nil {
			m.stats.noListener.Inc()
			return
		}
		d = Datagram{Peer: msg.From, Source: source, Local: dst, Captured: true, Within: in, Reply: newPath(s.conn, msg.To, s.v6)}
		d.Reply.refusals, d.Reply.local = r, local
		a.handle(msg, &d)
	}
}

// flow is a captured exchange as a capture socket sees it.
type flow struct {
	in            *streaminfo.Namespace
	client, local netip.AddrPort
}

// How long an answer of the kernel counts, and how many are remembered. The port of a socket that was closed may be another
// one's soon, so that answers are not kept for longer.
const (
	flowLife = time.Second
	maxFlows = 65536
)

// flows remembers original destinations, which cost a system call each.
type flows struct {
	mu    sync.Mutex
	start time.Time
	known map[flow]known
}

type known struct {
	dst, source netip.AddrPort
	until       time.Duration
}

func (f *flows) init() { f.start, f.known = time.Now(), map[flow]known{} }

// find gives the destination of a flow and the address that its client would have without weir, the zero value where that is the one
// that it has. It allocates only for flows that are new.
func (f *flows) find(key flow, o *Options) (dst, source netip.AddrPort, ok bool) {
	if o.OriginalDst == nil {
		return dst, source, false
	}
	now := time.Since(f.start)
	f.mu.Lock()
	k, ok := f.known[key]
	f.mu.Unlock()
	if ok && now < k.until {
		return k.dst, k.source, true
	}
	dst, ok = o.OriginalDst(key.in, key.client, key.local)
	if ok {
		source = o.source(key.in, key.client, dst, f.start.Add(now))
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if !ok {
		return k.dst, k.source, k.dst.IsValid() // who sends now is who sent before
	}
	if len(f.known) >= maxFlows {
		f.shrink(now)
	}
	f.known[key] = known{dst, source, now + flowLife}
	return dst, source, true
}

// source is the address that a captured client would have without weir: the kernel has chosen a loopback address for the way to the
// capture socket. A client whose socket is bound to an address has that one already, for which the zero value stands.
func (o *Options) source(in *streaminfo.Namespace, client, dst netip.AddrPort, now time.Time) netip.AddrPort {
	ip := client.Addr()
	if o.SourceAddr == nil || ip != netip.AddrFrom4([4]byte{127, 0, 0, 1}) && ip != netip.IPv6Loopback() || dst.Addr().IsLoopback() || dst.Addr().IsUnspecified() {
		return netip.AddrPort{}
	}
	src, ok := o.SourceAddr(in, dst, now)
	if !ok {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(src, client.Port())
}

// shrink forgets what is out of date, or everything when that is nothing. The caller holds mu.
func (f *flows) shrink(now time.Duration) {
	maps.DeleteFunc(f.known, func(_ flow, k known) bool { return now >= k.until })
	if len(f.known) >= maxFlows {
		clear(f.known)
	}
}
