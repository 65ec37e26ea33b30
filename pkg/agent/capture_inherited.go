package agent

import (
	"net/netip"
	"slices"
	"time"

	"github.com/weir-proxy/weir/pkg/agent/view"
	"github.com/weir-proxy/weir/pkg/kernel/steer"
	"github.com/weir-proxy/weir/pkg/proxy/upstream/cluster"
)

// lookForHeirs is for how long after the start connections of an earlier weir are looked for: the network namespaces that they are in are
// found one after the other.
const lookForHeirs = 30 * time.Second

// inheritance are the connections that an earlier weir has offloaded and that go on: the kernel does not tell this one's counters of their
// end, so that they are looked at again and again until they are over. services.mu guards all.
type inheritance struct {
	// sockets lists the offloaded sockets there are, placed tells whether the one with a cookie still has its place. Neither is called
	// with services.mu held.
	sockets func() ([]view.NamespaceSocket, error)
	placed  func(cookie uint64) bool
	until   time.Time
	all     []heir
}

// heir is one such connection, from an application that asked for dst to the endpoint peer.
type heir struct {
	cookie    uint64
	dst, peer netip.AddrPort
	placed    bool
}

// inherit counts what an earlier weir has offloaded from now on, as gauges.
func (c *capture) inherit() {
	if k := c.kernel.Load(); k != nil && k.Shares() {
		c.services.inherit(&inheritance{sockets: c.sockets, placed: k.InPlace, until: time.Now().Add(lookForHeirs)})
	}
}

func (s *services) inherit(i *inheritance) {
	s.mu.Lock()
	s.heirs = i
	s.mu.Unlock()
	s.lookAtHeirs()
}

// lookAtHeirs brings the gauges of inherited connections up to date. While there may be some that are not known, and for those that have
// no place, it lists sockets; else it looks at one place for each.
func (s *services) lookAtHeirs() {
	s.mu.Lock()
	i := s.heirs
	if i == nil {
		s.mu.Unlock()
		return
	}
	all := i.all
	s.mu.Unlock()
	searching := time.Now().Before(i.until)
	if searching || slices.ContainsFunc(all, func(h heir) bool { return !h.placed }) {
		sockets, _ := i.sockets() // what cannot be listed counts as over
		all = nil
		for _, l := range sockets {
			if l.Earlier {
				all = append(all, heir{l.Cookie, l.Dst, l.Peer, i.placed(l.Cookie)})
			}
		}
	} else {
		all = slices.DeleteFunc(slices.Clone(all), func(h heir) bool { return !i.placed(h.cookie) })
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	i.all = all
	peers, found := make(map[string][]netip.AddrPort), make(map[netip.AddrPort]string)
	for _, h := range all {
		name, known := found[h.dst]
		if !known {
			name = serviceOf(s.told, h.dst)
			found[h.dst] = name
		}
		peers[name] = append(peers[name], h.peer)
	}
	for name, have := range s.made {
		have.counts.takeOver(peers[name], s.clusters().Get)
	}
	if len(all) == 0 && !searching {
		s.heirs = nil
	}
}

// serviceTo is the service that a connection to dst would be offloaded for now, "" when it would not.
func (s *services) serviceTo(dst netip.AddrPort) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return serviceOf(s.told, dst)
}

// serviceOf is the service that a plan has for dst: of the rules that cover it one for the port goes first, then the longest prefix.
func serviceOf(plan *steer.Plan, dst netip.AddrPort) string {
	var best *steer.Rule
	for n := range plan.Rules {
		r := &plan.Rules[n]
		if r.Protocol != steer.TCP || r.Port != 0 && r.Port != dst.Port() || !r.Prefix.Contains(dst.Addr()) {
			continue
		}
		if best == nil || (r.Port != 0) != (best.Port != 0) && r.Port != 0 || (r.Port != 0) == (best.Port != 0) && r.Prefix.Bits() > best.Prefix.Bits() {
			best = r
		}
	}
	if best == nil {
		return ""
	}
	return best.Service
}

// takeOver has the gauges count the inherited connections to these endpoints, instead of those that it was told of before. They move
// nothing else: who began them has counted that.
func (c *counts) takeOver(peers []netip.AddrPort, clusters func(string) *cluster.Cluster) {
	if len(peers) == 0 && len(c.inherited) == 0 {
		return
	}
	known := make(map[netip.AddrPort]steer.Endpoint, len(c.hosts))
	for at := range c.hosts {
		known[at.Addr] = at
	}
	change := make(map[steer.Endpoint]int64)
	now := make(map[steer.Endpoint]int64)
	for _, peer := range peers {
		at, found := known[peer]
		if !found {
			at = steer.Endpoint{Addr: peer, Cluster: c.first}
		}
		now[at]++
		change[at]++
	}
	for at, n := range c.inherited {
		change[at] -= n
	}
	for at, n := range change {
		if n == 0 {
			continue
		}
		if h := c.hosts[at]; h != nil {
			cluster.CountHost(h, &cluster.Traffic{Active: n})
		}
		if cl := clusters(at.Cluster); cl != nil {
			cl.Stats().CxActive.Add(n)
			cl.Stats().RqActive.Add(n)
		}
		c.down.active.Add(n)
	}
	c.inherited, c.peers = now, peers
}
