package translate

//lint:file-ignore SA1019 Configurations still use these deprecated fields, so they take effect.

import (
	"time"

	xdscorev3 "github.com/cncf/xds/go/xds/core/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	dnsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/udp/dns_filter/v3"
	udpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/udp/udp_proxy/v3"

	"github.com/weir-proxy/weir/pkg/config/extension"
	"github.com/weir-proxy/weir/pkg/config/model"
)

// Envoy's defaults of UDP.
const (
	defaultMaxDatagram    = 1500
	maxDatagram           = 65535
	defaultUDPIdleTimeout = time.Minute
)

// isUDP tells whether a listener receives datagrams.
func isUDP(m *listenerv3.Listener) bool {
	return m.GetAddress().GetSocketAddress().GetProtocol() == corev3.SocketAddress_UDP
}

// udpListener translates what a listener of datagrams has in place of filter chains; it is nothing for one of TCP.
func (c *call) udpListener(m *listenerv3.Listener, out *model.Listener) {
	var root *path
	config := m.GetUdpListenerConfig()
	if !isUDP(m) {
		if config != nil {
			c.fail(root.field("udp_listener_config"), "error adding listener '%s': the address is not of protocol UDP", ListenerName(m))
		}
		return
	}
	at := root.field("udp_listener_config")
	out.UDP = udpSocket(config.GetDownstreamSocketConfig(), false)
	if config.GetQuicOptions() != nil {
		c.unsupported(at.field("quic_options"))
	}
	if config.GetUdpPacketPacketWriterConfig() != nil {
		c.unsupported(at.field("udp_packet_packet_writer_config"))
	}
	for i, a := range m.GetAdditionalAddresses() {
		if s := a.GetAddress().GetSocketAddress(); s != nil && s.GetProtocol() != corev3.SocketAddress_UDP {
			c.fail(root.elem("additional_addresses", i).field("address"), "all addresses of a listener must be of the same protocol")
		}
	}
	if n := len(m.GetFilterChains()); n > 0 || m.GetDefaultFilterChain() != nil {
		c.fail(root.field("filter_chains"), "error adding listener '%s': %d filter chain(s) specified for connection-less UDP listener", ListenerName(m), n)
	}
	out.ListenerFilters = c.udpFilters(m.GetListenerFilters())
	if len(m.GetListenerFilters()) == 0 {
		c.fail(root.field("listener_filters"), "error adding listener '%s': no filter handles its datagrams", ListenerName(m))
	}
}

// udpFilters translates the filters of a listener of datagrams: there may be one, which handles them.
func (c *call) udpFilters(list []*listenerv3.ListenerFilter) []*model.ListenerFilter {
	var root *path
	var out []*model.ListenerFilter
	for i, f := range list {
		at := root.elem("listener_filters", i)
		if f.GetConfigDiscovery() != nil {
			c.unsupported(at.field("config_discovery"))
			continue
		}
		if f.GetFilterDisabled() != nil {
			c.warn(at.field("filter_disabled"), "only the filters of connections can be disabled: this has no effect")
		}
		if i > 0 {
			c.fail(at, "only one filter can handle the datagrams of a listener")
			continue
		}
		factory, config := c.lookup(extension.UDPListenerFilters, f.GetName(), f.GetTypedConfig(), false, at)
		if factory == nil {
			continue
		}
		filter := &model.ListenerFilter{Name: f.GetName(), TypeURL: factory.TypeURL()}
		if f.GetTypedConfig() == nil {
			c.fail(at.field("typed_config"), "%s needs a configuration", f.GetName())
		}
		switch m := config.(type) {
		case *udpv3.UdpProxyConfig:
			filter.Config = c.udpProxy(m, at.field("typed_config"))
		case *dnsv3.DnsFilterConfig:
			filter.Config = c.dnsFilter(m, at.field("typed_config"))
		default:
			if factory, filter.Config = c.decoded(factory, factory.Decode, config, at); factory == nil {
				continue
			}
		}
		out = append(out, filter)
	}
	return out
}

