package cluster

import (
	"maps"
	"net/netip"
	"slices"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/upstream/dns"
	"github.com/weir-proxy/weir/pkg/proxy/upstream/lb"
)

// build makes the runtime of a cluster's configuration. was is its predecessor or nil; it resolves no more, and its
// connections are the new one's unless those connect in another way. The function has to be called when the new
// cluster is in place. A cluster with names that were never looked up serves from the hosts of its predecessor until
// they have been, as an updated cluster that warms does in Envoy.
func (m *Manager) build(cfg *model.Cluster, was *Cluster, assigned *model.LoadAssignment) (*Cluster, func()) {
	c := &Cluster{
		manager: m, cfg: cfg, assigned: assigned, ready: make(chan struct{}),
	}
	retirePredecessor := func() {}
	switch {
	case was == nil:
		c.core = m.newCore(cfg)
	case sameCore(was.cfg, cfg):
		c.core = was.core
		if !c.asleep() {
			was.hostSet()
		}
		retirePredecessor = was.handOver(c)
	default:
		c.core = m.newCore(cfg)
		was.stop()
		c.inherit(was)
		c.resolved = was.resolved
		retirePredecessor = was.remove
	}
	c.core.configure(cfg, m.opt.Runtime)
	c.watchOutliers()
	var removed []*endpoint
	switch {
	case cfg.Type == model.ClusterOriginalDst:
		c.set.Store(lb.New(nil, lb.Options{}))
		c.original = newOriginalDst(c)
	case was != nil && was.original == nil && !c.knows(c.names()) && len(was.Hosts()) > 0:
		c.hold(was, retirePredecessor)
		retirePredecessor = func() {}
	default:
		c.mu.Lock() // health checks may have an opinion as soon as they run
		removed = c.rebuild()
		c.mu.Unlock()
	}
	c.startResolving()
	return c, func() {
		retire(removed)
		retirePredecessor()
	}
}

// hold serves from the hosts of the predecessor for the time being.
func (c *Cluster) hold(was *Cluster, released func()) {
	c.held, c.released = true, released
	c.set.Store(was.hostSet())
	c.current.Store(was.current.Load())
}

// settle is called when every name was looked up once.
func (c *Cluster) settle() {
	c.mu.Lock()
	var removed []*endpoint
	if c.held && !c.closed {
		removed = c.rebuild()
	}
	released := c.release()
	c.mu.Unlock()
	retire(removed)
	released()
	c.setReady()
}

// release ends the hold and returns what is to be done without the lock. The caller holds mu.
func (c *Cluster) release() func() {
	released := c.released
	c.held, c.released = false, nil
	if released == nil {
		return func() {}
	}
	return released
}

// startResolving starts the DNS watch of the clusters that have one. Those that need none are ready.
func (c *Cluster) startResolving() {
	names := c.names()
	if len(names) == 0 {
		c.setReady()
		return
	}
	if c.knows(names) {
		c.setReady()
	}
	s := c.Stats()
	c.watch = dns.Start(dns.Config{
		Names: names, Family: c.cfg.DNS.Family, Refresh: c.cfg.DNS.RefreshRate, Jitter: c.cfg.DNS.Jitter,
		RespectTTL: c.cfg.DNS.RespectTTL, MinRefresh: c.cfg.DNS.MinRefresh,
		FailureRefresh: c.cfg.DNS.FailureRefresh, FailureMax: c.cfg.DNS.FailureMax,
		Resolver: c.manager.queries.Of(dns.New(&c.cfg.DNS, c.manager.opt.Resolver)), Log: c.manager.opt.Log.With("cluster", c.cfg.Name),
		Stats:  dns.Stats{Attempt: s.UpdateAttempt, Success: s.UpdateSuccess, Failure: s.UpdateFailure, Empty: s.UpdateEmpty},
		Update: c.resolvedName, First: c.settle,
	})
}

// knows tells whether all names have been resolved.
func (c *Cluster) knows(names []string) bool {
	for _, name := range names {
		if _, ok := c.resolved[name]; !ok {
			return false
		}
	}
	return true
}

// names are the distinct DNS names of the endpoints.
func (c *Cluster) names() []string {
	if c.assigned == nil || c.cfg.Type != model.ClusterStrictDNS && c.cfg.Type != model.ClusterLogicalDNS {
		return nil
	}
	names := make(map[string]struct{})
	for _, l := range c.assigned.Localities {
		for _, e := range l.Endpoints {
			if e.Pipe == "" && !e.Address.IsValid() {
				names[e.Host] = struct{}{}
			}
		}
	}
	return slices.Sorted(maps.Keys(names))
}

// setReady notes that the hosts are known.
func (c *Cluster) setReady() {
	c.known.Store(true)
	c.tryReady()
}

// tryReady makes the cluster ready once its hosts are known and each was checked.
func (c *Cluster) tryReady() {
	if c.known.Load() && !c.unchecked.Load() {
		c.readyOnce.Do(func() { close(c.ready) })
	}
}

// resolvedName is called by the DNS watch with the addresses of a name, when they differ from those before.
func (c *Cluster) resolvedName(name string, addrs []netip.Addr) {
	if c.cfg.Type == model.ClusterStrictDNS { // servers rotate their answers, which is no change where all are used
		addrs = slices.SortedFunc(slices.Values(addrs), netip.Addr.Compare)
	}
	c.mu.Lock()
	if slices.Equal(c.resolved[name], addrs) {
		c.mu.Unlock()
		c.Stats().UpdateNoRebuild.Inc()
		return
	}
	if c.resolved == nil {
		c.resolved = make(map[string][]netip.Addr)
	}
	c.resolved[name] = addrs
	if c.held {
		c.mu.Unlock()
		return
	}
	removed := c.update()
	c.mu.Unlock()
	retire(removed)
}

// handOver stops the cluster and gives its endpoints to its successor, and what is to be done when that needs the hosts
// of the cluster no more.
func (c *Cluster) handOver(to *Cluster) func() {
	c.stop()
	c.mu.Lock()
	defer c.mu.Unlock()
	to.endpoints, to.round, to.places, to.resolved, to.counted = c.endpoints, c.round, c.places, c.resolved, c.counted
	c.endpoints, c.closed = nil, true
	return c.release()
}

// stop ends the DNS watch, the sweeping of original destinations and what is attached, and waits for that.
func (c *Cluster) stop() {
	c.detach()
	if c.watch != nil {
		c.watch.Close()
	}
	if c.original != nil {
		c.original.close()
	}
}

// remove stops a cluster that is no longer configured. Its requests under way go on.
func (c *Cluster) remove() {
	c.stop()
	c.mu.Lock()
	removed := c.takeEndpoints()
	c.closed = true
	released := c.release()
	c.mu.Unlock()
	retire(removed)
	released()
	c.core.endOutliers()
	c.Stats().Close()
}

// takeEndpoints takes all endpoints from the cluster. The caller holds mu.
func (c *Cluster) takeEndpoints() []*endpoint {
	all := slices.Collect(maps.Values(c.endpoints))
	c.endpoints = nil
	return all
}
