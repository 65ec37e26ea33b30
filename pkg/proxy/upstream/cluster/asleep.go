package cluster

import (
	"net/netip"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/upstream"
	"github.com/weir-proxy/weir/pkg/proxy/upstream/lb"
)

// Of a large configuration most clusters are never sent anything on one machine. A cluster sleeps until somebody asks for its
// hosts: it has none, only its assignment, of which it counts what statistics tell. A host with what belongs to it takes some
// 700 bytes, all of which the collector of garbage looks at; whoever wakes the cluster waits a microsecond for each.

// asleepMost is how many endpoints a cluster that sleeps may have, so that the first request does not wait for long.
const asleepMost = 256

// hostSet is what hosts are picked from.
func (c *Cluster) hostSet() *lb.Set {
	if set := c.set.Load(); set != nil {
		return set
	}
	return c.wake()
}

// HostsAwake are the hosts that there are, without making any: none of a cluster that sleeps, whose hosts have had no traffic. It is
// for those who look at all clusters again and again. The slice must not be changed.
func (c *Cluster) HostsAwake() []*upstream.Host {
	if c.original == nil && c.set.Load() == nil {
		return nil
	}
	return c.Hosts()
}

// HostsListed are the hosts as a page shows them. A cluster that sleeps sleeps on: its hosts are made for the caller alone, without
// connections, and all with the same counts, which are 0. The slice must not be changed.
func (c *Cluster) HostsListed() []*upstream.Host {
	if c.original != nil || c.set.Load() != nil {
		return c.Hosts()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if set := c.set.Load(); set != nil {
		return set.Hosts()
	}
	if c.counted == nil {
		return nil
	}
	var hosts []*upstream.Host
	unused := new(upstream.HostStats)
	for _, l := range c.counted.Localities {
		for _, e := range l.Endpoints {
			h := &upstream.Host{
				Pipe: e.Pipe, Hostname: e.Hostname, Endpoint: e, Locality: l, Weight: max(1, e.Weight), Priority: l.Priority, Health: e.Health, Stats: unused,
			}
			if e.Pipe == "" {
				h.Address = netip.AddrPortFrom(e.Address.Addr().Unmap(), e.Address.Port())
			}
			hosts = append(hosts, h)
		}
	}
	return hosts
}

// asleep tells whether the cluster has no hosts and needs none until somebody asks for them. With health checks, outlier detection, slow start
// or a transport socket by endpoint, hosts do something before they are asked for, and a consistent balancer takes long to make.
// The caller holds mu.
func (c *Cluster) asleep() bool {
	return c.set.Load() == nil && len(c.endpoints) == 0 && c.cfg.Type == model.ClusterEDS && len(c.cfg.HealthChecks) == 0 &&
		c.cfg.OutlierDetection == nil && c.cfg.SlowStart.Window == 0 && len(c.cfg.TransportSocketMatches) == 0 && !c.WantsHash()
}

// wake makes the hosts of a cluster that sleeps. Statistics know them already.
func (c *Cluster) wake() *lb.Set {
	c.mu.Lock()
	if set := c.set.Load(); set != nil {
		c.mu.Unlock()
		return set
	}
	set, _ := c.makeHosts(c.counted, true)
	var late []*endpoint
	if c.closed { // whoever holds a cluster that was removed or replaced may still use it
		late = c.takeEndpoints()
	}
	c.mu.Unlock()
	retire(late)
	return set
}

// recount makes the endpoints that were assigned those that are counted. It returns false, and does nothing, when they are more
// than may sleep, or not of one address each. The caller holds mu.
func (c *Cluster) recount() bool {
	r := &c.manager.roll
	defer r.forget()
	if !r.call(c.counted, c.assigned) {
		return false
	}
	come, gone, ok := r.compare()
	if !ok {
		return false
	}
	c.counted = c.assigned
	var m membership
	for _, e := range r.after {
		m.add(e)
	}
	c.Stats().DefaultMatch.Add(uint64(come))
	c.publishMembership(m, come+gone > 0)
	return true
}

// membership is what statistics tell of the hosts of a cluster.
type membership struct {
	total, healthy, degraded, excluded int
	weight                             uint32 // the greatest
}

// membershipOf counts the hosts of a set.
func membershipOf(set *lb.Set) membership {
	m := membership{total: len(set.Hosts()), excluded: set.Excluded()}
	m.healthy, m.degraded = set.Counts()
	for _, h := range set.Hosts() {
		m.weight = max(m.weight, h.Weight)
	}
	return m
}

// add counts an endpoint of which nobody but the control plane says anything.
func (m *membership) add(e *model.Endpoint) {
	h := upstream.Host{Health: e.Health}
	m.total++
	switch {
	case h.Healthy():
		m.healthy++
	case h.Degraded():
		m.degraded++
	}
	m.weight = max(m.weight, e.Weight, 1)
}

// roll compares the endpoints of two assignments. Its memory is used again for each; Manager.mu guards it.
type roll struct{ before, after []*model.Endpoint }

// call lists the endpoints; false when there are too many. The assignments may be nil.
func (r *roll) call(before, after *model.LoadAssignment) bool {
	r.before, r.after = appendEndpoints(r.before, before), appendEndpoints(r.after, after)
	return len(r.after) <= asleepMost
}

func appendEndpoints(to []*model.Endpoint, a *model.LoadAssignment) []*model.Endpoint {
	if a == nil {
		return to
	}
	for _, l := range a.Localities {
		to = append(to, l.Endpoints...)
	}
	return to
}

// compare tells how many endpoints have come and gone. It is not ok when one of them has no address, or that of another.
func (r *roll) compare() (come, gone int, ok bool) {
	before, after := r.before, r.after
	for len(before) > 0 && len(after) > 0 && before[0] == after[0] { // nearly all are where they were
		before, after = before[1:], after[1:]
	}
	for len(before) > 0 && len(after) > 0 && before[len(before)-1] == after[len(after)-1] {
		before, after = before[:len(before)-1], after[:len(after)-1]
	}
	for _, e := range after {
		switch {
		case e.Pipe == "" && !e.Address.IsValid() || occurrences(r.after, e) > 1:
			return 0, 0, false
		case occurrences(before, e) == 0:
			come++
		}
	}
	return come, come + len(r.before) - len(r.after), true
}

// occurrences counts the endpoints at the address of e.
func occurrences(list []*model.Endpoint, e *model.Endpoint) (n int) {
	at := unmapped(e.Address)
	for _, other := range list {
		if other == e || unmapped(other.Address) == at && other.Pipe == e.Pipe {
			n++
		}
	}
	return n
}

// forget lets go of the endpoints.
func (r *roll) forget() {
	clear(r.before)
	clear(r.after)
	r.before, r.after = r.before[:0], r.after[:0]
}

func unmapped(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }
