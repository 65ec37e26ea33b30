// Package pool keeps the connections to upstream hosts: HTTP/1 connections in last-in-first-out idle lists, HTTP/2
// connections shared by streams, one pool per server name, protocol and priority of a host; and TCP connections that are used as
// they are, of which some are made ahead where the configuration says so.
//
// It owns connections from the dial to their end, and their statistics. It must not know clusters, balancing or how a
// connection is made: Transport and Codecs are given to it. Locking: each Pool has a mutex that is held for list
// operations only, never while the network or a codec works; lists of pools are copied on write and read without a lock.
package pool

import (
	"context"
	"crypto/tls"
	"math"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/http/codec"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
	"github.com/weir-proxy/weir/pkg/proxy/streaminfo"
	"github.com/weir-proxy/weir/pkg/proxy/upstream"
	"github.com/weir-proxy/weir/pkg/proxy/upstream/breaker"
	"github.com/weir-proxy/weir/pkg/proxy/upstream/metrics"
)

// Limits of connections, which may change while they live.
type Limits struct {
	// ConnectTimeout bounds making a connection, the TLS handshake included.
	ConnectTimeout time.Duration
	// IdleTimeout closes a connection without requests; 0 never.
	IdleTimeout time.Duration
	// MaxDuration closes a connection of that age once it has no requests; 0 never.
	MaxDuration time.Duration
	// MaxRequests closes a connection after so many; 0 never.
	MaxRequests int
	// TCPIdleTimeout closes a connection that was made ahead and that nobody has used as it is; 0 never.
	TCPIdleTimeout time.Duration
	// PerHost bounds the connections of each host by priority: [0] default, [1] high; 0 does not.
	PerHost [2]uint32

	// preciseIdle has the time noted when a connection falls idle. Otherwise the next sweep does, which spares each request
	// a look at the clock and makes the timeout late by up to a sweep.
	preciseIdle bool
}

// Shared is what all connections of a cluster have in common.
type Shared struct {
	Runtime *Runtime
	// Codecs speak HTTP with the hosts, and count below the cluster's scope.
	Codecs Codecs
	Stats  *metrics.Cluster
	// Connections, Pending, Pools and Requests bound what their names say by priority: [0] default, [1] high. Requests are
	// those that have a connection; those that wait for one are Pending.
	Connections, Pending, Pools, Requests [2]*breaker.Breaker

	limits atomic.Pointer[Limits]
}

// SetLimits changes the limits of present and future connections; it must be called before the first use.
func (s *Shared) SetLimits(l Limits) {
	for i, n := range l.PerHost {
		if n == 0 {
			l.PerHost[i] = math.MaxUint32
		}
	}
	l.preciseIdle = l.IdleTimeout > 0 && l.IdleTimeout < 20*sweepInterval
	s.limits.Store(&l)
}

// Client1 is an HTTP/1 client connection.
type Client1 interface {
	// NewStream starts an exchange; there is at most one at a time.
	NewStream() (codec.ClientStream, error)
	// Usable tells, without blocking, that the connection is idle and open. It is never called beside NewStream.
	Usable() bool
	Close() error
}

// Client2 is an HTTP/2 client connection.
type Client2 interface {
	NewStream() (codec.ClientStream, error)
	// CanTake tells that the peer lets one more stream start.
	CanTake() bool
	Close() error
}

// Codecs make client connections of sockets.
type Codecs interface {
	// HTTP1 speaks HTTP/1 on c. released is called when an exchange is over, with what it left of c.
	HTTP1(c net.Conn, info codec.ConnInfo, o *model.UpstreamHTTP, released func(left codec.Fate)) Client1
	// HTTP2 speaks HTTP/2 on c. released is called when a stream is over, without locks that CanTake wants; gone once when
	// the connection has ended, whatever locks the codec may hold.
	HTTP2(c net.Conn, info codec.ConnInfo, o *model.UpstreamHTTP, released, gone func()) (Client2, error)
}

// Raw is a connection that is ready for its application protocol.
type Raw struct {
	Conn          net.Conn
	Local, Remote netip.AddrPort
	TLS           *tls.ConnectionState
	Socket        Socket
	// HungUp tells, without blocking, whether the peer has ended its direction, even behind unread bytes. It is nil when
	// unread bytes of an idle connection cannot be in order, and then they are what Usable looks for.
	HungUp func() bool
}

// Socket is the connection below TLS.
type Socket interface {
	// RxBytes and TxBytes count what moved so far.
	RxBytes() uint64
	TxBytes() uint64
	// PeerClosed tells, without blocking, whether the peer has ended the connection.
	PeerClosed() bool
	// HungUp tells, without a system call, whether the peer has ended its direction, even behind unread bytes.
	HungUp() bool
}

// Transport makes a connection to one host. sni overrides the configured server name when not empty; fallback is offered
// by ALPN when none is configured. Errors are *upstream.Error.
type Transport func(ctx context.Context, from streaminfo.Origin, sni string, fallback []string) (Raw, error)

// Host holds the connections to one host address.
type Host struct {
	shared    *Shared
	transport Transport
	http      *model.UpstreamHTTP
	stats     *upstream.HostStats

	pools atomic.Pointer[[]*Pool] // nil before the first, as most hosts of a large configuration never have one; see list
	// bare are the pools of connections that are used as they are; nil before the first.
	bare atomic.Pointer[[]*tcpPool]

	mu      sync.Mutex // guards changes of pools, bare and retired
	retired bool
	// watchers wait for the host to be retired.
	watchers map[*watcher]struct{}
}

