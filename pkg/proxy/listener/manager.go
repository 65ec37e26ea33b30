// Package listener accepts downstream connections and brings each one to the filter chain that serves it.
//
// It owns the listening sockets, the hand-off of connections whose original destination is known, the life of filter
// chains through updates, draining, and the listener.* and listener_manager.* statistics. It must not know what a filter
// does, where snapshots come from, or how the kernel side redirects: it asks that for original destinations through
// OriginalDst.
//
// Locking: Manager.mu guards configuration (listeners, sockets) and is held through Apply; Manager.connMu guards the set
// of connections and which chain each one has. connMu may be taken under mu, never the other way round. A connection's
// way through accept takes connMu three times and mu never.
package listener

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/observe/stats"
	"github.com/weir-proxy/weir/pkg/proxy/conn"
	"github.com/weir-proxy/weir/pkg/proxy/detect"
	"github.com/weir-proxy/weir/pkg/proxy/filter"
	"github.com/weir-proxy/weir/pkg/proxy/streaminfo"
	"github.com/weir-proxy/weir/pkg/proxy/timer"
	tlsctx "github.com/weir-proxy/weir/pkg/proxy/tls"
)

// OriginalDst knows where captured connections wanted to go.
type OriginalDst interface {
	// OriginalDst is the destination that client meant when it was redirected to server; both as the accepted socket
	// sees them, in the network namespace with the cookie netns, 0 for weir's own. false when it is not known. caller is who
	// connected.
	OriginalDst(netns uint64, client, server netip.AddrPort) (dst netip.AddrPort, caller streaminfo.Cgroup, ok bool)
}

// DrainStrategy is Envoy's --drain-strategy.
type DrainStrategy uint8

// Drain strategies.
const (
	// DrainGradual tells each connection at a random moment within the drain time, within its first half when it is cut off then.
	DrainGradual DrainStrategy = iota
	// DrainImmediate tells all connections at once.
	DrainImmediate
)

// Options are what a manager needs. Stats, Log, Wheel and NewFilter are required.
type Options struct {
	Stats *stats.Scope // the root
	Log   *slog.Logger
	Wheel *timer.Wheel
	// Poller takes the connections; it must outlive the manager.
	Poller *conn.Poller
	// NewFilter makes the terminal filter of a chain. What it returns is kept while the chain's hash does not change,
	// and closed, if it is an io.Closer, after its last connection.
	NewFilter func(l *model.Listener, fc *model.FilterChain, f *model.NetworkFilter) (filter.Network, error)
	// FilterConfig returns the current filter configuration of ECDS of a name, nil when there is none yet; it may be nil.
	FilterConfig func(name string) *model.FilterConfig
	Secrets      tlsctx.Secrets
	// OriginalDst may be nil: then only SO_ORIGINAL_DST is asked.
	OriginalDst OriginalDst
	// SourceAddr is the address that the kernel would connect from to dst, in a network namespace, nil for weir's own; false when it is
	// not known. It is asked once for each captured connection whose client has no address of its own. It may be nil: then those clients
	// have loopback addresses.
	SourceAddr func(in *streaminfo.Namespace, dst netip.AddrPort, now time.Time) (netip.Addr, bool)
	// Loops may be nil: then no connection is weir's own.
	Loops Loops
	// AccessLog is called at the end of each connection of a listener that has access logs; may be nil.
	AccessLog func(l *model.Listener, info *streaminfo.Info)
	// Stopping is called before a drain closes the sockets of all listeners, or with inboundOnly those of inbound ones; no lock is
	// held. It may be nil.
	Stopping func(inboundOnly bool)
	// DrainTime is how long connections of a removed or changed chain may go on; 0 means Envoy's 600 s.
	DrainTime     time.Duration
	DrainStrategy DrainStrategy
	// Runtime answers the runtime keys of limits; nil knows none. overload.global_downstream_max_connections bounds the connections
	// of all listeners together but those that ignore it.
	Runtime *model.Runtime
	// Inherit gives a socket that an earlier process had open, by its key, once; nil when there is none. It may be nil.
	Inherit func(key string) net.Listener
	// CaptureMark is the SO_MARK by which the kernel side knows capture sockets for weir's; 0 sets none.
	CaptureMark uint32
}

