// Package tcpproxy is the network filter envoy.filters.network.tcp_proxy: it joins a downstream connection to an upstream
// one.
//
// It owns the choice of cluster, the connect attempts, the tcp.* statistics and what a TCP connection's access log says.
// It must not know how clusters choose hosts, nor how bytes are copied. A Proxy is immutable and shared by the
// connections of its filter chain. A session belongs to the goroutine that connects, then to the relay, which hands it over to
// whichever goroutine sees its end.
package tcpproxy

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"runtime/debug"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/observe/stats"
	"github.com/weir-proxy/weir/pkg/proxy/conn"
	"github.com/weir-proxy/weir/pkg/proxy/filter"
	"github.com/weir-proxy/weir/pkg/proxy/relay"
	"github.com/weir-proxy/weir/pkg/proxy/streaminfo"
	"github.com/weir-proxy/weir/pkg/proxy/timer"
	"github.com/weir-proxy/weir/pkg/proxy/upstream"
)

// Deps is what a proxy uses. All are required except AccessLog and OnDemand.
type Deps struct {
	Stats *stats.Scope // the root
	Wheel *timer.Wheel
	Pool  *relay.Pool
	// Cluster finds a cluster by name; nil when there is none.
	Cluster func(name string) Cluster
	// OnDemand fetches clusters that are not there; nil fetches none.
	OnDemand filter.OnDemand
	// AccessLog is called at the end of each connection; may be nil.
	AccessLog func(*streaminfo.Info)
}

// Proxy is a configured TCP proxy.
type Proxy struct {
	cfg   *model.TCPProxy
	deps  Deps
	total uint64 // of the weights
	scope *stats.Scope
	stats counters
	// fetches counts what was asked for on demand.
	fetches fetchCounters
}

var (
	_ filter.Network  = (*Proxy)(nil)
	_ filter.Detached = (*Proxy)(nil)
	_ filter.Denier   = (*Proxy)(nil)
)

// errDuration ends connections at max_downstream_connection_duration.
var errDuration = errors.New("max connection duration reached")

// New makes the proxy. It fails when no cluster could ever be chosen.
func New(cfg *model.TCPProxy, d Deps) (*Proxy, error) {
	p := &Proxy{cfg: cfg, deps: d}
	for _, c := range cfg.Clusters {
		p.total += uint64(c.Weight)
	}
	switch {
	case len(cfg.Clusters) == 0:
		return nil, fmt.Errorf("tcp proxy %s: no cluster is configured", cfg.StatPrefix)
	case p.total == 0 && len(cfg.Clusters) > 1:
		return nil, fmt.Errorf("tcp proxy %s: the weights of its clusters sum to 0", cfg.StatPrefix)
	}
	p.scope = d.Stats.Scope("tcp." + cfg.StatPrefix)
	p.stats, p.fetches = newCounters(p.scope), newFetchCounters(p.scope)
	return p, nil
}

// Close releases the statistics, after the last connection.
func (p *Proxy) Close() error {
	p.scope.Close()
	return nil
}

// session is one proxied connection.
type session struct {
	p     *Proxy
	down  *filter.Connection
	info  streaminfo.Info
	lease *Lease // nil without an upstream
	done  func()
	life  timer.Timer             // ends it at max_downstream_connection_duration
	end   context.CancelCauseFunc // nil when that is not configured
}

// Serve implements filter.Network.
func (p *Proxy) Serve(ctx context.Context, c *filter.Connection) (rests bool) {
	done := make(chan struct{})
	p.Begin(ctx, c, func() { close(done) })
	<-done
	return false
}

