package cluster

import (
	"context"
	"net"
	"sync"

	"github.com/weir-proxy/weir/pkg/proxy/http/codec"
	"github.com/weir-proxy/weir/pkg/proxy/streaminfo"
	"github.com/weir-proxy/weir/pkg/proxy/upstream"
	"github.com/weir-proxy/weir/pkg/proxy/upstream/lb"
	"github.com/weir-proxy/weir/pkg/proxy/upstream/pool"
)

// Lease is a connection for a TCP proxy, which must close it.
type Lease struct {
	Conn net.Conn
	Host *upstream.Host
	Info codec.ConnInfo

	cluster *Cluster
	conn    *pool.TCPConn
	origin  streaminfo.Origin
	high    bool
	once    sync.Once
}

// Settled tells that the first work on a connection of TryDial is done: connections that are to be there for the next ones are
// begun now, so that they are not in its way. It does not block, and may be called beside Close. Others are settled when they are
// made.
func (l *Lease) Settled() {
	l.cluster.settled(l.conn, &StreamOptions{HighPriority: l.high, Origin: l.origin})
}

// settled has connections made ahead that the use of one calls for.
func (c *Cluster) settled(conn *pool.TCPConn, opt *StreamOptions) {
	conn.Settled()
	if c.cfg.Preconnect.Predictive > 1 {
		c.preconnect(0, c.tcpAhead(opt))
	}
}

// Close closes the connection and counts it out. It may be called more than once.
func (l *Lease) Close() {
	l.once.Do(func() {
		l.conn.Close()
		l.Host.Stats.RqActive.Add(-1)
		l.cluster.Stats().RqActive.Dec()
		l.cluster.releaseRequest(l.high)
	})
}

// TryDial picks a host and gives a connection to it that was made ahead. It does not block. Without such a connection it gives
// neither lease nor error and Dial, with the same pc, goes on with the host that was picked. The lease must be settled. Errors are
// as of Dial.
func (c *Cluster) TryDial(pc *upstream.PickContext) (*Lease, error) {
	if !c.preconnects() {
		return nil, nil
	}
	h, err := c.picked(pc)
	if err != nil {
		return nil, err
	}
	c.takeRequest(pc.HighPriority)
	opt := streamOptions(pc)
	o := c.tcpOptions(h, &opt, nil)
	conn := h.Conns.(*pool.Host).ReadyTCP(&o)
	if conn == nil {
		c.releaseRequest(pc.HighPriority)
		pc.Picked = h
		return nil, nil
	}
	connected(h, nil)
	return c.lease(h, conn, &opt), nil
}

// Dial picks a host and connects to it, for TCP proxying. Errors are as of Pick and Connect.
func (c *Cluster) Dial(ctx context.Context, pc *upstream.PickContext) (*Lease, error) {
	return c.DialFor(ctx, pc, nil)
}

// DialFor is Dial for a caller who speaks a protocol of its own: TLS offers alpn when the cluster configures no ALPN.
// Servers of gRPC insist on "h2".
func (c *Cluster) DialFor(ctx context.Context, pc *upstream.PickContext, alpn []string) (*Lease, error) {
	h, err := c.picked(pc)
	if err != nil {
		return nil, err
	}
	c.takeRequest(pc.HighPriority)
	opt := streamOptions(pc)
	o := c.tcpOptions(h, &opt, alpn)
	conn, err := h.Conns.(*pool.Host).TCP(ctx, &o)
	connected(h, err)
	if err != nil {
		c.releaseRequest(pc.HighPriority)
		return nil, err
	}
	c.settled(conn, &opt)
	return c.lease(h, conn, &opt), nil
}

// DialHost connects to a host that was picked for a request, for a tunnel of bytes. opt may be nil. Errors are as of Connect.
func (c *Cluster) DialHost(ctx context.Context, h *upstream.Host, opt *StreamOptions) (*Lease, error) {
	conns, ok := h.Conns.(*pool.Host)
	if !ok {
		return nil, &upstream.Error{Kind: upstream.KindNoHost, BeforeResponse: true}
	}
	if opt == nil {
		opt = new(StreamOptions)
	}
	c.takeRequest(opt.HighPriority)
	o := c.tcpOptions(h, opt, nil)
	conn, err := conns.TCP(ctx, &o)
	if err != nil {
		c.releaseRequest(opt.HighPriority)
		return nil, err
	}
	c.settled(conn, opt)
	return c.lease(h, conn, opt), nil
}

// lease counts the use of a connection, for which a place of max_requests was taken.
func (c *Cluster) lease(h *upstream.Host, conn *pool.TCPConn, opt *StreamOptions) *Lease {
	c.Stats().RqTotal.Inc()
	c.Stats().RqActive.Inc()
	h.Stats.RqTotal.Add(1)
	h.Stats.RqActive.Add(1)
	return &Lease{
		Conn: conn.Conn, Host: h, cluster: c, conn: conn, origin: opt.Origin, high: opt.HighPriority,
		Info: codec.ConnInfo{ID: conn.ID, Local: conn.Local, Remote: conn.Remote, TLS: conn.TLS},
	}
}

// picked is the host that TryDial has picked, or else a new one.
func (c *Cluster) picked(pc *upstream.PickContext) (*upstream.Host, error) {
	if h := pc.Picked; h != nil {
		pc.Picked = nil
		return h, nil
	}
	return c.Pick(pc)
}

// preconnects tells whether connections are made ahead.
func (c *Cluster) preconnects() bool {
	return c.cfg.Preconnect.PerHost > 1 || c.cfg.Preconnect.Predictive > 1
}

func streamOptions(pc *upstream.PickContext) StreamOptions {
	return StreamOptions{HighPriority: pc.HighPriority, Origin: pc.Origin}
}

func (c *Cluster) tcpOptions(h *upstream.Host, opt *StreamOptions, alpn []string) pool.TCPOptions {
	o := pool.TCPOptions{SNI: c.serverName(h, opt.SNI), ALPN: alpn, HighPriority: opt.HighPriority, Origin: opt.Origin}
	if c.preconnects() {
		if o.Preconnect = 1; lb.Healthy(h) {
			o.Preconnect = max(1, c.cfg.Preconnect.PerHost)
		}
	}
	return o
}
