package steer

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/weir-proxy/weir/pkg/config/model"
)

// defaultIdleTimeout is the idle timeout of a TCP proxy that configures none (Envoy docs). It is there to clean up after peers
// that vanished, which is up to the applications when nobody stands between them.
const defaultIdleTimeout = time.Hour

// originalDstType is the listener filter that changes nothing for captured connections: where they were going is known.
const originalDstType = "envoy.extensions.filters.listener.original_dst.v3.OriginalDst"

// unlimited is a limit of connections that is as good as none: there are not so many ports.
const unlimited = 1 << 30

// listenerKept tells what keeps all connections of a listener in user space; "" when nothing does.
func listenerKept(l *model.Listener) string {
	if len(l.AccessLogs) > 0 {
		return "access_log needs user space"
	}
	for i, f := range l.ListenerFilters {
		if f.Discovery != nil || !strings.HasSuffix(f.TypeURL, originalDstType) {
			return fmt.Sprintf("listener_filters[%d] (%s) needs user space", i, f.Name)
		}
	}
	return ""
}

// chainOf finds the filter chain of all connections to a target, as the listener would: there is no server name, no ALPN and
// no TLS to be seen. The string tells what else the choice depends on.
func chainOf(l *model.Listener, to target) (int, *model.FilterChain, string) {
	var left []int
	for i := range l.FilterChains {
		left = append(left, i)
	}
	match := func(i int) *model.FilterChainMatch { return &l.FilterChains[i].Match }
	if to.port == 0 {
		if at := slices.IndexFunc(left, func(i int) bool { return match(i).DestinationPort != 0 }); at >= 0 {
			return 0, nil, depends(left[at], "destination_port")
		}
	}
	left = specific(left, func(i int) bool { return match(i).DestinationPort == uint32(to.port) }, func(i int) bool { return match(i).DestinationPort == 0 })
	left, inside := longest(l, left, to.prefix)
	if inside >= 0 {
		return 0, nil, depends(inside, "prefix_ranges")
	}
	left = keep(left, func(i int) bool { return len(match(i).ServerNames) == 0 })
	left = specific(left, func(i int) bool { return match(i).TransportProtocol == "raw_buffer" }, func(i int) bool { return match(i).TransportProtocol == "" })
	left = keep(left, func(i int) bool { return len(match(i).ApplicationProtocols) == 0 })
	for _, i := range left {
		if field := sourceField(match(i)); field != "" {
			return 0, nil, depends(i, field)
		}
	}
	switch {
	case len(left) > 0:
		return left[0], l.FilterChains[left[0]], ""
	case l.DefaultFilterChain != nil:
		return -1, l.DefaultFilterChain, ""
	}
	return 0, nil, "filter_chains: none of them is for these connections"
}

func depends(chain int, field string) string {
	return fmt.Sprintf("filter_chains[%d].filter_chain_match.%s needs user space", chain, field)
}

// sourceField is a criterion that only the accepted connection answers.
func sourceField(m *model.FilterChainMatch) string {
	switch {
	case len(m.DirectSourcePrefixes) > 0:
		return "direct_source_prefix_ranges"
	case m.SourceType != model.SourceAny:
		return "source_type"
	case len(m.SourcePrefixes) > 0:
		return "source_prefix_ranges"
	case len(m.SourcePorts) > 0:
		return "source_ports"
	}
	return ""
}

func keep(list []int, ok func(int) bool) []int {
	return slices.DeleteFunc(list, func(i int) bool { return !ok(i) })
}

// specific keeps those that match exactly, or those that match anything when there are none.
func specific(list []int, exactly, anything func(int) bool) []int {
	if slices.ContainsFunc(list, exactly) {
		return keep(list, exactly)
	}
	return keep(list, anything)
}

// longest keeps the chains with the longest prefix that holds all of whole. inside is a chain, or -1, with a longer one that
// holds a part of it: which chain it is then depends on the connection.
func longest(l *model.Listener, list []int, whole netip.Prefix) (kept []int, inside int) {
	best := -1
	for _, i := range list {
		prefixes := l.FilterChains[i].Match.PrefixRanges
		if len(prefixes) == 0 {
			prefixes = every[:]
		}
		own := -1
		for _, p := range prefixes {
			p = unmapped(p)
			switch {
			case within(whole, p):
				own = max(own, p.Bits())
			case within(p, whole):
				return nil, i
			}
		}
		if own > best {
			best, kept = own, nil
		}
		if own == best && own >= 0 {
			kept = append(kept, i)
		}
	}
	return kept, -1
}