// Begin implements filter.Detached. A connection whose upstream cannot be reached is reset, so that the client does not
// take it for one that was served. A drain does not end TCP connections; the end of the drain time does, as in Envoy.
func (p *Proxy) Begin(ctx context.Context, c *filter.Connection, done func()) {
	s := &session{p: p, down: c, done: done}
	s.info.Conn, s.info.Start, s.info.StreamID, s.info.Dynamic = c.Info, time.Now(), c.Info.ID, c.Info.Dynamic
	p.stats.total.Inc()
	if d := p.cfg.MaxDownstreamConnectionDuration; d > 0 {
		ctx, s.end = context.WithCancelCause(ctx)
		s.life.Init(p.deps.Wheel, func() { s.end(errDuration) })
		s.life.Arm(d)
	}
	connected := false
	defer func() {
		if !connected { // a panic
			s.release()
		}
	}()
	s.lease = s.connect(ctx)
	connected = true
	if s.lease == nil {
		s.finish()
		return
	}
	s.relay(ctx)
}

// release stops what could still end the connection.
func (s *session) release() {
	if s.end != nil {
		s.life.Release()
		s.end(nil)
	}
}

// finish closes and accounts for the connection.
func (s *session) finish() {
	defer s.done()
	defer s.recovered()
	s.release()
	if s.lease != nil {
		s.lease.Close()
		_ = s.down.Conn.Close()
	} else {
		s.down.Reset()
	}
	s.info.Duration = time.Since(s.info.Start)
	if s.p.deps.AccessLog != nil {
		s.p.deps.AccessLog(&s.info)
	}
}

// recovered keeps a panic within the connection.
func (s *session) recovered() {
	if s.down.Panicked == nil {
		return
	}
	if p := recover(); p != nil {
		s.down.Panicked(p, debug.Stack())
	}
}

// Denied implements filter.Denier: a connection that another filter closes counts and is logged, too, as in Envoy.
func (p *Proxy) Denied(c *filter.Connection) {
	p.stats.total.Inc()
	if p.deps.AccessLog == nil {
		return
	}
	info := streaminfo.Info{Conn: c.Info, Start: c.Info.Start, StreamID: c.Info.ID, Dynamic: c.Info.Dynamic}
	info.Duration = time.Since(info.Start)
	p.deps.AccessLog(&info)
}

// choose picks the cluster of a connection by weight.
func (p *Proxy) choose() string {
	if len(p.cfg.Clusters) == 1 {
		return p.cfg.Clusters[0].Name
	}
	at := rand.Uint64N(p.total)
	for _, c := range p.cfg.Clusters {
		if at < uint64(c.Weight) {
			return c.Name
		}
		at -= uint64(c.Weight)
	}
	return p.cfg.Clusters[0].Name // not reached: at is below the sum
}

// connect gives a connection to the upstream; nil when there is none to be had, which info then tells of.
func (s *session) connect(ctx context.Context) *Lease {
	name := s.p.choose()
	s.info.Upstream.Cluster, s.info.Upstream.ClusterRaw = name, name
	cl := s.p.deps.Cluster(name)
	if cl == nil && s.p.cfg.OnDemand != nil && s.p.deps.OnDemand != nil {
		if cl = s.fetch(ctx, name); context.Cause(ctx) != nil {
			s.ended(context.Cause(ctx))
			return nil
		}
	}
	if cl == nil {
		s.p.stats.noRoute.Inc()
		s.info.Flags |= streaminfo.NoClusterFound
		return nil
	}
	s.info.Upstream.Cluster = cl.Config().StatName()
	s.info.Conn.Cluster(nil, &cl.Config().Name)
	pc := &upstream.PickContext{OriginalDst: s.down.Info.OriginalDst, Origin: s.down.Info.Origin()}
	if !pc.OriginalDst.IsValid() {
		pc.OriginalDst = s.down.Info.Local
	}
	if s.p.cfg.HashSourceIP && cl.WantsHash() {
		pc.Hash, pc.HasHash = xxhash.Sum64String(s.down.Info.Remote.Addr().String()), true
	}
	for pc.Attempts = 1; ; pc.Attempts++ {
		s.info.Upstream.AttemptCount = uint32(pc.Attempts)
		lease, err := cl.TryDial(pc)
		if lease == nil && err == nil {
			lease, err = cl.Dial(ctx, pc)
		}
		if err == nil {
			s.connected(lease)
			return lease
		}
		if !s.again(ctx, cl, err, pc.Attempts) {
			return nil
		}
	}
}

