package cluster

import (
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
	"github.com/weir-proxy/weir/pkg/proxy/upstream"
	"github.com/weir-proxy/weir/pkg/proxy/upstream/pool"
)

// preconnect has connections made to the hosts that are likely to be picked next, while there are fewer than the predictive ratio
// asks for. coming are requests that are about to come, for which a connection is made anyway. ahead has one made to a host, unless there are enough.
func (c *Cluster) preconnect(coming int, ahead func(*upstream.Host, *pool.Host) bool) {
	const atOnce = 3 // as in Envoy, what one request may cause is bounded
	ratio, stats := c.cfg.Preconnect.Predictive, c.Stats()
	for n := range atOnce {
		want := ratio * float64(max(1, c.underWay()+uint64(coming)))
		if want <= float64(stats.CxActive.Value()+uint64(coming)) {
			return
		}
		h := c.hostSet().Peek(n)
		if h == nil {
			return
		}
		conns, ok := h.Conns.(*pool.Host)
		if !ok || !ahead(h, conns) {
			return
		}
	}
}

// underWay is how many requests and connections are in use or wait for a connection.
func (c *Cluster) underWay() (n uint64) {
	s := c.core.shared
	for i := range s.Requests {
		n += uint64(s.Requests[i].Used() + s.Pending[i].Used())
	}
	return n
}

// streamAhead is what preconnect does for exchanges like one.
func (c *Cluster) streamAhead(v message.Version, opt *StreamOptions) func(*upstream.Host, *pool.Host) bool {
	return func(h *upstream.Host, conns *pool.Host) bool {
		o := c.poolOptions(h, v, opt)
		return conns.Preconnect(&o, c.cfg.Preconnect.Predictive)
	}
}

// tcpAhead is what preconnect does for connections like one.
func (c *Cluster) tcpAhead(opt *StreamOptions) func(*upstream.Host, *pool.Host) bool {
	return func(h *upstream.Host, conns *pool.Host) bool {
		o := c.tcpOptions(h, opt, nil)
		return conns.PreconnectTCP(&o, c.cfg.Preconnect.Predictive)
	}
}