// Status is what is known of one listener.
type Status struct {
	Name string
	// Config of this version.
	Config *model.Listener
	// Addresses that it is bound to with the actual port, or would be were it bound.
	Addresses []string
	// Bound tells listeners with sockets from those that get connections by hand-off only.
	Bound    bool
	Draining bool
	// Connections that it serves now.
	Connections int
}

// Manager owns all listeners. Make it with New; it is safe for concurrent use.
type Manager struct {
	opts    Options
	stats   *managerStats
	pool    detect.Pool
	reclaim reclaimer
	ctx     context.Context // done when connections must end at once
	cancel  context.CancelCauseFunc
	loops   sync.WaitGroup // accept loops
	nextID  atomic.Uint64
	routes  atomic.Pointer[handOff]
	own     atomic.Pointer[map[netip.AddrPort]struct{}] // addresses that weir must not connect to
	host    atomic.Pointer[hostAddrs]
	// ownWithin is own of other network namespaces.
	ownWithin atomic.Pointer[map[*streaminfo.Namespace][]netip.AddrPort]

	mu sync.Mutex
	// counted are those of active that the gauge counts.
	counted  int
	active   map[string]*active
	applied  model.Set[*model.Listener] // what Apply was given last
	failed   []string                   // what of that is to be tried again
	retried  time.Time                  // when it was tried again last
	draining map[*active]struct{}
	sockets  map[string]*socket
	capture  []*socket
	within   map[*streaminfo.Namespace][]*socket // capture sockets in other namespaces
	stopped  bool
	passed   bool // the sockets are open in another process, too

	drains drains

	connMu sync.Mutex
	conns  map[*connection]struct{}
	// limited counts those of them that a bound on all listeners counts.
	limited int
	empty   chan struct{} // closed and nil when the last connection ends while someone waits
}

// New makes a manager without listeners.
func New(o Options) *Manager {
	if o.DrainTime == 0 {
		o.DrainTime = 600 * time.Second
	}
	m := &Manager{
		opts: o, stats: newManagerStats(o.Stats),
		active: map[string]*active{}, draining: map[*active]struct{}{}, sockets: map[string]*socket{},
		within: map[*streaminfo.Namespace][]*socket{}, conns: map[*connection]struct{}{},
	}
	m.ctx, m.cancel = context.WithCancelCause(context.Background())
	m.drains.init(m)
	m.reclaim.timer.Init(o.Wheel, m.giveBack)
	m.routes.Store(&handOff{})
	m.own.Store(&map[netip.AddrPort]struct{}{})
	return m
}

// List describes the listeners, draining ones included, in no order.
func (m *Manager) List() []Status {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.settleLocked()
	var out []Status
	for _, a := range m.active {
		out = append(out, a.status(false))
	}
	for a := range m.draining {
		out = append(out, a.status(true))
	}
	return out
}

// publish recomputes what connections look up. The caller holds mu.
func (m *Manager) publish() {
	routes := newHandOff(m.active, m.drains.unreachable)
	routes.inbound, routes.outbound = inboundHandOff(m.active, m.drains.unreachable), outboundHandOff(routes, m.drains.unreachable)
	m.routes.Store(routes)
	own := map[netip.AddrPort]struct{}{}
	for _, s := range m.sockets {
		a := s.target.Load()
		if !a.cfg.UseOriginalDst || !s.bound.IsValid() {
			continue // one listener may well be another one's upstream
		}
		own[s.bound] = struct{}{}
		if a.cfg.IPv4Compat && s.bound.Addr() == netip.IPv6Unspecified() {
			own[netip.AddrPortFrom(netip.IPv4Unspecified(), s.bound.Port())] = struct{}{}
		}
	}
	for _, s := range m.capture {
		own[s.bound] = struct{}{}
	}
	m.own.Store(&own)
	m.countActive()
	m.stats.draining.Set(uint64(len(m.draining)))
}
