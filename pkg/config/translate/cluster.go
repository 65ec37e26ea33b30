package translate

//lint:file-ignore SA1019 Configurations still use these deprecated fields, so they take effect.

import (
	"net/netip"
	"strings"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	commondnsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/common/dns/v3"
	dnsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/dns/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weir-proxy/weir/pkg/config/extension"
	"github.com/weir-proxy/weir/pkg/config/model"
)

// Envoy's defaults of clusters.
const (
	defaultConnectTimeout  = 5 * time.Second
	defaultCleanup         = 5 * time.Second
	defaultDNSRefresh      = 5 * time.Second
	defaultPanicThreshold  = 50
	defaultMaxConnections  = 1024
	defaultMaxPending      = 1024
	defaultMaxRequests     = 1024
	defaultMaxRetries      = 3
	defaultOriginalDstName = "x-envoy-original-dst-host"
)

// Cluster translates a cluster.
func (t *Translator) Cluster(m *clusterv3.Cluster, meta Meta) (*model.Cluster, []Warning, error) {
	c := t.begin(m, meta, resourceName("cluster", m.GetName()))
	out := c.cluster(m)
	warnings, err := c.end(m)
	if err != nil {
		return nil, warnings, err
	}
	return out, warnings, nil
}

func (c *call) cluster(m *clusterv3.Cluster) *model.Cluster {
	var root *path
	out := &model.Cluster{
		Resource:                 c.identity(m.GetName(), m),
		AltStatName:              m.GetAltStatName(),
		ConnectTimeout:           c.duration(m.GetConnectTimeout(), defaultConnectTimeout, nil, "connect_timeout"),
		TLS:                      c.upstreamTLS(m.GetTransportSocket(), root.field("transport_socket")),
		Breakers:                 c.breakers(m.GetCircuitBreakers()),
		CleanupInterval:          c.duration(m.GetCleanupInterval(), defaultCleanup, nil, "cleanup_interval"),
		IdleTimeout:              defaultIdleTimeout,
		TCPIdleTimeout:           defaultTCPPoolIdle,
		PanicThreshold:           defaultPanicThreshold,
		Metadata:                 metadata(m.GetMetadata()),
		MaxRequestsPerConnection: int(m.GetMaxRequestsPerConnection().GetValue()),
		OriginalDst:              model.OriginalDst{HTTPHeader: defaultOriginalDstName},
		TCPKeepalive:             keepalive(m.GetUpstreamConnectionOptions().GetTcpKeepalive()),
	}
	if t := m.GetCommonLbConfig().GetHealthyPanicThreshold(); t != nil {
		out.PanicThreshold = t.GetValue()
	}
	c.bindConfig(m, out)
	out.HostConnections = c.hostConnections(m.GetCircuitBreakers())
	out.Preconnect = model.Preconnect{
		PerHost:    ratio(m.GetPreconnectPolicy().GetPerUpstreamPreconnectRatio()),
		Predictive: ratio(m.GetPreconnectPolicy().GetPredictivePreconnectRatio()),
	}
	c.clusterDNS(m, out)
	connectionOptions(m, out)
	c.clusterType(m, out)
	c.clusterEndpoints(m, out)
	c.balancer(m, out)
	c.socketMatches(m, out)
	c.networkFilters(m, out)
	c.upstreamHTTP(m, out)
	c.healthChecks(m, out)
	c.outlierDetection(m.GetOutlierDetection(), out)
	return out
}

// clusterType translates the discovery type.
func (c *call) clusterType(m *clusterv3.Cluster, out *model.Cluster) {
	var root *path
	switch k := m.GetClusterDiscoveryType().(type) {
	case *clusterv3.Cluster_ClusterType:
		c.customType(k.ClusterType, out, root.field("cluster_type"))
	default:
		switch m.GetType() {
		case clusterv3.Cluster_STRICT_DNS:
			out.Type = model.ClusterStrictDNS
		case clusterv3.Cluster_LOGICAL_DNS:
			out.Type = model.ClusterLogicalDNS
		case clusterv3.Cluster_EDS:
			out.Type = model.ClusterEDS
		case clusterv3.Cluster_ORIGINAL_DST:
			out.Type = model.ClusterOriginalDst
		}
	}
	eds := m.GetEdsClusterConfig()
	switch {
	case out.Type == model.ClusterEDS && eds == nil:
		c.fail(root.field("eds_cluster_config"), "cannot create an EDS cluster without an EDS config")
	case out.Type == model.ClusterEDS:
		at := root.field("eds_cluster_config")
		out.EDSServiceName = eds.GetServiceName()
		if out.EDSSource = c.source(eds.GetEdsConfig(), at.field("eds_config")); eds.GetEdsConfig() == nil {
			c.fail(at.field("eds_config"), "must be set")
		}
	case eds != nil:
		c.fail(root.field("eds_cluster_config"), "eds_cluster_config set in a non-EDS cluster")
	}
}

