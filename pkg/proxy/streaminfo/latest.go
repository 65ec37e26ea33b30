package streaminfo

import (
	"net/netip"
	"sync/atomic"
)

// Latest is where the latest stream of a connection went, for whoever looks at connections while they live. It is written by the
// goroutine that serves the stream; strings and addresses are those of the configuration, so that noting them allocates nothing.
type Latest struct {
	route, cluster atomic.Pointer[string]
	endpoint       atomic.Pointer[netip.AddrPort]
}

// Cluster notes the configured name of the cluster and the name of the route; route may be nil. c may be nil.
func (c *Connection) Cluster(route, cluster *string) {
	if c == nil {
		return
	}
	c.Latest.route.Store(route)
	c.Latest.cluster.Store(cluster)
	c.Latest.endpoint.Store(nil)
}

// Endpoint notes the chosen host, which must not change afterwards. c may be nil.
func (c *Connection) Endpoint(addr *netip.AddrPort) {
	if c != nil {
		c.Latest.endpoint.Store(addr)
	}
}

// Load returns what was noted last; empty and the zero value for what was not.
func (l *Latest) Load() (route, cluster string, endpoint netip.AddrPort) {
	if p := l.route.Load(); p != nil {
		route = *p
	}
	if p := l.cluster.Load(); p != nil {
		cluster = *p
	}
	if p := l.endpoint.Load(); p != nil {
		endpoint = *p
	}
	return route, cluster, endpoint
}
