package translate

//lint:file-ignore SA1019 Configurations still use these deprecated fields, so they take effect.

import (
	"net/netip"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	datadnsv3 "github.com/envoyproxy/go-control-plane/envoy/data/dns/v3"
	dnsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/udp/dns_filter/v3"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/config/protoyaml"
)

// Envoy's defaults of the DNS filter, and what a name is bounded by (RFC 1035 section 2.3.4): with a dot at the end.
const (
	defaultAnswerTTL       = 300 * time.Second
	defaultResolverTimeout = 500 * time.Millisecond
	maxDNSName             = 254
	maxDNSLabel            = 63
)

// dnsFilter translates a filter that answers questions for names.
func (c *call) dnsFilter(m *dnsv3.DnsFilterConfig, p *path) *model.DNSFilter {
	out := &model.DNSFilter{
		StatPrefix: m.GetStatPrefix(), CaseInsensitive: m.GetCaseInsensitive(), AccessLogs: c.accessLogs(m.GetAccessLog(), p, "access_log"),
	}
	server := p.field("server_config")
	switch k := m.GetServerConfig().GetConfigSource().(type) {
	case *dnsv3.DnsFilterConfig_ServerContextConfig_InlineDnsTable:
		c.dnsTable(k.InlineDnsTable, out, server.field("inline_dns_table"))
	case *dnsv3.DnsFilterConfig_ServerContextConfig_ExternalDnsTable:
		at := server.field("external_dns_table")
		if table := c.externalTable(k.ExternalDnsTable, at); table != nil {
			c.dnsTable(table, out, at)
		}
	}
	if client := m.GetClientConfig(); client != nil {
		out.Forward = c.dnsForward(client, p.field("client_config"))
	}
	return out
}

// externalTable reads a table from its source, in YAML or JSON; nil after an error.
func (c *call) externalTable(d *corev3.DataSource, p *path) *datadnsv3.DnsTable {
	text, file, ok := c.data(d, p)
	if !ok {
		return nil
	}
	if file == "" {
		file = "table"
	}
	table := &datadnsv3.DnsTable{}
	if _, err := protoyaml.Decode(text, file, table, protoyaml.Options{Resolver: c.t.opt.Resolver, AllowUnknown: c.allowsUnknown()}); err != nil {
		c.fail(p, "%v", err)
		return nil
	}
	return table
}

func (c *call) dnsTable(m *datadnsv3.DnsTable, out *model.DNSFilter, p *path) {
	out.Retries = int(m.GetExternalRetryCount())
	for i, d := range m.GetVirtualDomains() {
		at := p.elem("virtual_domains", i)
		domain := model.DNSDomain{
			Name: c.dnsName(d.GetName(), at.field("name")), TTL: c.duration(d.GetAnswerTtl(), defaultAnswerTTL, at, "answer_ttl"),
		}
		at = at.field("endpoint")
		switch k := d.GetEndpoint().GetEndpointConfig().(type) {
		case *datadnsv3.DnsTable_DnsEndpoint_AddressList:
			domain.Addresses = c.dnsAddresses(k.AddressList.GetAddress(), at.field("address_list"))
		case *datadnsv3.DnsTable_DnsEndpoint_ClusterName:
			domain.Cluster = k.ClusterName
		case *datadnsv3.DnsTable_DnsEndpoint_ServiceList:
			domain.Services = c.dnsServices(domain.Name, k.ServiceList.GetServices(), at.field("service_list"))
		default:
			c.fail(at, "virtual domain %q has no endpoint", d.GetName())
		}
		out.Domains = append(out.Domains, domain)
	}
}

// dnsName is a name without a dot at the end that fits into a message.
func (c *call) dnsName(name string, p *path) string {
	name = strings.TrimSuffix(name, ".")
	if len(name)+1 > maxDNSName {
		c.fail(p, "the name has more than %d characters", maxDNSName-1)
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > maxDNSLabel {
			c.fail(p, "label %q of name %q must have 1 to %d characters", label, name, maxDNSLabel)
		}
	}
	return name
}

func (c *call) dnsAddresses(list []string, p *path) []netip.Addr {
	var out []netip.Addr
	for i, text := range list {
		a, err := netip.ParseAddr(text)
		if err != nil || a.Zone() != "" {
			c.fail(p.elem("address", i), "malformed IP address: %s", text)
			continue
		}
		out = append(out, a.Unmap())
	}
	return out
}

