package udp

import (
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/observe/stats"
	"github.com/weir-proxy/weir/pkg/proxy/streaminfo"
)

// Options are what a manager needs. Stats, Log and NewHandler are required.
type Options struct {
	Stats *stats.Scope // the root
	Log   *slog.Logger
	// NewHandler makes the handler of a listener's datagrams.
	NewHandler func(l *model.Listener) (Handler, error)
	// Inherit gives a socket of an earlier process by its key, nil when there is none; it may be nil. See Pass.
	Inherit func(key string) net.PacketConn
	// CaptureMark is the SO_MARK by which the kernel side knows capture sockets for weir's; 0 sets none.
	CaptureMark uint32
	// OriginalDst is where a datagram was going that was captured in a network namespace, nil for weir's own; both addresses as the
	// capture socket sees them. It may be nil.
	OriginalDst func(in *streaminfo.Namespace, client, local netip.AddrPort) (netip.AddrPort, bool)
	// SourceAddr is the address that the kernel would send from to dst, in a network namespace, nil for weir's own; false when it is not
	// known. It may be nil: then captured clients that have no address of their own have loopback addresses.
	SourceAddr func(in *streaminfo.Namespace, dst netip.AddrPort, now time.Time) (netip.Addr, bool)
}

// Status is what is known of one listener.
type Status struct {
	Name string
	// Addresses that it is bound to with the actual port, or would be were it bound.
	Addresses []netip.AddrPort
	// Sessions that its handler has.
	Sessions int
}

// Error is why a listener could not be built or bound.
type Error struct {
	// Listener is its name.
	Listener string
	Err      error
}

// Error implements error.
func (e *Error) Error() string { return "listener " + e.Listener + ": " + e.Err.Error() }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Manager owns all listeners of datagrams. Make it with New; it is safe for concurrent use.
type Manager struct {
	opts   Options
	stats  managerStats
	loops  sync.WaitGroup
	routes atomic.Pointer[routes]
	flows  flows

	mu      sync.Mutex
	active  map[string]*active
	applied model.Set[*model.Listener]
	failed  []string
	retried time.Time
	sockets map[string]*socket
	capture map[*streaminfo.Namespace][]*socket
	// refusals are of the namespaces of capture.
	refusals map[*streaminfo.Namespace][]*refusals
	stopped  bool
	// passed is set while another process is about to go on with the bound sockets.
	passed bool
	// inboundStopped is set once the inbound listeners were stopped.
	inboundStopped bool
}

// managerStats are the listener_manager.* that change with listeners of any kind, and weir's own.
type managerStats struct {
	added, modified, removed, success, failure *stats.Counter
	active                                     *stats.Gauge
	noOriginalDst, noListener                  *stats.Counter
}

// active is one version of a configured listener.
type active struct {
	cfg     *model.Listener
	handler Handler
	scope   *stats.Scope
	dropped *stats.Counter
	sockets []*socket // Manager.mu guards it
}

// New makes a manager without listeners.
func New(o Options) *Manager {
	s, w := o.Stats.Scope("listener_manager"), o.Stats.Scope("weir.udp")
	m := &Manager{
		opts: o, active: map[string]*active{}, sockets: map[string]*socket{}, capture: map[*streaminfo.Namespace][]*socket{}, refusals: map[*streaminfo.Namespace][]*refusals{},
		stats: managerStats{
			added: s.Counter("listener_added"), modified: s.Counter("listener_modified"), removed: s.Counter("listener_removed"),
			success: s.Counter("listener_create_success"), failure: s.Counter("listener_create_failure"), active: s.Gauge("total_listeners_active"),
			noOriginalDst: w.Counter("captured_without_original_dst"), noListener: w.Counter("captured_without_listener"),
		},
	}
	m.routes.Store(&routes{})
	m.flows.init()
	return m
}

