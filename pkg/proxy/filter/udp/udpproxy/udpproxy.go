// Package udpproxy is the filter envoy.filters.udp_listener.udp_proxy: it sends the datagrams of each client to an upstream host, and
// those of the host back.
//
// It owns sessions, the choice of their cluster, the udp.* statistics and what access logs say. It must not know sockets of
// listeners, nor how clusters choose hosts.
//
// Locking: Proxy.mu guards the table of sessions and is held for look-ups only; Proxy.creating has a client's first datagrams make one
// session. A session is written to by the goroutines of the listener's sockets, and read from by one goroutine of its own, which
// holds no buffer while it waits.
package udpproxy

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
	"github.com/weir-proxy/weir/pkg/proxy/matcher"
	"github.com/weir-proxy/weir/pkg/proxy/streaminfo"
	"github.com/weir-proxy/weir/pkg/proxy/timer"
	"github.com/weir-proxy/weir/pkg/proxy/udp"
	"github.com/weir-proxy/weir/pkg/proxy/upstream"
	"github.com/weir-proxy/weir/pkg/proxy/upstream/cluster"
)

// Cluster is what the proxy asks of an upstream cluster.
type Cluster interface {
	Config() *model.Cluster
	Stats() *cluster.Stats
	WantsHash() bool
	// Pick chooses a host. Errors are *upstream.Error, and counted.
	Pick(pc *upstream.PickContext) (*upstream.Host, error)
	// TryConnection takes a place of max_connections, ReleaseConnection gives it back.
	TryConnection() error
	ReleaseConnection()
	// WatchHost has gone called when the host leaves.
	WatchHost(h *upstream.Host, gone func()) (stop func())
	// DialUDP makes a socket connected to the host.
	DialUDP(ctx context.Context, h *upstream.Host, o cluster.UDPOptions) (*net.UDPConn, error)
}

var _ Cluster = (*cluster.Cluster)(nil)

// Deps is what a proxy uses. All are required but the logs.
type Deps struct {
	Stats *stats.Scope // the root
	Log   *slog.Logger
	Wheel *timer.Wheel
	// Listener is the name of the listener, for access logs.
	Listener string
	// Cluster finds a cluster by name; nil when there is none.
	Cluster func(name string) Cluster
	// SessionLog is called at the end of each session, and while it lasts with final false; ProxyLog at the end of the proxy. They
	// may be nil.
	SessionLog func(info *streaminfo.Info, final bool)
	// Caller tells which cgroup the client of a captured datagram is in, which came to a capture socket at local in a network namespace, nil for
	// weir's own. It is asked for sessions that are logged, and may be nil.
	Caller   func(in *streaminfo.Namespace, client, local netip.AddrPort) streaminfo.Cgroup
	ProxyLog func(info *streaminfo.Info)
}

// Proxy is a configured UDP proxy.
type Proxy struct {
	cfg    *model.UDPProxy
	deps   Deps
	tree   *matcher.Tree
	scope  *stats.Scope
	stats  counters
	totals totals
	start  time.Time
	batch  sync.Pool // of *udp.Batch
	nextID atomic.Uint64
	ctx    context.Context
	cancel context.CancelFunc

	running  sync.WaitGroup
	closed   bool // creating guards it
	creating sync.Mutex

	mu       sync.RWMutex
	sessions map[key]*session
	// udp are the cluster.<name>.udp.* of clusters that had sessions.
	udp map[string]*clusterCounters
}

var _ udp.Handler = (*Proxy)(nil)

// key tells sessions apart: by the client with its network namespace and the address that it sent to, and with a choice for each datagram by the host too.
type key struct {
	peer, local netip.AddrPort
	within      *streaminfo.Namespace
	host        *upstream.HostStats
}

// New makes the proxy.
func New(cfg *model.UDPProxy, d Deps) *Proxy {
	p := &Proxy{
		cfg: cfg, deps: d, scope: d.Stats.Scope("udp." + cfg.StatPrefix), start: time.Now(),
		sessions: map[key]*session{}, udp: map[string]*clusterCounters{},
	}
	p.tree, _ = cfg.Matcher.(*matcher.Tree)
	p.stats = newCounters(p.scope)
	room, size := 8, cfg.Upstream.MaxDatagram
	if cfg.Upstream.GRO {
		room, size = 1, 65535
	}
	p.batch.New = func() any { return udp.NewBatch(room, size) }
	p.ctx, p.cancel = context.WithCancel(context.Background())
	return p
}

// Handle implements udp.Handler. It does not allocate for a session that is there.
func (p *Proxy) Handle(d *udp.Datagram) {
	k := key{peer: d.Peer, local: d.Local, within: d.Within}
	if p.cfg.PerPacket {
		p.handleByHost(k, d)
		return
	}
	s := p.find(k)
	if s != nil {
		if !s.better() {
			s.send(d)
			return
		}
		s.end(endReplaced)
	}
	if s = p.create(k, d, nil); s != nil {
		s.send(d)
	}
}

