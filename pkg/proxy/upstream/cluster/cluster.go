package cluster

import (
	"context"
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/http/codec"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
	"github.com/weir-proxy/weir/pkg/proxy/streaminfo"
	"github.com/weir-proxy/weir/pkg/proxy/upstream"
	"github.com/weir-proxy/weir/pkg/proxy/upstream/dns"
	"github.com/weir-proxy/weir/pkg/proxy/upstream/lb"
	"github.com/weir-proxy/weir/pkg/proxy/upstream/metrics"
	"github.com/weir-proxy/weir/pkg/proxy/upstream/pool"
)

// Stats are the statistics of a cluster.
type Stats = metrics.Cluster

// StreamOptions choose the connection of an exchange.
type StreamOptions struct {
	// SNI overrides the configured server name when not empty (auto_sni: the request's host).
	SNI string
	// HighPriority counts against the circuit breakers of the high priority.
	HighPriority bool
	// Origin is from where the connection is made.
	Origin streaminfo.Origin
}

// Cluster is one cluster of the configuration at work. It stays usable by whoever holds it after it was replaced or
// removed.
type Cluster struct {
	manager *Manager
	cfg     *model.Cluster
	core    *core
	// set is nil while the cluster sleeps; see hostSet.
	set atomic.Pointer[lb.Set]
	// ready is closed once hosts are known, or known not to be.
	ready     chan struct{}
	readyOnce sync.Once
	// known tells that names were resolved, unchecked that some host waits for its first health check, and stale that a
	// check's finding is not in the set yet.
	known, unchecked, stale atomic.Bool
	// inherited is what a predecessor's checks found, by name of the host; nil without.
	inherited map[string]upstream.HealthFlags
	// original serves ORIGINAL_DST clusters, nil for others.
	original *originalDst
	// watch resolves the names of DNS clusters, nil for others.
	watch *dns.Watch

	// attached is what Attach made.
	attached atomic.Pointer[any]
	detached atomic.Bool

	// current is assigned, for readers.
	current atomic.Pointer[model.LoadAssignment]

	mu        sync.Mutex
	assigned  *model.LoadAssignment
	counted   *model.LoadAssignment // while the cluster sleeps: what its statistics tell of
	endpoints map[endpointKey]*endpoint
	round     uint64                  // counts rebuilds
	places    []*model.Locality       // what hosts name, by locality of the assignment
	resolved  map[string][]netip.Addr // what DNS last said, by name
	closed    bool
	// held tells that the hosts are still those of the predecessor, since names of this one were never looked up yet.
	// released retires the predecessor's afterwards.
	held     bool
	released func()
}

// Config is the configuration of the cluster.
func (c *Cluster) Config() *model.Cluster { return c.cfg }

// Stats are the statistics of the cluster.
func (c *Cluster) Stats() *Stats { return c.core.shared.Stats }

// Hosts are the present hosts; the slice must not be changed.
func (c *Cluster) Hosts() []*upstream.Host {
	if c.original != nil {
		return c.original.hosts()
	}
	return c.hostSet().Hosts()
}

// WantsHash tells whether Pick looks at PickContext.Hash: the balancer is a consistent one (RING_HASH, MAGLEV).
func (c *Cluster) WantsHash() bool { return c.cfg.LB == model.LBRingHash || c.cfg.LB == model.LBMaglev }

// Pick chooses a host. The error is an *upstream.Error: KindNoHost, or KindSelf when the original destination is weir.
// It does not allocate, except for a new original destination and for the first one who asks for a host of the cluster.
func (c *Cluster) Pick(pc *upstream.PickContext) (*upstream.Host, error) {
	if c.original != nil {
		return c.original.pick(pc)
	}
	h, panicked := c.hostSet().Pick(pc)
	if panicked {
		c.Stats().LBHealthyPanic.Inc()
	}
	if h == nil {
		c.Stats().CxNoneHealthy.Inc()
		return nil, &upstream.Error{Kind: upstream.KindNoHost, BeforeResponse: true}
	}
	return h, nil
}

// Reuse starts an exchange on an open connection to h, nil when there is none that can take it or max_requests is reached,
// which Connect then says. v is the version of the
// downstream request; opt may be nil. It counts upstream_rq_total and the host's requests, which end with the stream's
// Close. It does not allocate for HTTP/1.
func (c *Cluster) Reuse(h *upstream.Host, v message.Version, opt *StreamOptions) codec.ClientStream {
	conns, ok := h.Conns.(*pool.Host)
	if !ok {
		return nil
	}
	o := c.poolOptions(h, v, opt)
	st := conns.Reuse(&o)
	if st != nil && c.cfg.Preconnect.Predictive > 1 {
		c.preconnect(0, c.streamAhead(v, opt))
	}
	return st
}

// Connect starts an exchange on a new connection to h, or on the first that becomes free. Errors are *upstream.Error:
// KindConnect with the transport failure reason, KindConnectTimeout, KindOverflow, KindSelf, KindNoHost when there may be
// no more pools of connections, or KindAborted when ctx ended.
func (c *Cluster) Connect(ctx context.Context, h *upstream.Host, v message.Version, opt *StreamOptions) (codec.ClientStream, error) {
	conns, ok := h.Conns.(*pool.Host)
	if !ok {
		return nil, &upstream.Error{Kind: upstream.KindNoHost, BeforeResponse: true}
	}
	o := c.poolOptions(h, v, opt)
	if c.cfg.Preconnect.Predictive > 1 {
		c.preconnect(1, c.streamAhead(v, opt))
	}
	return conns.Connect(ctx, &o)
}

func (c *Cluster) poolOptions(h *upstream.Host, v message.Version, opt *StreamOptions) pool.Options {
	o := pool.Options{Version: v}
	if opt != nil {
		o.SNI, o.HighPriority, o.Origin = opt.SNI, opt.HighPriority, opt.Origin
	}
	o.SNI = c.serverName(h, o.SNI)
	if c.cfg.Preconnect.PerHost > 1 && lb.Healthy(h) {
		o.Preconnect = c.cfg.Preconnect.PerHost
	}
	return o
}

// serverName is the server name that differs from the configured one, "" when none does.
func (c *Cluster) serverName(h *upstream.Host, fromRequest string) string {
	t := c.core.transports.of(h.Endpoint)
	switch {
	case t == nil:
		return ""
	case t.AutoHostSNI && h.Hostname != "":
		return h.Hostname
	case t.AutoSNI:
		return fromRequest
	}
	return ""
}

// DropOverload draws whether a request is to be dropped because the control plane said so (drop_overloads); category is
// the reason that it gave. A dropped request is counted as upstream_rq_drop_overload.
func (c *Cluster) DropOverload() (category string, drop bool) {
	a := c.current.Load()
	if a == nil || len(a.DropOverloads) == 0 {
		return "", false
	}
	most := 100.0
	if n, ok := c.manager.opt.Runtime.Number(model.RuntimeDropLimit); ok {
		most = float64(n)
	}
	for _, d := range a.DropOverloads {
		if c.manager.percent() < min(d.Percent, most) {
			c.Stats().RqDropOverload.Inc()
			c.core.drops.count(d.Category)
			return d.Category, true
		}
	}
	return "", false
}