// connected notes what is known of the upstream connection.
func (s *session) connected(l *Lease) {
	up := &s.info.Upstream
	s.info.Timing.UpstreamConnected = s.info.Since(time.Now())
	up.Host, up.Pipe, up.Hostname = l.Host.Address, l.Host.Pipe, l.Host.Hostname
	s.info.Conn.Endpoint(&l.Host.Address)
	up.Local, up.ConnectionID, up.TLS = l.Info.Local, l.Info.ID, l.Info.TLS
	s.info.Flags = 0 // of attempts that did not succeed
}

// again notes why an attempt failed and tells whether to make another one.
func (s *session) again(ctx context.Context, cl Cluster, err error, attempts int) bool {
	flag := streaminfo.UpstreamConnectionFailure
	connecting := true
	if e, ok := errors.AsType[*upstream.Error](err); ok {
		flag = e.Flag()
		s.info.Upstream.TransportFailure = e.Transport
		connecting = e.Kind == upstream.KindConnect || e.Kind == upstream.KindConnectTimeout || e.Kind == upstream.KindLocal
	}
	if cause := context.Cause(ctx); cause != nil {
		s.ended(cause)
		return false
	}
	s.info.Flags |= flag
	if !connecting {
		return false
	}
	if attempts >= max(1, s.p.cfg.MaxConnectAttempts) {
		cl.AttemptsExceeded()
		s.info.Flags |= streaminfo.UpstreamRetryLimitExceeded // even when one attempt is all there is, as in Envoy
		return false
	}
	return true
}

// relay moves the payload until both sides have closed.
func (s *session) relay(ctx context.Context) {
	st := &s.p.stats
	down, up := side(s.down.Conn), side(s.lease.Conn)
	down.Reset = s.down.Reset
	down.Received = func(n int) { st.rx.Add(uint64(n)) }
	down.Sent = func(n int) { st.tx.Add(uint64(n)) }
	relay.Start(ctx, down, up, relay.Options{
		Pool: s.p.deps.Pool, Wheel: s.p.deps.Wheel, Idle: s.p.cfg.IdleTimeout, Panicked: s.down.Panicked,
	}, s.relayed)
	if settled := s.lease.Settled; settled != nil {
		settled()
	}
}

// relayed notes how the relay ended. It is called where nothing may wait.
func (s *session) relayed(res relay.Result) {
	st := &s.p.stats
	s.info.BytesReceived, s.info.BytesSent = res.FromDownstream, res.ToDownstream
	s.info.Upstream.WireSent, s.info.Upstream.WireReceived = res.ToUpstream, res.FromUpstream
	switch res.End {
	case relay.Idle:
		st.idle.Inc()
		s.down.Info.TerminationDetails = "tcp_session_idle_timeout"
	case relay.Aborted:
		s.ended(res.Err)
	}
	if len(s.p.cfg.AccessLogs) > 0 { // a log whose file is slow makes its writers wait
		go s.finish()
		return
	}
	s.finish()
}

// ended notes that we ended the connection.
func (s *session) ended(cause error) {
	if errors.Is(cause, errDuration) {
		s.p.stats.maxDuration.Inc()
		s.info.Flags |= streaminfo.DurationTimeout
		s.down.Info.TerminationDetails = "max_connection_duration_reached"
	}
}

// side makes a relay side of a connection: the socket below TLS is what is aborted and reset, and what tells of its failure.
func side(c net.Conn) relay.Side {
	s := relay.Side{
		Conn:  c,
		Abort: func() { _ = c.SetDeadline(time.Unix(1, 0)) },
		Reset: func() { _ = c.Close() },
	}
	for {
		if sock, ok := c.(interface {
			Abort()
			Reset()
		}); ok {
			s.Abort, s.Reset = sock.Abort, sock.Reset
			s.Socket, _ = c.(*conn.Conn)
			return s
		}
		over, ok := c.(interface{ NetConn() net.Conn })
		if !ok {
			return s
		}
		c = over.NetConn()
	}
}