func (c *call) dnsServices(domain string, list []*datadnsv3.DnsTable_DnsService, p *path) []model.DNSService {
	var out []model.DNSService
	for i, s := range list {
		at := p.elem("services", i)
		protocol := c.dnsProtocol(s.GetProtocol(), at.field("protocol"))
		service := model.DNSService{
			Name: c.dnsName(underscored(s.GetServiceName())+"."+underscored(protocol)+"."+domain, at.field("service_name")),
			TTL:  c.duration(s.GetTtl(), 0, at, "ttl"),
		}
		for j, t := range s.GetTargets() {
			target := model.DNSTarget{
				Host: t.GetHostName(), Cluster: t.GetClusterName(),
				Priority: uint16(t.GetPriority()), Weight: uint16(t.GetWeight()), Port: uint16(t.GetPort()), // validation bounds them
			}
			name := at.elem("targets", j)
			switch {
			case target.Host != "":
				target.Host = c.dnsName(target.Host, name.field("host_name"))
			case target.Cluster != "":
				c.dnsName(target.Cluster, name.field("cluster_name")) // it is the target's name in the answer
			}
			service.Targets = append(service.Targets, target)
		}
		out = append(out, service)
	}
	return out
}

// underscored is a label of the name of a service (RFC 2782).
func underscored(label string) string {
	if strings.HasPrefix(label, "_") {
		return label
	}
	return "_" + label
}

// dnsProtocol is the name of a protocol, of a number where it is known to be a transport.
func (c *call) dnsProtocol(m *datadnsv3.DnsTable_DnsServiceProtocol, p *path) string {
	if name := m.GetName(); name != "" {
		return name
	}
	switch m.GetNumber() {
	case 6:
		return "tcp"
	case 17:
		return "udp"
	}
	c.fail(p, "protocol number %d has no name here but 6 (tcp) and 17 (udp): set name", m.GetNumber())
	return "unknown"
}

// dnsForward translates how other servers are asked: by the extension, else by one of its predecessors.
func (c *call) dnsForward(m *dnsv3.DnsFilterConfig_ClientContextConfig, p *path) *model.DNSForward {
	out := &model.DNSForward{Timeout: c.duration(m.GetResolverTimeout(), defaultResolverTimeout, p, "resolver_timeout"), MaxPending: m.GetMaxPendingLookups()}
	to := &out.Resolver
	switch {
	case m.GetTypedDnsResolverConfig() != nil:
		c.typedResolver(m.GetTypedDnsResolverConfig(), to, p.field("typed_dns_resolver_config"))
	case m.GetDnsResolutionConfig() != nil:
		c.resolution(m.GetDnsResolutionConfig(), to, p.field("dns_resolution_config"))
	case len(m.GetUpstreamResolvers()) > 0:
		to.Servers = c.servers(m.GetUpstreamResolvers(), p, "upstream_resolvers")
	default:
		to.TCP, to.NoSearch, to.Servers = c.t.process.dns.TCP, c.t.process.dns.NoSearch, c.t.process.dns.Servers
	}
	return out
}

// dnsFilterTable says which fields of the DNS filter take effect.
func dnsFilterTable() table {
	const filter, data = "envoy.extensions.filters.udp.dns_filter.v3.DnsFilterConfig", "envoy.data.dns.v3.DnsTable"
	t := table{}
	t.message(filter, "stat_prefix server_config client_config access_log case_insensitive")
	t.message(filter+".ServerContextConfig", "inline_dns_table external_dns_table")
	t.message(filter+".ClientContextConfig", "resolver_timeout typed_dns_resolver_config dns_resolution_config upstream_resolvers max_pending_lookups")
	t.message(data, "external_retry_count virtual_domains", "known_suffixes", "virtual_domains alone say what is known, in Envoy too")
	t.message(data+".DnsVirtualDomain", "name endpoint answer_ttl")
	t.message(data+".DnsEndpoint", "address_list cluster_name service_list")
	t.message(data+".AddressList", "address")
	t.message(data+".DnsServiceList", "services")
	t.message(data+".DnsService", "service_name protocol ttl targets")
	t.message(data+".DnsServiceProtocol", "number name")
	t.message(data+".DnsServiceTarget", "host_name cluster_name priority weight port")
	return t
}