// udpSocket translates how datagrams are received.
func udpSocket(m *corev3.UdpSocketConfig, gro bool) *model.UDPSocket {
	out := &model.UDPSocket{MaxDatagram: defaultMaxDatagram, GRO: isSet(m.GetPreferGro(), gro)}
	if n := m.GetMaxRxDatagramSize(); n != nil {
		out.MaxDatagram = int(min(n.GetValue(), maxDatagram)) // beyond is an error of validation
	}
	return out
}

// udpProxy translates a UDP proxy.
func (c *call) udpProxy(m *udpv3.UdpProxyConfig, p *path) *model.UDPProxy {
	options := p.field("access_log_options")
	out := &model.UDPProxy{
		StatPrefix:        m.GetStatPrefix(),
		IdleTimeout:       c.duration(m.GetIdleTimeout(), defaultUDPIdleTimeout, p, "idle_timeout"),
		PerPacket:         m.GetUsePerPacketLoadBalancing(),
		UseOriginalSource: m.GetUseOriginalSrcIp(),
		Upstream:          *udpSocket(m.GetUpstreamSocketConfig(), true),
		AccessLogs:        c.accessLogs(m.GetAccessLog(), p, "access_log"),
		ProxyAccessLogs:   c.accessLogs(m.GetProxyAccessLog(), p, "proxy_access_log"),
		AccessLogInterval: c.duration(m.GetAccessLogOptions().GetAccessLogFlushInterval(), 0, options, "access_log_flush_interval"),
	}
	for _, h := range m.GetHashPolicies() {
		out.HashSourceIP, out.HashKey = h.GetSourceIp(), h.GetKey()
	}
	switch k := m.GetRouteSpecifier().(type) {
	case *udpv3.UdpProxyConfig_Cluster:
		out.Cluster = k.Cluster
	case *udpv3.UdpProxyConfig_Matcher:
		c.udpMatcher(m, out, p.field("matcher"))
	}
	if len(m.GetSessionFilters()) > 0 {
		c.unsupported(p.field("session_filters"))
	}
	if m.GetTunnelingConfig() != nil {
		c.unsupported(p.field("tunneling_config"))
	}
	return out
}

// udpMatcher translates the tree that chooses the cluster of a session.
func (c *call) udpMatcher(m *udpv3.UdpProxyConfig, out *model.UDPProxy, p *path) {
	if c.t.opt.DecodeMatcher == nil {
		c.unsupported(p)
		return
	}
	reader := c.treeReader(p, func(e *xdscorev3.TypedExtensionConfig, at *path) any {
		at = at.field("typed_config")
		switch m := c.unpack(e.GetTypedConfig(), at).(type) {
		case nil:
		case *udpv3.Route:
			route := &model.UDPRoute{Cluster: m.GetCluster()}
			out.Routes = append(out.Routes, route)
			return route
		default:
			c.fail(at, "the action must be a %s", (&udpv3.Route{}).ProtoReflect().Descriptor().FullName())
		}
		return (*model.UDPRoute)(nil)
	})
	reader.Inputs = extension.MatchingNetworkInputs
	tree, err := c.t.opt.DecodeMatcher(m.GetMatcher(), reader)
	c.pathErrors(err, p)
	out.Matcher = tree
}

// udpTable says which fields of UDP take effect.
func udpTable() table {
	const proxy = "envoy.extensions.filters.udp.udp_proxy.v3."
	t := table{}
	t.message("envoy.config.listener.v3.UdpListenerConfig", "downstream_socket_config")
	t.message("envoy.config.core.v3.UdpSocketConfig", "max_rx_datagram_size prefer_gro")
	t.message(proxy+"UdpProxyConfig",
		"stat_prefix cluster matcher idle_timeout use_original_src_ip hash_policies upstream_socket_config "+
			"use_per_packet_load_balancing access_log proxy_access_log access_log_options")
	t.message(proxy+"UdpProxyConfig.HashPolicy", "source_ip key")
	t.message(proxy+"UdpProxyConfig.UdpAccessLogOptions", "access_log_flush_interval",
		"flush_access_log_on_tunnel_connected", "there are no tunnels without tunneling_config")
	t.message(proxy+"Route", "cluster")
	return t
}
