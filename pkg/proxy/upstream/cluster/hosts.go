package cluster

import (
	"net/netip"
	"slices"
	"sync/atomic"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/upstream"
	"github.com/weir-proxy/weir/pkg/proxy/upstream/lb"
	"github.com/weir-proxy/weir/pkg/proxy/upstream/outlier"
	"github.com/weir-proxy/weir/pkg/proxy/upstream/pool"
)

// endpointKey tells apart what needs connections of its own.
type endpointKey struct {
	addr netip.AddrPort
	pipe string
	tls  *model.UpstreamTLS
	// logical is set for the one host of a LOGICAL_DNS cluster, whose address may change under its connections.
	logical bool
}

// endpoint is what survives as long as an address stays in a cluster: connections and counters.
type endpoint struct {
	stats upstream.HostStats
	conns *pool.Host
	// current is where new connections go.
	current atomic.Pointer[target]
	// checks are its active health checks, owner is the cluster that they tell, host how it was last shown to the balancer.
	checks checks
	owner  atomic.Pointer[Cluster]
	host   *upstream.Host
	// outlier is what outlier detection knows of it; nil without.
	outlier atomic.Pointer[outlier.Host]
	// round is the last one of its cluster's rebuilds in which it was one of the endpoints.
	round uint64
}

func (c *Cluster) newEndpoint(key endpointKey, to target) *endpoint {
	e := &endpoint{checks: checks{initial: upstream.FailedActiveHC | upstream.PendingActiveHC}}
	if len(c.inherited) > 0 {
		if flags, ok := c.inherited[to.name()]; ok {
			e.checks.initial = flags
		}
	}
	first := to
	e.current.Store(&first)
	e.conns = pool.NewHost(c.core.shared, c.core.transports.transport(key.tls, e.current.Load), &c.core.http, &e.stats)
	return e
}

// aim makes new connections go to another place, unless it is the same: most endpoints stay where they are when others change.
func (e *endpoint) aim(to target) {
	if now := e.current.Load(); now.addr != to.addr || now.pipe != to.pipe || !slices.Equal(now.others, to.others) {
		next := to // so that only what is stored is allocated
		e.current.Store(&next)
	}
}

// setAssignment makes a the endpoints of the cluster, unless they are already.
func (c *Cluster) setAssignment(a *model.LoadAssignment) {
	c.mu.Lock()
	if c.assigned == a || c.closed {
		c.mu.Unlock()
		return
	}
	c.assigned = a
	removed := c.update()
	c.mu.Unlock()
	retire(removed)
}

// retire lets the connections of removed endpoints end.
func retire(removed []*endpoint) {
	for _, e := range removed {
		e.checks.stop()
		e.unwatch()
		e.conns.Retire()
	}
}

// update is rebuild of a cluster that is in place already. The caller holds mu.
func (c *Cluster) update() (removed []*endpoint) {
	c.manager.updated.Inc()
	return c.rebuild()
}

// rebuild makes the host set anew from the assignment and what DNS said, and returns the endpoints that are no longer
// part of it. Endpoints of equal address are kept, with their connections, and hosts of which nothing is new. The caller
// holds mu.
func (c *Cluster) rebuild() (removed []*endpoint) {
	c.current.Store(c.assigned)
	if c.asleep() {
		if c.recount() {
			c.manager.opt.Changed(c.cfg.Name)
			return nil
		}
		if c.counted != nil {
			c.makeHosts(c.counted, true)
		}
	}
	before := len(c.endpoints)
	set, removed := c.makeHosts(c.assigned, false)
	changed := len(removed) > 0 || len(c.endpoints) != before
	c.manager.opt.Changed(c.cfg.Name)
	c.publishMembership(membershipOf(set), changed)
	c.publishShape(set)
	c.unchecked.Store(set.Unchecked())
	if changed && c.cfg.CloseOnHostChange {
		for _, e := range c.endpoints {
			e.conns.Drain()
		}
	}
	return removed
}

