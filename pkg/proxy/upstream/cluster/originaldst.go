package cluster

import (
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/weir-proxy/weir/pkg/proxy/streaminfo"
	"github.com/weir-proxy/weir/pkg/proxy/timer"
	"github.com/weir-proxy/weir/pkg/proxy/upstream"
)

// originalDst gives an ORIGINAL_DST cluster a host per destination. A sweep forgets those that nobody used since the last
// one and that have no connections.
type originalDst struct {
	cluster *Cluster
	sweep   timer.Timer

	mu     sync.RWMutex
	byAddr map[netip.AddrPort]*original
	closed bool
}

// original is a destination; used since the last sweep.
type original struct {
	host *upstream.Host
	used atomic.Bool
}

func newOriginalDst(c *Cluster) *originalDst {
	o := &originalDst{cluster: c, byAddr: make(map[netip.AddrPort]*original)}
	runtime := c.manager.runtime
	o.sweep.Init(runtime.Wheel(), func() { runtime.Do(o.clean) })
	if c.endpoints == nil {
		c.endpoints = make(map[endpointKey]*endpoint)
	}
	for key, e := range c.endpoints {
		o.byAddr[key.addr] = &original{host: originalHost(key.addr, e)}
	}
	o.sweep.Arm(c.cfg.CleanupInterval)
	return o
}

func originalHost(addr netip.AddrPort, e *endpoint) *upstream.Host {
	return &upstream.Host{Address: addr, Weight: 1, Stats: &e.stats, Conns: e.conns}
}

// pick finds or makes the host of the original destination.
func (o *originalDst) pick(pc *upstream.PickContext) (*upstream.Host, error) {
	c := o.cluster
	addr := netip.AddrPortFrom(pc.OriginalDst.Addr().Unmap(), pc.OriginalDst.Port())
	if port := c.cfg.OriginalDst.PortOverride; port != 0 {
		addr = netip.AddrPortFrom(addr.Addr(), port)
	}
	switch {
	case !addr.IsValid() || addr.Port() == 0 || addr.Addr().IsUnspecified():
		c.Stats().CxNoneHealthy.Inc()
		return nil, &upstream.Error{Kind: upstream.KindNoHost, BeforeResponse: true}
	case c.isSelf(pc.Origin, addr):
		return nil, &upstream.Error{Kind: upstream.KindSelf, BeforeResponse: true}
	}
	o.mu.RLock()
	entry := o.byAddr[addr]
	if entry != nil {
		entry.used.Store(true)
	}
	o.mu.RUnlock()
	if entry != nil {
		return entry.host, nil
	}
	return o.add(addr), nil
}

// isSelf tells whether an address, looked at from an origin, is weir's own.
func (c *Cluster) isSelf(from streaminfo.Origin, addr netip.AddrPort) bool {
	self := c.manager.opt.Self
	if from.Namespace != nil {
		self = from.Namespace.Own
	}
	return self != nil && self(addr)
}

func (o *originalDst) add(addr netip.AddrPort) *upstream.Host {
	c := o.cluster
	c.mu.Lock()
	defer c.mu.Unlock()
	o.mu.Lock()
	defer o.mu.Unlock()
	if entry := o.byAddr[addr]; entry != nil {
		entry.used.Store(true)
		return entry.host
	}
	key := endpointKey{addr: addr, tls: c.core.transports.of(nil)}
	e := c.newEndpoint(key, target{addr: addr})
	entry := &original{host: originalHost(addr, e)}
	if o.closed { // the cluster was replaced or removed: serve this request, keep nothing
		e.conns.Retire()
		return entry.host
	}
	entry.used.Store(true)
	o.byAddr[addr] = entry
	c.endpoints[key] = e
	o.publish()
	return entry.host
}

// clean forgets the hosts that are out of use.
func (o *originalDst) clean() {
	c := o.cluster
	var removed []*endpoint
	c.mu.Lock()
	o.mu.Lock()
	if o.closed {
		o.mu.Unlock()
		c.mu.Unlock()
		return
	}
	for key, e := range c.endpoints {
		entry := o.byAddr[key.addr]
		if used := entry.used.Swap(false); used || e.stats.CxActive.Load() > 0 {
			continue
		}
		removed = append(removed, e)
		delete(c.endpoints, key)
		delete(o.byAddr, key.addr)
	}
	if len(removed) > 0 {
		o.publish()
	}
	o.mu.Unlock()
	c.mu.Unlock()
	retire(removed)
	o.sweep.Arm(c.cfg.CleanupInterval)
}

// publish counts a change of the hosts. The caller holds mu.
func (o *originalDst) publish() {
	s := o.cluster.Stats()
	s.MembershipChange.Inc()
	s.MembershipTotal.Set(uint64(len(o.byAddr)))
	s.MembershipHealthy.Set(uint64(len(o.byAddr)))
}

func (o *originalDst) hosts() []*upstream.Host {
	o.mu.RLock()
	defer o.mu.RUnlock()
	hosts := make([]*upstream.Host, 0, len(o.byAddr))
	for _, entry := range o.byAddr {
		hosts = append(hosts, entry.host)
	}
	return hosts
}

func (o *originalDst) close() {
	o.mu.Lock()
	o.closed = true
	o.mu.Unlock()
	o.sweep.Release()
}
