package cluster

import (
	"context"
	"net"
	"net/netip"
	"reflect"
	"time"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/streaminfo"
	tlsctx "github.com/weir-proxy/weir/pkg/proxy/tls"
	"github.com/weir-proxy/weir/pkg/proxy/upstream"
	"github.com/weir-proxy/weir/pkg/proxy/upstream/health"
)

// HealthEvent is an entry of a health check event log.
type HealthEvent struct {
	health.Event
	// Log is the path of the log.
	Log     string
	Cluster string
	Host    *upstream.Host
}

// checks are the active health checks of an endpoint. Cluster.mu guards them, but for flags.
type checks struct {
	// of and how are what the checkers were started for: others are started when they change.
	of       []*model.HealthCheck
	how      *model.EndpointHealthCheck
	hostname string
	running  []*health.Checker
	// initial is what is thought of the endpoint before it was checked.
	initial upstream.HealthFlags
}

// flags is what all checks together say of the endpoint: each must be passed.
func (k *checks) flags() upstream.HealthFlags {
	if len(k.running) == 0 {
		return 0
	}
	var all upstream.HealthFlags
	for _, c := range k.running {
		all |= c.Flags()
	}
	return all
}

// since is when the endpoint last came to pass a check; nil when it did not since the checks began.
func (k *checks) since() *time.Time {
	var last *time.Time
	for _, c := range k.running {
		if at := c.Since(); last == nil || at != nil && at.After(*last) {
			last = at
		}
	}
	return last
}

// slowSince is when slow start began for an endpoint that was shown as was, nil for none, and is shown as h now: when it was first
// healthy, or last came to pass its checks.
func slowSince(was, h *upstream.Host, k *checks) *time.Time {
	var since *time.Time
	if was != nil {
		since = was.Since
	}
	if passed := k.since(); passed != nil && (since == nil || passed.After(*since)) {
		return passed
	}
	if since == nil && h.Healthy() {
		now := time.Now()
		return &now
	}
	return since
}

// stop ends the checks.
func (k *checks) stop() {
	for _, c := range k.running {
		c.Close()
	}
}

// fail takes the endpoint out until it passes again; nil without checks.
func (k *checks) fail() func() {
	if len(k.running) == 0 {
		return nil
	}
	return k.running[0].Fail
}

// check has a host checked as its cluster and its endpoint say now. Checks that are already so go on. The caller holds mu.
func (c *Cluster) check(e *endpoint, h *upstream.Host, tls *model.UpstreamTLS) {
	how := h.Endpoint.HealthCheck
	wanted := c.cfg.HealthChecks
	if how != nil && how.Disabled {
		wanted = nil
	}
	k := &e.checks
	if len(wanted) == 0 && len(k.running) == 0 {
		return
	}
	if len(k.running) > 0 && k.hostname == h.Hostname && reflect.DeepEqual(k.of, wanted) && reflect.DeepEqual(k.how, how) {
		return
	}
	initial := k.initial
	if len(k.running) > 0 {
		initial = k.flags() // better than nothing until the new checks have an opinion
		k.stop()
	}
	k.of, k.how, k.hostname, k.running = wanted, how, h.Hostname, nil
	for _, check := range wanted {
		k.running = append(k.running, c.startCheck(e, h, check, initial, tls))
	}
}

func (c *Cluster) startCheck(e *endpoint, h *upstream.Host, check *model.HealthCheck, initial upstream.HealthFlags, tls *model.UpstreamTLS) *health.Checker {
	m := c.manager
	if check.SocketMatch != nil {
		tls = c.core.transports.matching(check.SocketMatch)
	}
	t := health.Target{Name: h.Name(), Cluster: c.cfg.Name, Secure: tls != nil, Dial: c.checkDial(e, h, check, tls)}
	if how := h.Endpoint.HealthCheck; how != nil {
		t.Hostname = how.Hostname
	}
	if t.Hostname == "" && (check.HTTP == nil || check.HTTP.Host == "") && (check.GRPC == nil || check.GRPC.Authority == "") {
		t.Hostname = h.Endpoint.Hostname
	}
	o := health.Options{
		Check: check, Target: t, Stats: c.core.healthStats(), Initial: initial, GRPC: m.opt.HealthGRPC, Log: m.opt.Log, Runtime: m.opt.Runtime,
		Traffic: func() bool { return c.Stats().CxTotal.Value() > 0 },
		Changed: func() { e.owner.Load().healthChanged(e) },
		Passed:  e.passed,
	}
	if check.EventLog != "" && m.opt.HealthEvent != nil {
		name := c.cfg.Name
		o.Event = func(ev health.Event) {
			m.opt.HealthEvent(HealthEvent{Event: ev, Log: check.EventLog, Cluster: name, Host: h})
		}
	}
	return health.Start(&m.checks, o)
}