// makeHosts makes the hosts of an assignment, and returns the endpoints that are no longer part of it. known tells that statistics
// have the hosts already. The caller holds mu.
func (c *Cluster) makeHosts(a *model.LoadAssignment, known bool) (set *lb.Set, removed []*endpoint) {
	if c.endpoints == nil {
		c.endpoints = make(map[endpointKey]*endpoint)
	}
	c.round++
	// There are mostly as many hosts as before.
	b := hostBuilder{cluster: c, known: known, hosts: make([]*upstream.Host, 0, len(c.endpoints)+1)}
	if a != nil {
		for i, l := range a.Localities {
			place := c.place(i, l)
			for _, e := range l.Endpoints {
				b.add(place, e)
			}
		}
	}
	removed = b.sweep()
	set = lb.New(b.hosts, c.lbOptions())
	c.set.Store(set)
	c.counted = nil
	return set, removed
}

// place is the locality that hosts name in place of the i-th of the assignment. It knows no endpoints and is the same as before
// unless it changes itself, and so are its hosts. The caller holds mu.
func (c *Cluster) place(i int, l *model.Locality) *model.Locality {
	if i < len(c.places) {
		was := c.places[i]
		if was.Region == l.Region && was.Zone == l.Zone && was.SubZone == l.SubZone && was.Priority == l.Priority && was.Weight == l.Weight {
			return was
		}
	} else {
		c.places = append(c.places, nil)
	}
	c.places[i] = &model.Locality{Region: l.Region, Zone: l.Zone, SubZone: l.SubZone, Priority: l.Priority, Weight: l.Weight}
	return c.places[i]
}

func (c *Cluster) lbOptions() lb.Options {
	o := lb.Options{
		Policy: c.cfg.LB, LeastRequest: c.leastRequest(), SlowStart: c.cfg.SlowStart, Aggression: c.aggression(), Hash: c.cfg.HashLB, PanicThreshold: c.panicThreshold(),
		FailOnPanic: c.cfg.FailOnPanic, IgnoreNew: c.cfg.IgnoreNewHosts, LocalityWeighted: c.cfg.LocalityWeighted,
		Active: c.Stats().RqActive.Value, Rand: c.manager.opt.Rand,
	}
	if c.assigned != nil {
		o.Overprovisioning = c.assigned.OverprovisioningFactor
	}
	return o
}

func (c *Cluster) publishMembership(m membership, changed bool) {
	s := c.Stats()
	if changed {
		s.MembershipChange.Inc()
	}
	s.MembershipTotal.Set(uint64(m.total))
	s.MembershipHealthy.Set(uint64(m.healthy))
	s.MembershipDegraded.Set(uint64(m.degraded))
	s.MembershipExcluded.Set(uint64(m.excluded))
	s.MaxHostWeight.Set(uint64(m.weight))
	if len(c.cfg.HealthChecks) > 0 {
		k := c.core.healthGauges()
		k.healthy.Set(uint64(m.healthy))
		k.degraded.Set(uint64(m.degraded))
	}
}

// publishShape tells of the table of a consistent balancer.
func (c *Cluster) publishShape(set *lb.Set) {
	shape := set.Shape()
	switch scope := c.Stats().Scope(); c.cfg.LB {
	case model.LBRingHash:
		scope.Gauge("ring_hash_lb.size").Set(uint64(shape.Size))
		scope.Gauge("ring_hash_lb.min_hashes_per_host").Set(uint64(shape.Least))
		scope.Gauge("ring_hash_lb.max_hashes_per_host").Set(uint64(shape.Most))
	case model.LBMaglev:
		scope.Gauge("maglev_lb.min_entries_per_host").Set(uint64(shape.Least))
		scope.Gauge("maglev_lb.max_entries_per_host").Set(uint64(shape.Most))
	}
}

// hostBuilder collects the hosts of a cluster.
type hostBuilder struct {
	cluster *Cluster
	known   bool
	hosts   []*upstream.Host
}

// sweep takes out of the cluster the endpoints that were not added in this round, but for those that serve on.
func (b *hostBuilder) sweep() (removed []*endpoint) {
	c := b.cluster
	for key, e := range c.endpoints {
		switch {
		case e.round == c.round:
		case c.stays(e):
			h := *e.host
			h.Flags = e.flags() | upstream.PendingDynamicRemoval
			h.Stats.Current.Store(&h)
			e.round, b.hosts = c.round, append(b.hosts, &h)
		default:
			removed = append(removed, e)
			delete(c.endpoints, key)
		}
	}
	return removed
}