// proxyOf is the TCP proxy of a chain whose other filters only decide, by what the kernel knows, whether there is a connection.
// path is where the chain is in its listener.
func proxyOf(fc *model.FilterChain, path string) (*model.TCPProxy, string) {
	if fc.TLS != nil {
		return nil, path + ".transport_socket: weir terminates TLS, which needs user space"
	}
	if len(fc.Filters) == 0 {
		return nil, path + ".filters: there is none"
	}
	last := len(fc.Filters) - 1
	f, at := fc.Filters[last], fmt.Sprintf("%s.filters[%d]", path, last)
	proxy, ok := f.Config.(*model.TCPProxy)
	if !ok || f.Discovery != nil {
		return nil, fmt.Sprintf("%s (%s) needs user space", at, f.Name)
	}
	if last > 0 {
		if _, kept := AdmissionOf(fc); kept != "" {
			return nil, path + "." + kept
		}
	}
	if field := proxyField(proxy); field != "" {
		return nil, at + "." + field + " needs user space"
	}
	return proxy, ""
}

// proxyField is a field of a TCP proxy that the kernel does not carry out.
func proxyField(p *model.TCPProxy) string {
	switch {
	case len(p.AccessLogs) > 0:
		return "access_log"
	case p.IdleTimeout != 0 && p.IdleTimeout != defaultIdleTimeout:
		return "idle_timeout"
	case p.MaxDownstreamConnectionDuration > 0:
		return "max_downstream_connection_duration"
	case p.MaxConnectAttempts > 1:
		return "max_connect_attempts"
	case p.OnDemand != nil:
		return "on_demand"
	}
	return ""
}

// clusterKept tells what keeps the connections to a cluster in user space; c is nil when it is not known.
func clusterKept(name string, c *model.Cluster) string {
	if c == nil {
		return fmt.Sprintf("cluster %s is not there", name)
	}
	if field := clusterField(c); field != "" {
		return fmt.Sprintf("cluster %s: %s needs user space", name, field)
	}
	return ""
}

// clusterField is a field of a cluster that the kernel does not carry out.
func clusterField(c *model.Cluster) string {
	b := c.Breakers[0]
	switch {
	case c.TLS != nil:
		return "transport_socket"
	case slices.ContainsFunc(c.TransportSocketMatches, func(m model.TransportSocketMatch) bool { return m.TLS != nil }):
		return "transport_socket_matches"
	case c.BindAddress.IsValid() || c.BindOther.IsValid():
		return "upstream_bind_config"
	case c.TCPKeepalive != nil:
		return "upstream_connection_options.tcp_keepalive"
	case c.HostConnections[0] != 0:
		return "circuit_breakers.per_host_thresholds"
	case b.TrackRemaining:
		return "circuit_breakers.thresholds.track_remaining"
	case c.CloseOnHostChange:
		return "common_lb_config.close_connections_on_host_set_change"
	case c.CloseOnUnhealthy:
		return "close_connections_on_host_health_failure"
	case c.MaxConnectionDuration > 0:
		return "common_http_protocol_options.max_connection_duration"
	case c.Type == model.ClusterOriginalDst && c.OriginalDst.PortOverride != 0:
		return "original_dst_lb_config.upstream_port_override"
	case c.Type == model.ClusterOriginalDst && limitOf(c) < unlimited:
		return "circuit_breakers.thresholds (nobody counts what passes)"
	}
	return balancerField(c)
}

// balancerField is an option of a cluster's balancer that the kernel does not carry out.
func balancerField(c *model.Cluster) string {
	switch {
	case (c.LB == model.LBRingHash || c.LB == model.LBMaglev) && c.HashLB.BalanceFactor > 0:
		return "common_lb_config.consistent_hashing_lb_config.hash_balance_factor"
	case c.SlowStart.Window > 0 && c.LB == model.LBLeastRequest:
		return "least_request_lb_config.slow_start_config"
	case c.SlowStart.Window > 0:
		return "round_robin_lb_config.slow_start_config"
	case c.LB != model.LBLeastRequest:
		return ""
	case c.LeastRequest.FullScan:
		return "least_request_lb_config.selection_method"
	case c.LeastRequest.ChoiceCount > 2:
		return "least_request_lb_config.choice_count"
	case c.LeastRequest.ActiveRequestBias != 1 || c.LeastRequest.BiasKey != "":
		return "least_request_lb_config.active_request_bias"
	}
	return ""
}

// limitOf is how many connections a TCP proxy may have to a cluster.
func limitOf(c *model.Cluster) uint32 {
	b := c.Breakers[0]
	if b == (model.CircuitBreaker{}) {
		return 1024 // Envoy's default
	}
	return b.MaxConnections
}
