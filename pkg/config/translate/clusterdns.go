package translate

//lint:file-ignore SA1019 Configurations still use these deprecated fields, so they take effect.

import (
	"net/netip"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	caresv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/network/dns_resolver/cares/v3"

	"github.com/weir-proxy/weir/pkg/config/extension"
	"github.com/weir-proxy/weir/pkg/config/model"
)

// connectionOptions translates how connections are made and counted.
func connectionOptions(m *clusterv3.Cluster, out *model.Cluster) {
	out.SkipWarming = !isSet(m.GetWaitForWarmOnInit(), true)
	out.CloseOnHostChange = m.GetCommonLbConfig().GetCloseConnectionsOnHostSetChange()
	track := m.GetTrackClusterStats()
	out.TrackSizes = track.GetRequestResponseSizes()
	out.TrackBudgets = track.GetTimeoutBudgets() || m.GetTrackTimeoutBudgets()
	if e := m.GetUpstreamConnectionOptions().GetHappyEyeballsConfig(); e != nil {
		out.HappyEyeballs.FirstCount = int(u32(e.GetFirstAddressFamilyCount(), 1))
		switch e.GetFirstAddressFamilyVersion() {
		case clusterv3.UpstreamConnectionOptions_V4:
			out.HappyEyeballs.First = model.FirstV4
		case clusterv3.UpstreamConnectionOptions_V6:
			out.HappyEyeballs.First = model.FirstV6
		}
	}
}

// resolver translates who is asked for names, and how: the extension, else its two deprecated predecessors.
func (c *call) resolver(m *clusterv3.Cluster, out *model.DNS) {
	var root *path
	if e := m.GetTypedDnsResolverConfig(); e != nil {
		c.typedResolver(e, out, root.field("typed_dns_resolver_config"))
		return
	}
	if r := m.GetDnsResolutionConfig(); r != nil {
		c.resolution(r, out, root.field("dns_resolution_config"))
		return
	}
	if !m.GetUseTcpForDnsLookups() && len(m.GetDnsResolvers()) == 0 {
		out.TCP, out.NoSearch, out.Servers = c.t.process.dns.TCP, c.t.process.dns.NoSearch, c.t.process.dns.Servers
		return
	}
	out.TCP = m.GetUseTcpForDnsLookups()
	out.Servers = c.servers(m.GetDnsResolvers(), root, "dns_resolvers")
}

// resolution translates the predecessor of that extension.
func (c *call) resolution(r *corev3.DnsResolutionConfig, out *model.DNS, p *path) {
	out.TCP, out.NoSearch = r.GetDnsResolverOptions().GetUseTcpForDnsLookups(), r.GetDnsResolverOptions().GetNoDefaultSearchDomain()
	out.Servers = c.servers(r.GetResolvers(), p, "resolvers")
}

// typedResolver translates the extension that answers names. Whatever it is, Go's resolver does its work.
func (c *call) typedResolver(e *corev3.TypedExtensionConfig, out *model.DNS, p *path) {
	_, config := c.lookup(extension.DNSResolvers, e.GetName(), e.GetTypedConfig(), false, p)
	if cares, ok := config.(*caresv3.CaresDnsResolverConfig); ok {
		options := cares.GetDnsResolverOptions()
		out.TCP, out.NoSearch = options.GetUseTcpForDnsLookups(), options.GetNoDefaultSearchDomain()
		out.Servers = c.servers(cares.GetResolvers(), p.field("typed_config"), "resolvers")
	}
}

// servers translates the addresses of DNS servers.
func (c *call) servers(list []*corev3.Address, p *path, name string) []netip.AddrPort {
	var out []netip.AddrPort
	for i, a := range list {
		at := p.elem(name, i).field("socket_address")
		if a.GetSocketAddress() == nil {
			c.fail(at, "a DNS server needs an IP address")
			continue
		}
		if addr, ok := c.listenerAddress(a.GetSocketAddress(), at); ok {
			out = append(out, addr)
		}
	}
	return out
}