// add adds the hosts that an endpoint stands for: one, or one per address of its name.
func (b *hostBuilder) add(l *model.Locality, e *model.Endpoint) {
	c := b.cluster
	switch {
	case e.Pipe != "" || e.Address.IsValid():
		b.addAddress(l, e, endpointKey{addr: e.Address, pipe: e.Pipe}, e.Hostname)
	case c.cfg.Type == model.ClusterLogicalDNS:
		if found := c.resolved[e.Host]; len(found) > 0 && len(b.hosts) == 0 {
			b.addLogical(l, e, found)
		}
	default:
		for _, addr := range c.resolved[e.Host] {
			b.addAddress(l, e, endpointKey{addr: netip.AddrPortFrom(addr, e.Port)}, hostname(e))
		}
	}
}

// addLogical adds the one host of a LOGICAL_DNS cluster. With all families its addresses are tried one after the other.
func (b *hostBuilder) addLogical(l *model.Locality, e *model.Endpoint, found []netip.Addr) {
	b.addAddress(l, e, endpointKey{addr: netip.AddrPortFrom(found[0], e.Port), logical: true}, hostname(e))
	if b.cluster.cfg.DNS.Family != model.DNSAll || len(found) == 1 {
		return
	}
	for _, point := range b.cluster.endpoints {
		if point.round != b.cluster.round {
			continue
		}
		to := *point.current.Load()
		for _, addr := range found[1:] {
			to.others = append(to.others, netip.AddrPortFrom(addr.Unmap(), e.Port))
		}
		point.current.Store(&to)
	}
}

// hostname is the configured name, or else the one that is resolved.
func hostname(e *model.Endpoint) string {
	if e.Hostname != "" {
		return e.Hostname
	}
	return e.Host
}

func (b *hostBuilder) addAddress(l *model.Locality, e *model.Endpoint, key endpointKey, hostname string) {
	c := b.cluster
	addr := netip.AddrPortFrom(key.addr.Addr().Unmap(), key.addr.Port())
	if key.addr = addr; key.logical {
		key.addr = netip.AddrPort{}
	}
	key.tls = c.core.transports.of(e)
	to := target{addr: addr, others: e.AdditionalAddresses, pipe: key.pipe}
	point := c.endpoints[key]
	if point != nil && point.round == c.round && c.cfg.Type != model.ClusterStatic {
		return // as in Envoy, one address is one host, however often it was discovered
	}
	if point == nil {
		point = c.newEndpoint(key, to)
		if !b.known {
			c.core.transports.count(e)
		}
		c.endpoints[key] = point
	}
	point.round = c.round
	point.aim(to)
	point.owner.Store(c)
	c.judge(point)
	if key.pipe != "" {
		addr = netip.AddrPort{}
	}
	if !c.upToDate(point, l, e, hostname, addr) {
		c.show(point, &upstream.Host{
			Address: addr, Pipe: key.pipe, Hostname: hostname, Endpoint: e, Locality: l, Weight: max(1, e.Weight), Priority: l.Priority,
			Health: e.Health, Stats: &point.stats, Conns: point.conns,
		}, key.tls)
	}
	b.hosts = append(b.hosts, point.host)
}

// upToDate tells whether the host that an endpoint was last shown as needs no other in its place. What is checked always does.
func (c *Cluster) upToDate(point *endpoint, l *model.Locality, e *model.Endpoint, hostname string, addr netip.AddrPort) bool {
	h := point.host
	return h != nil && h.Endpoint == e && h.Locality == l && h.Hostname == hostname && h.Address == addr &&
		h.Outlier == point.outlier.Load() && (h.Flags&upstream.FailedOutlierCheck != 0) == h.Outlier.Ejected() &&
		(c.cfg.SlowStart.Window == 0 || h.Since != nil || !h.Healthy()) &&
		len(c.cfg.HealthChecks) == 0 && h.FailHealthCheck == nil && len(point.checks.running) == 0 && h.Stats.Current.Load() == h
}

// show makes h the host that an endpoint is shown as, with what its checks say.
func (c *Cluster) show(point *endpoint, h *upstream.Host, tls *model.UpstreamTLS) {
	was := point.host
	point.host = h
	c.check(point, h, tls)
	h.Flags, h.FailHealthCheck, h.Outlier = point.flags(), point.checks.fail(), point.outlier.Load()
	if c.cfg.SlowStart.Window > 0 {
		h.Since = slowSince(was, h, &point.checks)
	}
	h.Stats.Current.Store(h)
}