// handleByHost chooses a host for the datagram, and its session with it.
func (p *Proxy) handleByHost(k key, d *udp.Datagram) {
	cl := p.cluster(d)
	if cl == nil {
		return
	}
	pc := p.pickContext(d, cl)
	h, err := cl.Pick(&pc)
	if err != nil {
		return
	}
	k.host = h.Stats
	s := p.find(k)
	if s == nil {
		s = p.create(k, d, h)
	}
	if s != nil {
		s.send(d)
	}
}

func (p *Proxy) find(k key) *session {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.sessions[k]
}

// cluster is the one that a client's datagrams go to; nil, which is counted, when there is none.
func (p *Proxy) cluster(d *udp.Datagram) Cluster {
	name := p.cfg.Cluster
	if p.tree != nil {
		name = ""
		action, ok := p.tree.Match(&matcher.Data{Info: &streaminfo.Info{Conn: d.Connection()}})
		if route, _ := action.(*model.UDPRoute); ok && route != nil {
			name = route.Cluster
		}
	}
	if name != "" {
		if cl := p.deps.Cluster(name); cl != nil {
			return cl
		}
	}
	p.stats.noRoute.Inc()
	p.totals.noRoute.Add(1)
	return nil
}

func (p *Proxy) pickContext(d *udp.Datagram, cl Cluster) upstream.PickContext {
	pc := upstream.PickContext{OriginalDst: d.Local, Attempts: 1}
	if (p.cfg.HashSourceIP || p.cfg.HashKey != "") && cl.WantsHash() {
		pc.HasHash = true
		if text := p.cfg.HashKey; text != "" {
			pc.Hash = matcher.Hash(text)
		} else {
			pc.Hash = matcher.Hash(d.Client().Addr().String())
		}
	}
	return pc
}

// create begins a session, to h when it is given; nil when it cannot, which is counted.
func (p *Proxy) create(k key, d *udp.Datagram, h *upstream.Host) *session {
	p.creating.Lock()
	defer p.creating.Unlock()
	if s := p.find(k); s != nil {
		return s // another of the listener's sockets was faster
	}
	if p.closed {
		return nil
	}
	cl := p.cluster(d)
	if cl == nil {
		return nil
	}
	if cl.TryConnection() != nil {
		return nil
	}
	if h == nil {
		pc := p.pickContext(d, cl)
		var err error
		if h, err = cl.Pick(&pc); err != nil {
			cl.ReleaseConnection()
			return nil
		}
	}
	s, err := p.begin(k, d, cl, h)
	if err != nil {
		cl.ReleaseConnection()
		p.clusterStats(cl).txErrors.Inc()
		p.deps.Log.Debug("no socket for a session", "host", h.Name(), "error", err)
		return nil
	}
	return s
}

// clusterStats are the cluster.<name>.udp.* of a cluster.
func (p *Proxy) clusterStats(cl Cluster) *clusterCounters {
	name := cl.Config().StatName()
	p.mu.RLock()
	c := p.udp[name]
	p.mu.RUnlock()
	if c != nil {
		return c
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if c = p.udp[name]; c == nil {
		c = newClusterCounters(p.deps.Stats.Scope("cluster." + stats.Sanitize(name) + ".udp"))
		p.udp[name] = c
	}
	return c
}

// Sessions implements udp.Handler.
func (p *Proxy) Sessions() int {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return len(p.sessions)
}

// Unfinished implements udp.Handler.
func (p *Proxy) Unfinished() (awaiting, captured int) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	for _, s := range p.sessions {
		if s.asked.Load() {
			awaiting++
		}
		if s.info.Conn.OriginalDst.IsValid() {
			captured++
		}
	}
	return awaiting, captured
}

// Vacate implements udp.Handler.
func (p *Proxy) Vacate(in *streaminfo.Namespace) {
	var leaving []*session
	p.creating.Lock()
	p.mu.RLock()
	for k, s := range p.sessions {
		if k.within == in {
			leaving = append(leaving, s)
		}
	}
	p.mu.RUnlock()
	p.creating.Unlock()
	for _, s := range leaving {
		s.end(endClosed)
	}
	for _, s := range leaving {
		<-s.done
	}
}

// Close implements udp.Handler.
func (p *Proxy) Close() {
	p.creating.Lock()
	p.closed = true
	p.creating.Unlock()
	p.mu.RLock()
	all := make([]*session, 0, len(p.sessions))
	for _, s := range p.sessions {
		all = append(all, s)
	}
	p.mu.RUnlock()
	for _, s := range all {
		s.end(endClosed)
	}
	p.running.Wait()
	p.cancel()
	if p.deps.ProxyLog != nil {
		p.deps.ProxyLog(p.info())
	}
	for _, c := range p.udp {
		c.scope.Close()
	}
	p.scope.Close()
}