// customType translates the extension form of the types that weir has.
func (c *call) customType(m *clusterv3.Cluster_CustomClusterType, out *model.Cluster, p *path) {
	switch m.GetName() {
	case "envoy.cluster.static":
		return
	case "envoy.cluster.eds":
		out.Type = model.ClusterEDS
		return
	case "envoy.cluster.strict_dns":
		out.Type = model.ClusterStrictDNS
	case "envoy.cluster.logical_dns":
		out.Type = model.ClusterLogicalDNS
	case "envoy.cluster.original_dst":
		out.Type = model.ClusterOriginalDst
		return
	}
	if m.GetTypedConfig() == nil && out.Type != model.ClusterStatic {
		return
	}
	_, config := c.lookup(extension.Clusters, m.GetName(), m.GetTypedConfig(), false, p)
	dns, ok := config.(*dnsv3.DnsCluster)
	if !ok {
		return
	}
	at := p.field("typed_config")
	out.Type = model.ClusterStrictDNS
	if dns.GetAllAddressesInSingleEndpoint() {
		out.Type = model.ClusterLogicalDNS
	}
	out.DNS.RefreshRate = c.duration(dns.GetDnsRefreshRate(), defaultDNSRefresh, at, "dns_refresh_rate")
	out.DNS.FailureRefresh = c.duration(dns.GetDnsFailureRefreshRate().GetBaseInterval(), 0, at.field("dns_failure_refresh_rate"), "base_interval")
	out.DNS.FailureMax = c.duration(dns.GetDnsFailureRefreshRate().GetMaxInterval(), 0, at.field("dns_failure_refresh_rate"), "max_interval")
	out.DNS.Jitter = c.duration(dns.GetDnsJitter(), 0, at, "dns_jitter")
	out.DNS.RespectTTL, out.DNS.MinRefresh = dns.GetRespectDnsTtl(), c.duration(dns.GetDnsMinRefreshRate(), 0, at, "dns_min_refresh_rate")
	if e := dns.GetTypedDnsResolverConfig(); e != nil {
		c.typedResolver(e, &out.DNS, at.field("typed_dns_resolver_config"))
	}
	switch dns.GetDnsLookupFamily() {
	case commondnsv3.DnsLookupFamily_V4_ONLY:
		out.DNS.Family = model.DNSV4Only
	case commondnsv3.DnsLookupFamily_V6_ONLY:
		out.DNS.Family = model.DNSV6Only
	case commondnsv3.DnsLookupFamily_V4_PREFERRED:
		out.DNS.Family = model.DNSV4Preferred
	case commondnsv3.DnsLookupFamily_ALL:
		out.DNS.Family = model.DNSAll
	}
}

// clusterDNS translates the resolution options.
func (c *call) clusterDNS(m *clusterv3.Cluster, out *model.Cluster) {
	var root *path
	out.DNS = model.DNS{
		RefreshRate:    c.duration(m.GetDnsRefreshRate(), defaultDNSRefresh, nil, "dns_refresh_rate"),
		FailureRefresh: c.duration(m.GetDnsFailureRefreshRate().GetBaseInterval(), 0, root.field("dns_failure_refresh_rate"), "base_interval"),
		FailureMax:     c.duration(m.GetDnsFailureRefreshRate().GetMaxInterval(), 0, root.field("dns_failure_refresh_rate"), "max_interval"),
		Jitter:         c.duration(m.GetDnsJitter(), 0, nil, "dns_jitter"),
		RespectTTL:     m.GetRespectDnsTtl(),
	}
	c.resolver(m, &out.DNS)
	switch m.GetDnsLookupFamily() {
	case clusterv3.Cluster_V4_ONLY:
		out.DNS.Family = model.DNSV4Only
	case clusterv3.Cluster_V6_ONLY:
		out.DNS.Family = model.DNSV6Only
	case clusterv3.Cluster_V4_PREFERRED:
		out.DNS.Family = model.DNSV4Preferred
	case clusterv3.Cluster_ALL:
		out.DNS.Family = model.DNSAll
	}
}

// clusterEndpoints translates inline endpoints and checks them against the type.
func (c *call) clusterEndpoints(m *clusterv3.Cluster, out *model.Cluster) {
	var root *path
	at := root.field("load_assignment")
	if m.GetLoadAssignment() != nil {
		out.Inline = c.loadAssignment(m.GetLoadAssignment(), at, out.Type == model.ClusterStrictDNS || out.Type == model.ClusterLogicalDNS)
	}
	switch out.Type {
	case model.ClusterEDS, model.ClusterOriginalDst:
		if out.Inline != nil {
			c.fail(at, "%s clusters must have no load assignment configured", out.Type)
		}
	case model.ClusterLogicalDNS:
		if out.Inline == nil || len(out.Inline.Localities) != 1 || len(out.Inline.Localities[0].Endpoints) != 1 {
			c.fail(at, "LOGICAL_DNS clusters must have a single locality_lb_endpoint and a single lb_endpoint")
		}
	case model.ClusterStatic, model.ClusterStrictDNS:
		if out.Inline == nil {
			c.warn(at, "a %s cluster without load_assignment has no hosts", out.Type)
		}
	}
}

