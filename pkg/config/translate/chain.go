package translate

import (
	"fmt"
	"slices"
	"strings"
	"time"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tcpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"

	"github.com/weir-proxy/weir/pkg/config/extension"
	"github.com/weir-proxy/weir/pkg/config/model"
)

// filterChains translates all filter chains of a listener.
func (c *call) filterChains(m *listenerv3.Listener, out *model.Listener) {
	var root *path
	for i, f := range m.GetFilterChains() {
		out.FilterChains = append(out.FilterChains, c.filterChain(f, root.elem("filter_chains", i)))
	}
	if d := m.GetDefaultFilterChain(); d != nil {
		out.DefaultFilterChain = c.filterChain(d, root.field("default_filter_chain"))
		if d.GetFilterChainMatch() != nil {
			c.warn(root.field("default_filter_chain").field("filter_chain_match"), "the default filter chain is not matched")
		}
	}
	if len(out.FilterChains) == 0 && out.DefaultFilterChain == nil && m.GetApiListener() == nil {
		c.fail(root.field("filter_chains"), "error adding listener '%s': no filter chains specified", ListenerName(m))
	}
	c.uniqueMatches(out)
}

// filterChain translates one filter chain.
func (c *call) filterChain(m *listenerv3.FilterChain, p *path) *model.FilterChain {
	out := &model.FilterChain{
		Name:                          m.GetName(),
		Hash:                          c.t.Hash(m),
		Match:                         c.chainMatch(m.GetFilterChainMatch(), p.field("filter_chain_match")),
		TLS:                           c.downstreamTLS(m.GetTransportSocket(), p.field("transport_socket")),
		TransportSocketConnectTimeout: c.duration(m.GetTransportSocketConnectTimeout(), 0, p, "transport_socket_connect_timeout"),
	}
	names := make([]entry, len(m.GetFilters()))
	for i, f := range m.GetFilters() {
		at := p.elem("filters", i)
		names[i] = entry{f.GetName(), f.GetTypedConfig()}
		if d := f.GetConfigDiscovery(); d != nil {
			names[i] = entry{}
			out.Filters = append(out.Filters, &model.NetworkFilter{Name: f.GetName(), Discovery: c.discovery(
				filterKind{model.NetworkFilterKind, extension.NetworkFilters}, f.GetName(), d, i == len(names)-1, at.field("config_discovery"),
			)})
			continue
		}
		if n := c.networkFilter(f, at); n != nil {
			out.Filters = append(out.Filters, n)
		}
		if out.TLS != nil && strings.HasSuffix(c.typeOf(f.GetTypedConfig()), "/"+metadataExchange) {
			withoutExchange(&out.TLS.TLSParams, &out.TLS.Hash)
		}
	}
	c.terminal(extension.NetworkFilters, "network", names, p.field("filters"))
	if len(names) == 0 {
		c.warn(p.field("filters"), "the chain is empty: its connections are closed at once")
	}
	return out
}

// networkFilter translates one network filter; nil after an error.
func (c *call) networkFilter(m *listenerv3.Filter, p *path) *model.NetworkFilter {
	f, config := c.lookup(extension.NetworkFilters, m.GetName(), m.GetTypedConfig(), false, p)
	if f == nil {
		return nil
	}
	out := &model.NetworkFilter{Name: m.GetName(), TypeURL: f.TypeURL()}
	at := p.field("typed_config")
	switch config := config.(type) {
	case *hcmv3.HttpConnectionManager:
		c.requireConfig(m, config, p)
		out.Config = c.hcm(config, at)
	case *tcpv3.TcpProxy:
		c.requireConfig(m, config, p)
		out.Config = c.tcpProxy(config, at)
	default:
		if f, out.Config = c.decoded(f, f.Decode, config, p); f == nil {
			return nil
		}
	}
	return out
}

// requireConfig validates the default configuration of a filter that was given by name only.
func (c *call) requireConfig(m *listenerv3.Filter, config interface{ ValidateAll() error }, p *path) {
	if m.GetTypedConfig() == nil && config.ValidateAll() != nil {
		c.fail(p.field("typed_config"), "%s needs a configuration", m.GetName())
	}
}

// chainMatch translates the criteria of a filter chain.
func (c *call) chainMatch(m *listenerv3.FilterChainMatch, p *path) model.FilterChainMatch {
	out := model.FilterChainMatch{
		DestinationPort:      m.GetDestinationPort().GetValue(),
		PrefixRanges:         c.prefixes(m.GetPrefixRanges(), p, "prefix_ranges"),
		ServerNames:          lower(m.GetServerNames()),
		TransportProtocol:    m.GetTransportProtocol(),
		ApplicationProtocols: m.GetApplicationProtocols(),
		DirectSourcePrefixes: c.prefixes(m.GetDirectSourcePrefixRanges(), p, "direct_source_prefix_ranges"),
		SourcePrefixes:       c.prefixes(m.GetSourcePrefixRanges(), p, "source_prefix_ranges"),
		SourcePorts:          m.GetSourcePorts(),
	}
	switch m.GetSourceType() {
	case listenerv3.FilterChainMatch_SAME_IP_OR_LOOPBACK:
		out.SourceType = model.SourceSameIPOrLoopback
	case listenerv3.FilterChainMatch_EXTERNAL:
		out.SourceType = model.SourceExternal
	}
	for i, n := range m.GetServerNames() {
		if rest := strings.TrimPrefix(n, "*."); strings.Contains(rest, "*") || rest == "" {
			c.fail(p.elem("server_names", i), "partial wildcards are not supported in \"server_names\": %q", n)
		}
	}
	if m.GetAddressSuffix() != "" || m.GetSuffixLen() != nil {
		c.unsupported(p.field("address_suffix"))
	}
	return out
}