// checkDial makes the connections of a check, which go where the endpoint says, over the transport socket of its traffic or
// of the check.
func (c *Cluster) checkDial(e *endpoint, h *upstream.Host, check *model.HealthCheck, tls *model.UpstreamTLS) func(context.Context, []string) (net.Conn, error) {
	t, sni := c.core.transports, c.serverName(h, "")
	how := h.Endpoint.HealthCheck
	return func(ctx context.Context, alpn []string) (net.Conn, error) {
		to := *e.current.Load()
		if how != nil {
			to = elsewhere(to, how)
		}
		conn, err := t.dial(ctx, streaminfo.Origin{}, &to)
		if err != nil {
			return nil, err
		}
		if tls == nil {
			return conn, nil
		}
		opts := tlsctx.HandshakeOptions{ServerName: sni}
		switch {
		case len(check.ALPN) > 0:
			opts.ALPN = check.ALPN
		case len(tls.ALPN) == 0:
			opts.ALPN = alpn
		}
		secured, err := t.clients[tls].Handshake(ctx, conn, opts)
		if err != nil {
			_ = conn.Close()
			return nil, err
		}
		return secured, nil
	}
}

// elsewhere is where an endpoint wants to be checked.
func elsewhere(to target, how *model.EndpointHealthCheck) target {
	switch {
	case how.Address.IsValid():
		return target{addr: how.Address}
	case how.Port != 0 && to.pipe == "":
		moved := target{addr: netip.AddrPortFrom(to.addr.Addr(), how.Port)}
		for _, o := range to.others {
			moved.others = append(moved.others, netip.AddrPortFrom(o.Addr(), how.Port))
		}
		return moved
	}
	return to
}

// healthChanged makes the hosts anew after what a check found of e.
func (c *Cluster) healthChanged(e *endpoint) {
	c.stale.Store(true)
	c.mu.Lock()
	if c.closed || c.held || !c.stale.Swap(false) { // or else another change has taken this one along
		c.mu.Unlock()
		c.tryReady()
		return
	}
	removed := c.update()
	failed := e.checks.flags()&upstream.FailedActiveHC != 0
	c.mu.Unlock()
	if c.cfg.CloseOnUnhealthy && failed {
		e.conns.Drain()
	}
	retire(removed)
	c.tryReady()
}

// stays tells whether an endpoint that the control plane no longer names serves on: as in Envoy, while it passes its checks.
func (c *Cluster) stays(e *endpoint) bool {
	return len(e.checks.running) > 0 && e.host != nil && !c.cfg.IgnoreHealthOnRemoval &&
		(c.cfg.Type == model.ClusterEDS || c.cfg.Type == model.ClusterStrictDNS) && e.flags()&(upstream.FailedActiveHC|upstream.FailedOutlierCheck) == 0
}

// inherit notes what the checks of a predecessor found, for endpoints that are made anew: a cluster that connects in another
// way now does not start without a host.
func (c *Cluster) inherit(was *Cluster) {
	if len(c.cfg.HealthChecks) == 0 || was.original != nil {
		return
	}
	c.inherited = make(map[string]upstream.HealthFlags)
	for _, h := range was.Hosts() {
		c.inherited[h.Name()] = h.Flags &^ (upstream.PendingDynamicRemoval | upstream.FailedOutlierCheck)
	}
}