// breakers translates circuit breakers; the first entry of each priority counts.
func (c *call) breakers(m *clusterv3.CircuitBreakers) [2]model.CircuitBreaker {
	var out [2]model.CircuitBreaker
	for i := range out {
		out[i] = model.CircuitBreaker{
			MaxConnections: defaultMaxConnections, MaxPendingRequests: defaultMaxPending,
			MaxRequests: defaultMaxRequests, MaxRetries: defaultMaxRetries,
		}
	}
	var seen [2]bool
	for _, t := range m.GetThresholds() {
		i := 0
		if t.GetPriority() == corev3.RoutingPriority_HIGH {
			i = 1
		}
		if seen[i] {
			continue
		}
		seen[i] = true
		out[i] = model.CircuitBreaker{
			MaxConnections:     u32(t.GetMaxConnections(), defaultMaxConnections),
			MaxPendingRequests: u32(t.GetMaxPendingRequests(), defaultMaxPending),
			MaxRequests:        u32(t.GetMaxRequests(), defaultMaxRequests),
			MaxRetries:         u32(t.GetMaxRetries(), defaultMaxRetries),
			TrackRemaining:     t.GetTrackRemaining(),
			MaxConnectionPools: t.GetMaxConnectionPools().GetValue(),
			RetryBudget:        retryBudget(t.GetRetryBudget()),
		}
	}
	return out
}

// bindConfig translates where upstream connections come from: one address, or one of each family.
func (c *call) bindConfig(m *clusterv3.Cluster, out *model.Cluster) {
	if m.GetUpstreamBindConfig() == nil {
		out.BindAddress, out.BindOther = c.t.process.bind, c.t.process.bindOther
		return
	}
	var root *path
	out.BindAddress, out.BindOther = c.bindAddresses(m.GetUpstreamBindConfig(), out.Name, root.field("upstream_bind_config"))
}

// bindAddresses translates source addresses for owner, which errors name.
func (c *call) bindAddresses(b *corev3.BindConfig, owner string, at *path) (first, other netip.AddrPort) {
	if a := b.GetSourceAddress(); a != nil {
		first, _ = c.ipAddress(a, at.field("source_address"))
	}
	extra := at.elem("extra_source_addresses", 0)
	switch list := b.GetExtraSourceAddresses(); {
	case len(list) > 1:
		c.fail(at.field("extra_source_addresses"), "%s's upstream binding config has more than one extra source addresses", owner)
	case len(list) == 1 && b.GetSourceAddress() == nil:
		c.fail(extra, "%s's upstream binding config has extra source addresses but no source_address", owner)
	case len(list) == 1:
		var ok bool
		other, ok = c.ipAddress(list[0].GetAddress(), extra.field("address"))
		if ok && other.Addr().Is4() == first.Addr().Is4() {
			c.fail(extra, "%s's upstream binding config has two same IP version source addresses", owner)
		}
	}
	return first, other
}

// hostConnections translates the bound of connections per host; the first entry of each priority counts.
func (c *call) hostConnections(m *clusterv3.CircuitBreakers) [2]uint32 {
	var out [2]uint32
	for i, t := range m.GetPerHostThresholds() {
		if t.GetMaxPendingRequests() != nil || t.GetMaxRequests() != nil || t.GetMaxRetries() != nil || t.GetRetryBudget() != nil ||
			t.GetMaxConnectionPools() != nil || t.GetTrackRemaining() {
			var root *path
			c.warn(root.field("circuit_breakers").elem("per_host_thresholds", i), "only max_connections can be bounded per host")
		}
		priority := 0
		if t.GetPriority() == corev3.RoutingPriority_HIGH {
			priority = 1
		}
		if out[priority] == 0 {
			out[priority] = t.GetMaxConnections().GetValue()
		}
	}
	return out
}

// ratio is how many connections there are to be for each request; the default is one.
func ratio(v *wrapperspb.DoubleValue) float64 {
	if v == nil {
		return 1
	}
	return v.GetValue()
}

// keepalive translates TCP keep-alive options; nil stays nil.
func keepalive(k *corev3.TcpKeepalive) *model.TCPKeepalive {
	if k == nil {
		return nil
	}
	return &model.TCPKeepalive{
		Probes:   int(k.GetKeepaliveProbes().GetValue()),
		Time:     time.Duration(k.GetKeepaliveTime().GetValue()) * time.Second,
		Interval: time.Duration(k.GetKeepaliveInterval().GetValue()) * time.Second,
	}
}

// socketMatches translates the choice of transport sockets by endpoint metadata.
func (c *call) socketMatches(m *clusterv3.Cluster, out *model.Cluster) {
	var root *path
	seen := map[string]bool{}
	for i, s := range m.GetTransportSocketMatches() {
		at := root.elem("transport_socket_matches", i)
		if seen[s.GetName()] {
			c.warn(at.field("name"), "transport socket match name %s is used twice", strings.TrimSpace(s.GetName()))
		}
		seen[s.GetName()] = true
		out.TransportSocketMatches = append(out.TransportSocketMatches, model.TransportSocketMatch{
			Name: s.GetName(), Match: plain(s.GetMatch()), TLS: c.upstreamTLS(s.GetTransportSocket(), at.field("transport_socket")),
		})
	}
}
