package udp

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/weir-proxy/weir/pkg/config/model"
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
		if a.cfg.UseOriginalDst && a.cfg.TrafficDirection != model.TrafficInbound {
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

// OpenCapture opens the capture sockets in the calling thread's network namespace. It may be called once. What does not come to a
// loopback address is dropped by the kernel, so that nobody else's datagrams reach them.
func (m *Manager) OpenCapture() (Capture, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out Capture
	s, err := m.openCapture(spec{addr: netip.AddrPortFrom(netip.IPv4Unspecified(), 0), loopback: true, room: groBatch, size: largest})
	if err != nil {
		return out, fmt.Errorf("open capture socket for datagrams: %w", err)
	}
	out.IPv4 = s.bound.Port()
	for range IPv6Slots {
		s, err := m.openCapture(spec{addr: netip.AddrPortFrom(netip.IPv6Loopback(), 0), room: 1, size: largest})
		if err != nil {
			m.opts.Log.Warn("IPv6 datagrams are not captured", "error", err)
			return Capture{IPv4: out.IPv4}, nil
		}
		out.IPv6 = append(out.IPv6, s.bound.Port())
	}
	return out, nil
}

func (m *Manager) openCapture(sp spec) (*socket, error) {
	s, err := open(context.Background(), sp)
	if err != nil {
		return nil, err
	}
	m.capture = append(m.capture, s)
	m.run(s, m.captured(s))
	return s, nil
}

// captured hands the datagrams of a capture socket to the listener of their original destination.
func (m *Manager) captured(s *socket) func(*Message) {
	var d Datagram
	return func(msg *Message) {
		if !msg.To.IsLoopback() {
			return
		}
		local := netip.AddrPortFrom(msg.To, s.bound.Port())
		dst, ok := m.flows.find(flow{msg.From, local}, m.opts.OriginalDst)
		if !ok {
			m.stats.noOriginalDst.Inc()
			return
		}
		a := m.routes.Load().find(dst)
		if a == nil {
			m.stats.noListener.Inc()
			return
		}
		d = Datagram{Peer: msg.From, Local: dst, Captured: true, Reply: newPath(s.conn, msg.To, s.v6)}
		a.handle(msg, &d)
	}
}

// flow is a captured exchange as a capture socket sees it.
type flow struct{ client, local netip.AddrPort }

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
	dst   netip.AddrPort
	until time.Duration
}

func (f *flows) init() { f.start, f.known = time.Now(), map[flow]known{} }

// find gives the destination of a flow, as ask says it. It allocates only for flows that are new.
func (f *flows) find(key flow, ask func(client, local netip.AddrPort) (netip.AddrPort, bool)) (netip.AddrPort, bool) {
	if ask == nil {
		return netip.AddrPort{}, false
	}
	now := time.Since(f.start)
	f.mu.Lock()
	k, ok := f.known[key]
	f.mu.Unlock()
	if ok && now < k.until {
		return k.dst, true
	}
	dst, ok := ask(key.client, key.local)
	f.mu.Lock()
	defer f.mu.Unlock()
	if !ok {
		return k.dst, k.dst.IsValid() // who sends now is who sent before
	}
	if len(f.known) >= maxFlows {
		f.shrink(now)
	}
	f.known[key] = known{dst, now + flowLife}
	return dst, true
}

// shrink forgets what is out of date, or everything when that is nothing. The caller holds mu.
func (f *flows) shrink(now time.Duration) {
	maps.DeleteFunc(f.known, func(_ flow, k known) bool { return now >= k.until })
	if len(f.known) >= maxFlows {
		clear(f.known)
	}
}