// chainName is how errors call the chain with index i.
func chainName(l *model.Listener, i int) string {
	if name := l.FilterChains[i].Name; name != "" {
		return name
	}
	return fmt.Sprintf("filter_chains[%d]", i)
}

// maxTuples bounds how many combinations of criteria are compared between the filter chains of a listener.
const maxTuples = 200_000

// uniqueMatches checks that no combination of criteria leads to two chains.
func (c *call) uniqueMatches(l *model.Listener) {
	var root *path
	owner := map[string]int{}
	for i, chain := range l.FilterChains {
		for _, t := range tuples(&chain.Match, maxTuples-len(owner)) {
			other, taken := owner[t]
			if taken && other != i {
				c.fail(root.elem("filter_chains", i).field("filter_chain_match"),
					"error adding listener '%s': filter chain '%s' has the same matching rules defined as '%s'",
					l.Name, chainName(l, i), chainName(l, other))
				break
			}
			owner[t] = i
		}
	}
}

// tuples lists the combinations of single criteria of m, at most limit of them.
func tuples(m *model.FilterChainMatch, limit int) []string {
	if limit <= 0 {
		return nil
	}
	out := []string{fmt.Sprint(m.DestinationPort, "|", m.TransportProtocol, "|", m.SourceType)}
	for _, criterion := range [][]string{
		texts(m.PrefixRanges), m.ServerNames, m.ApplicationProtocols, texts(m.DirectSourcePrefixes), texts(m.SourcePrefixes), texts(m.SourcePorts),
	} {
		if len(criterion) == 0 {
			criterion = []string{""}
		}
		criterion = slices.Compact(slices.Sorted(slices.Values(criterion)))
		var next []string
		for _, t := range out {
			for _, one := range criterion {
				if len(next) >= limit {
					return next
				}
				next = append(next, t+"|"+one)
			}
		}
		out = next
	}
	return out
}

func texts[T any](list []T) []string {
	out := make([]string, len(list))
	for i, v := range list {
		out[i] = fmt.Sprint(v)
	}
	return out
}

// defaultODCDSTimeout is how long a TCP connection waits for its cluster, as in Envoy.
const defaultODCDSTimeout = time.Minute

// tcpProxy translates a TCP proxy.
func (c *call) tcpProxy(m *tcpv3.TcpProxy, p *path) *model.TCPProxy {
	out := &model.TCPProxy{
		StatPrefix:                      m.GetStatPrefix(),
		IdleTimeout:                     c.duration(m.GetIdleTimeout(), defaultIdleTimeout, p, "idle_timeout"),
		MaxConnectAttempts:              int(max(u32(m.GetMaxConnectAttempts(), 1), 1)),
		MaxDownstreamConnectionDuration: c.duration(m.GetMaxDownstreamConnectionDuration(), 0, p, "max_downstream_connection_duration"),
		AccessLogs:                      c.accessLogs(m.GetAccessLog(), p, "access_log"),
	}
	switch k := m.GetClusterSpecifier().(type) {
	case *tcpv3.TcpProxy_Cluster:
		out.Clusters = []model.WeightedCluster{{Name: k.Cluster, Weight: 1}}
		if k.Cluster == "" {
			c.fail(p.field("cluster"), "must not be empty")
		}
	case *tcpv3.TcpProxy_WeightedClusters:
		var sum uint64
		for _, w := range k.WeightedClusters.GetClusters() {
			sum += uint64(w.GetWeight())
			o := model.WeightedCluster{Name: w.GetName(), Weight: w.GetWeight()}
			if s := w.GetMetadataMatch().GetFilterMetadata()[lbMetadata]; s != nil {
				o.Metadata = plain(s)
			}
			out.Clusters = append(out.Clusters, o)
		}
		c.weightSum(sum, p.field("weighted_clusters"))
	}
	if o := m.GetOnDemand(); o.GetOdcdsConfig() != nil {
		at := p.field("on_demand")
		out.OnDemand = &model.OnDemandClusters{
			Source: c.source(o.GetOdcdsConfig(), at.field("odcds_config")), Timeout: c.duration(o.GetTimeout(), defaultODCDSTimeout, at, "timeout"),
		}
	}
	for _, h := range m.GetHashPolicy() { // there may be one
		out.HashSourceIP = h.GetSourceIp() != nil
	}
	if m.GetTunnelingConfig() != nil {
		c.unsupported(p.field("tunneling_config"))
	}
	return out
}
