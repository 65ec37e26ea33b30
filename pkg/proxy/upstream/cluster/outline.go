package cluster

import (
	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/upstream"
	"github.com/weir-proxy/weir/pkg/proxy/upstream/lb"
)

// Outline tells how Pick shares connections among the present hosts. It has no parts for an ORIGINAL_DST cluster, whose hosts
// are where connections were going.
func (c *Cluster) Outline() lb.Outline { return c.set.Load().Outline() }

// MaxConnections is how many connections of the default priority Dial makes at the same time.
func (c *Cluster) MaxConnections() uint32 {
	b := Thresholds(c.cfg, 0, c.manager.opt.Runtime)
	return min(b.MaxConnections, b.MaxRequests) // a connection of Dial is a request, too
}

// Direct tells why to connect to the address of h and send bytes there is not what Dial does; "" when it is.
func (c *Cluster) Direct(h *upstream.Host) string {
	self := c.manager.opt.Self
	switch {
	case h.Pipe != "":
		return "is a unix socket"
	case c.core.transports.of(h.Endpoint) != nil:
		return "is reached over TLS"
	case h.Endpoint != nil && len(h.Endpoint.AdditionalAddresses) > 0:
		return "has additional_addresses, which are tried in turn"
	case c.cfg.Type == model.ClusterLogicalDNS && c.cfg.DNS.Family == model.DNSAll:
		return "may have more than one address (dns_lookup_family ALL), which are tried in turn"
	case h.Address.Addr().Zone() != "":
		return "has an address that needs a zone"
	case self != nil && self(h.Address):
		return "is weir itself"
	}
	return ""
}