// NewHost makes the holder of the connections that transport makes. The options are shared by hosts and must not change.
func NewHost(shared *Shared, transport Transport, http *model.UpstreamHTTP, stats *upstream.HostStats) *Host {
	return &Host{shared: shared, transport: transport, http: http, stats: stats}
}

// list is the pools that there are.
func (h *Host) list() []*Pool {
	if pools := h.pools.Load(); pools != nil {
		return *pools
	}
	return nil
}

// Options choose among the pools of a host.
type Options struct {
	// SNI overrides the configured server name when not empty. It need not outlive the call.
	SNI string
	// Version of the downstream request, for UpstreamDownstream.
	Version      message.Version
	HighPriority bool
	// Origin is from where connections are made.
	Origin streaminfo.Origin
	// Preconnect is how many connections there should be for each request, those under way included, so that coming ones
	// find one; at most 1 makes none ahead.
	Preconnect float64
}

// key tells the pools of a host apart.
type key struct {
	sni      string
	protocol protocol
	priority int
	origin   streaminfo.Origin
}

// protocol of the connections of a pool.
type protocol uint8

const (
	http1 protocol = iota
	http2
	auto // by ALPN
)

func (h *Host) key(o *Options) key {
	k := key{sni: o.SNI, origin: o.Origin}
	switch h.http.Protocol {
	case model.UpstreamHTTP2:
		k.protocol = http2
	case model.UpstreamAuto:
		k.protocol = auto
	case model.UpstreamDownstream:
		if o.Version >= message.HTTP2 {
			k.protocol = http2
		}
	}
	if o.HighPriority {
		k.priority = 1
	}
	return k
}

// Reuse starts an exchange on a connection that is there; nil when none can take one, or when there may be no more requests,
// which Connect then says.
func (h *Host) Reuse(o *Options) codec.ClientStream {
	if p := h.find(h.key(o)); p != nil {
		s, _ := p.reuse(o.Preconnect)
		return s
	}
	return nil
}

// Connect starts an exchange on a new connection, or on the first one that becomes free. Errors are *upstream.Error.
func (h *Host) Connect(ctx context.Context, o *Options) (codec.ClientStream, error) {
	p := h.pool(h.key(o))
	if p == nil {
		return nil, &upstream.Error{Kind: upstream.KindNoHost, BeforeResponse: true}
	}
	return p.connect(ctx, o.Preconnect)
}

// Preconnect starts making a connection when a request that comes soon would leave fewer than ratio connections for each.
// It tells whether it did.
func (h *Host) Preconnect(o *Options, ratio float64) bool {
	p := h.pool(h.key(o))
	if p == nil {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.retired && p.wants(p.room(), ratio, 1) && p.dialOne()
}

func (h *Host) find(k key) *Pool {
	for _, p := range h.list() {
		if p.key == k {
			return p
		}
	}
	return nil
}

// pool finds or makes the pool of a key; nil when there may be no more of them and none can make room.
func (h *Host) pool(k key) *Pool {
	if p := h.find(k); p != nil {
		return p
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if p := h.find(k); p != nil {
		return p
	}
	limit := h.shared.Pools[k.priority]
	for !limit.Try() {
		if !h.freeOne(k.priority) {
			h.shared.Stats.CxPoolOverflow.Inc()
			return nil
		}
	}
	k.sni = strings.Clone(k.sni) // it may be part of a request, whose memory is used again
	p := newPool(h, k)
	p.retired = h.retired
	if h.shared.Runtime.settle(p, k.origin.Namespace) {
		p.retired = true
	}
	pools := append(slices.Clone(h.list()), p)
	h.pools.Store(&pools)
	return p
}

// freeOne gives up a pool of the host that has no requests. The caller holds mu.
func (h *Host) freeOne(priority int) bool {
	for _, p := range h.list() {
		if p.key.priority != priority {
			continue
		}
		if victims, ok := p.giveUp(); ok {
			h.forget(p)
			h.shared.Runtime.Do(func() {
				for _, c := range victims {
					c.close(false, false)
				}
			})
			return true
		}
	}
	return false
}

// drop forgets a pool without connections, so that server names chosen by clients do not pile up.
func (h *Host) drop(p *Pool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.forget(p)
}

// forget takes a pool off the list, unless it is off already. The caller holds mu.
func (h *Host) forget(p *Pool) {
	old := h.list()
	pools := slices.DeleteFunc(slices.Clone(old), func(q *Pool) bool { return q == p })
	if len(pools) < len(old) {
		h.pools.Store(&pools)
		h.shared.Pools[p.key.priority].Release()
		h.shared.Runtime.unsettle(p, p.key.origin.Namespace)
	}
}

// Retire closes connections without requests at once, and the others when their requests are done. The host can still
// be used by whoever picked it before, on connections that are closed afterwards.
func (h *Host) Retire() {
	h.mu.Lock()
	h.retired = true
	pools, bare := h.list(), h.bare.Load()
	h.mu.Unlock()
	for _, p := range pools {
		p.retire()
	}
	if bare != nil {
		for _, p := range *bare {
			p.retire()
		}
	}
	h.leave()
}

// Drain closes the connections that there are like Retire, but the host goes on keeping those that come.
func (h *Host) Drain() {
	for _, p := range h.list() {
		p.drain()
	}
	if bare := h.bare.Load(); bare != nil {
		for _, p := range *bare {
			p.drain()
		}
	}
}
