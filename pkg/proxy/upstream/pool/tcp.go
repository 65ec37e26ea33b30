package pool

import (
	"context"
	"strings"
	"sync/atomic"

	"github.com/weir-proxy/weir/pkg/proxy/streaminfo"
	"github.com/weir-proxy/weir/pkg/proxy/timer"
	"github.com/weir-proxy/weir/pkg/proxy/upstream"
)

// TCPOptions choose a connection that is used as it is.
type TCPOptions struct {
	// SNI overrides the configured server name when not empty. It need not outlive the call.
	SNI string
	// ALPN is offered when none is configured. A connection with it is made for the caller alone, never ahead.
	ALPN         []string
	HighPriority bool
	// Origin is from where the connection is made. Connections that say to the upstream who the client is are made when the
	// client is known, never ahead.
	Origin streaminfo.Origin
	// Preconnect is how many connections there should be for each that is in use, those under way included; 0 when none are
	// made ahead, be it for this reason or another (Host.PreconnectTCP).
	Preconnect float64
}

// priority is the index of the priority in limits and breakers.
func (o *TCPOptions) priority() int {
	if o.HighPriority {
		return 1
	}
	return 0
}

// tcpKey tells apart the connections of a host that cannot stand for each other.
type tcpKey struct {
	sni      string
	priority int
	origin   streaminfo.Origin
}

// TCPConn is a connection that is used as it is, by one user, who must close it by Close instead of closing Raw.Conn.
type TCPConn struct {
	Raw
	ID uint64

	meter   *meter
	tally   timer.Timer // brings the counters of bytes up to date while the connection lives
	pool    *tcpPool    // nil when none are made ahead
	made    int64       // on the wheel's clock; of those made ahead
	settled atomic.Bool // the pool knows of the use
}

// TCP gives a connection that was made ahead, the first to be ready of those that are being made when there are more of them
// than who waits, or else a new one. Errors are *upstream.Error.
func (h *Host) TCP(ctx context.Context, o *TCPOptions) (*TCPConn, error) {
	p := h.tcpPool(o)
	if p != nil {
		if c := p.take(o.Preconnect); c != nil {
			return c, nil
		}
		if c, err := p.await(ctx); c != nil || err != nil {
			return c, err
		}
	}
	return h.dialTCP(ctx, o, p)
}

// ReadyTCP gives a connection that was made ahead; nil when there is none. It neither blocks nor allocates.
func (h *Host) ReadyTCP(o *TCPOptions) *TCPConn {
	if p := h.tcpPool(o); p != nil {
		return p.take(o.Preconnect)
	}
	return nil
}

// PreconnectTCP starts making a connection when one that is wanted soon would leave fewer than ratio connections for each in use.
// It tells whether it did.
func (h *Host) PreconnectTCP(o *TCPOptions, ratio float64) bool {
	p := h.tcpPool(o)
	if p == nil {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.retired && p.wants(ratio, 1) && p.dialOne()
}

// dialTCP makes a connection for the caller, who is one of the users of p, which may be nil.
func (h *Host) dialTCP(ctx context.Context, o *TCPOptions, p *tcpPool) (*TCPConn, error) {
	priority := o.priority()
	if !h.admit(priority) {
		h.shared.Stats.CxOverflow.Inc()
		return nil, &upstream.Error{Kind: upstream.KindOverflow, BeforeResponse: true}
	}
	c := &TCPConn{meter: newMeter(h, priority), pool: p}
	raw, err := dial(ctx, h, o.Origin, o.SNI, o.ALPN, c.meter)
	if err != nil {
		c.meter.end(connectFailure(err).Kind == upstream.KindConnect, false)
		return nil, err
	}
	c.opened(raw)
	if p != nil {
		p.use(o.Preconnect)
	}
	return c, nil
}

// admit takes a place for a connection that is wanted now. One that was only made ahead gives up its place for it.
func (h *Host) admit(priority int) bool {
	s := h.shared
	for {
		full := h.stats.CxActive.Load() >= int64(s.limits.Load().PerHost[priority])
		if !full && s.Connections[priority].Try() {
			return true
		}
		if !s.Runtime.evict(func(c *TCPConn) bool {
			of := c.meter.host
			return c.meter.priority == priority && of.shared == s && (!full || of == h)
		}) {
			return false
		}
	}
}

// Settled tells that the first work on the connection is done. Connections that its use asks for ahead are begun now, so that they
// are not in its way. Close settles what was not before. It does not block, and may be called beside or after Close.
func (c *TCPConn) Settled() {
	if p := c.pool; p != nil && !c.settled.Swap(true) {
		p.mu.Lock()
		p.provision()
		p.mu.Unlock()
	}
}

// Close closes the connection and counts it out. It must be called once.
func (c *TCPConn) Close() {
	if p := c.pool; p != nil {
		c.Settled()
		p.mu.Lock()
		p.active--
		p.mu.Unlock()
	}
	c.end(c.Socket.PeerClosed(), true) // as in Envoy, the connection is a request
}

// opened begins to count the bytes of the connection. Such connections may live for days, so that counting them at the end
// would not do.
func (c *TCPConn) opened(raw Raw) {
	r := c.meter.host.shared.Runtime
	c.Raw, c.ID = raw, r.ids.Add(1)
	c.tally.Init(r.wheel, func() {
		c.meter.bytes(c.Socket)
		c.tally.Arm(sweepInterval)
	})
	c.tally.Arm(sweepInterval)
}

// end closes the connection, which was opened; remote and active as in meter.end.
func (c *TCPConn) end(remote, active bool) {
	_ = c.Conn.Close()
	c.tally.Release()
	c.meter.bytes(c.Socket)
	c.meter.end(remote, active)
}

// tcpPool finds the pool that options mean, and makes it when connections are to be made ahead; nil when there are to be none.
func (h *Host) tcpPool(o *TCPOptions) *tcpPool {
	pools := h.bare.Load()
	if pools == nil && o.Preconnect == 0 || o.ALPN != nil || o.Origin.Inbound || o.Origin.Source.Addr.IsValid() {
		return nil
	}
	k := tcpKey{sni: o.SNI, priority: o.priority(), origin: o.Origin}
	if p := findTCP(pools, k); p != nil || o.Preconnect == 0 {
		return p
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if pools = h.bare.Load(); pools == nil {
		pools = new([]*tcpPool)
	}
	if p := findTCP(pools, k); p != nil {
		return p
	}
	k.sni = strings.Clone(k.sni) // it may be part of a request, whose memory is used again
	p := newTCPPool(h, k)
	p.retired = h.retired
	if h.shared.Runtime.settle(p, k.origin.Namespace) {
		p.retired = true
	}
	next := append((*pools)[:len(*pools):len(*pools)], p)
	h.bare.Store(&next)
	return p
}

func findTCP(pools *[]*tcpPool, k tcpKey) *tcpPool {
	if pools != nil {
		for _, p := range *pools {
			if p.key == k {
				return p
			}
		}
	}
	return nil
}
