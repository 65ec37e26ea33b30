package cluster

import (
	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/upstream"
	"github.com/weir-proxy/weir/pkg/proxy/upstream/lb"
)

// Outline tells how Pick shares connections among the present hosts. It has no parts for an ORIGINAL_DST cluster, whose hosts
// are where connections were going.
func (c *Cluster) Outline() lb.Outline { return c.hostSet().Outline() }

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

// Traffic is what connections did that were made past the cluster, as counted since the last time.
type Traffic struct {
	// Connections that were begun, Failed of them, and by how many more or fewer there are now.
	Connections, Failed uint64
	Active              int64
	// RxBytes were received from hosts, TxBytes sent to them.
	RxBytes, TxBytes uint64
	// NoneHealthy found no host, Overflow too many connections.
	NoneHealthy, Overflow uint64
}

// Count adds traffic to the statistics of the cluster, as if Dial had made the connections.
func (c *Cluster) Count(t *Traffic) {
	s := c.Stats()
	s.CxTotal.Add(t.Connections)
	s.RqTotal.Add(t.requests())
	s.CxConnectFail.Add(t.Failed)
	s.CxConnectAttempts.Add(t.Failed)
	s.CxActive.Add(t.Active)
	s.RqActive.Add(t.Active)
	s.CxDestroy.Add(t.ended())
	s.CxRxBytes.Add(t.RxBytes)
	s.CxTxBytes.Add(t.TxBytes)
	s.CxNoneHealthy.Add(t.NoneHealthy)
	s.CxOverflow.Add(t.Overflow)
}

// requests is how many connections were made, of those that were begun since the last time as far as is known.
func (t *Traffic) requests() uint64 { return t.Connections - min(t.Connections, t.Failed) }

// ended is how many connections are over.
func (t *Traffic) ended() uint64 { return uint64(max(0, int64(t.Connections)-t.Active)) }

// CountHost adds traffic to the counters of a host.
func CountHost(s *upstream.HostStats, t *Traffic) {
	s.CxTotal.Add(t.Connections)
	s.RqTotal.Add(t.requests())
	s.CxConnectFail.Add(t.Failed)
	s.CxActive.Add(t.Active)
	s.RqActive.Add(t.Active)
}

// JudgeHost reports to outlier detection how it went to connect to a host. Connections of which nothing is known yet, neither
// failure nor end nor payload, are not reported.
func JudgeHost(s *upstream.HostStats, t *Traffic) {
	h := s.Current.Load()
	if h == nil || h.Outlier == nil {
		return
	}
	made := t.requests()
	if open := uint64(max(0, t.Active)); t.RxBytes+t.TxBytes == 0 {
		made -= min(made, open)
	}
	h.Outlier.PutMany(int(made), int(t.Failed))
}
