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
// cluster is in place.
func (m *Manager) build(cfg *model.Cluster, was *Cluster, assigned *model.LoadAssignment) (*Cluster, func()) {
	c := &Cluster{
		manager: m, cfg: cfg, assigned: assigned, ready: make(chan struct{}),
		endpoints: make(map[endpointKey]*endpoint), resolved: make(map[string][]netip.Addr),
	}
	retirePredecessor := func() {}
	switch {
	case was == nil:
		c.core = m.newCore(cfg)
	case sameCore(was.cfg, cfg):
		c.core = was.core
		c.endpoints, c.resolved = was.handOver()
	default:
		c.core = m.newCore(cfg)
		was.stop()
		c.resolved = was.resolved
		retirePredecessor = was.remove
	}
	c.core.configure(cfg)
	var removed map[endpointKey]*endpoint
	if cfg.Type == model.ClusterOriginalDst {
		c.set.Store(lb.New(nil, lb.Options{}))
		c.original = newOriginalDst(c)
	} else {
		removed = c.rebuild()
	}
	c.startResolving()
	return c, func() {
		retire(removed)
		retirePredecessor()
	}
}

// startResolving starts the DNS watch of the clusters that have one. Those that need none are ready.
func (c *Cluster) startResolving() {
	names := c.names()
	if len(names) == 0 {
		c.setReady()
		return
	}
	known := true
	for _, name := range names {
		_, ok := c.resolved[name]
		known = known && ok
	}
	if known {
		c.setReady()
	}
	s := c.Stats()
	c.watch = dns.Start(dns.Config{
		Names: names, Family: c.cfg.DNS.Family, Refresh: c.cfg.DNS.RefreshRate, FailureRefresh: c.cfg.DNS.FailureRefresh,
		Resolver: c.manager.opt.Resolver, Log: c.manager.opt.Log.With("cluster", c.cfg.Name),
		Stats:  dns.Stats{Attempt: s.UpdateAttempt, Success: s.UpdateSuccess, Failure: s.UpdateFailure, Empty: s.UpdateEmpty},
		Update: c.resolvedName, First: c.setReady,
	})
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

func (c *Cluster) setReady() { c.readyOnce.Do(func() { close(c.ready) }) }

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
	c.resolved[name] = addrs
	removed := c.rebuild()
	c.mu.Unlock()
	retire(removed)
}

// handOver stops the cluster and gives its endpoints to its successor.
func (c *Cluster) handOver() (map[endpointKey]*endpoint, map[string][]netip.Addr) {
	c.stop()
	c.mu.Lock()
	defer c.mu.Unlock()
	endpoints := c.endpoints
	c.endpoints, c.closed = nil, true
	return endpoints, c.resolved
}

// stop ends the DNS watch and the sweeping of original destinations, and waits for both.
func (c *Cluster) stop() {
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
	removed := c.endpoints
	c.endpoints, c.closed = nil, true
	c.mu.Unlock()
	retire(removed)
	c.Stats().Close()
}