// run receives from a socket on a goroutine of its own.
func (m *Manager) run(s *socket, take func(*Message)) {
	m.loops.Go(func() {
		if err := s.receive(take); err != nil {
			m.opts.Log.Error("socket for datagrams ended", "address", s.bound, "error", err)
		}
	})
}

// taker hands the datagrams of a bound socket to its listener.
func (m *Manager) taker(s *socket) func(*Message) {
	var d Datagram
	var lost uint32
	return func(msg *Message) {
		a := s.target.Load()
		if n := msg.Lost - lost; msg.Lost != 0 && n > 0 {
			lost = msg.Lost
			a.dropped.Add(uint64(n))
		}
		local := msg.To
		if !local.IsValid() {
			local = s.bound.Addr()
		}
		d = Datagram{Peer: msg.From, Local: netip.AddrPortFrom(local, s.bound.Port()), Reply: newPath(s.conn, local, s.v6)}
		a.handle(msg, &d)
	}
}

// handle gives the handler each datagram of a message, but those that are too long.
func (a *active) handle(msg *Message, d *Datagram) {
	limit := a.cfg.UDP.MaxDatagram
	segment := msg.Segment
	if segment <= 0 {
		segment = max(1, len(msg.Payload))
	}
	for rest := msg.Payload; ; rest = rest[len(d.Payload):] {
		d.Payload = rest[:min(segment, len(rest))]
		if len(d.Payload) > limit || msg.Truncated {
			a.dropped.Inc()
		} else {
			a.handler.Handle(d)
		}
		if len(d.Payload) == len(rest) {
			return
		}
	}
}

func (a *active) addresses() []netip.AddrPort {
	if len(a.sockets) == 0 {
		return addresses(a.cfg)
	}
	var out []netip.AddrPort
	for _, s := range a.sockets {
		out = append(out, s.bound)
	}
	return out
}

// List describes the listeners, in order of their names.
func (m *Manager) List() []Status {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []Status
	for _, name := range slices.Sorted(maps.Keys(m.active)) {
		a := m.active[name]
		out = append(out, Status{Name: name, Addresses: a.addresses(), Sessions: a.handler.Sessions()})
	}
	return out
}

// Route is the listener that takes captured datagrams to an address; nil when there is none.
func (m *Manager) Route(dst netip.AddrPort) *model.Listener {
	if a := m.routes.Load().find(dst); a != nil {
		return a.cfg
	}
	return nil
}

// Bound is the listener whose socket takes datagrams to an address; nil when there is none.
func (m *Manager) Bound(dst netip.AddrPort) *model.Listener {
	m.mu.Lock()
	defer m.mu.Unlock()
	var anywhere *model.Listener
	for _, s := range m.sockets {
		switch {
		case s.bound == dst:
			return s.target.Load().cfg
		case s.bound.Port() == dst.Port() && s.bound.Addr().IsUnspecified() && s.bound.Addr().Is4() == dst.Addr().Is4():
			anywhere = s.target.Load().cfg
		}
	}
	return anywhere
}

// Drain keeps things as they are until Stop or Close, but for sockets that another process goes on with (Pass): what comes there is
// its.
func (m *Manager) Drain() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stopped = true
	if !m.passed {
		return
	}
	for _, s := range m.sockets {
		s.mute()
	}
}

// Stop ends all listeners, or the inbound ones, with their sessions. They do not come back.
func (m *Manager) Stop(inboundOnly bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.inboundStopped = true
	for _, name := range slices.Sorted(maps.Keys(m.active)) {
		if a := m.active[name]; !inboundOnly || a.cfg.TrafficDirection == model.TrafficInbound {
			m.remove(a)
		}
	}
	if !inboundOnly {
		m.stopped = true
		for in := range m.capture {
			m.shutCapture(in)
		}
	}
	m.publish()
}

// Close ends everything and waits for it.
func (m *Manager) Close() {
	m.Stop(false)
	m.loops.Wait()
}
