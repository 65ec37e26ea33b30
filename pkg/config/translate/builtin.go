package translate

import (
	dnsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/dns/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tcpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	dnsfilterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/udp/dns_filter/v3"
	udpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/udp/udp_proxy/v3"
	preservev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/header_formatters/preserve_case/v3"
	allowv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/internal_redirect/allow_listed_routes/v3"
	previousroutesv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/internal_redirect/previous_routes/v3"
	safev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/internal_redirect/safe_cross_scheme/v3"
	csrrv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/client_side_weighted_round_robin/v3"
	providedv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/cluster_provided/v3"
	leastv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/least_request/v3"
	maglevv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/maglev/v3"
	randomv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/random/v3"
	ringv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/ring_hash/v3"
	roundv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/round_robin/v3"
	wrrv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/wrr_locality/v3"
	caresv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/network/dns_resolver/cares/v3"
	getaddrinfov3 "github.com/envoyproxy/go-control-plane/envoy/extensions/network/dns_resolver/getaddrinfo/v3"
	templatematchv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/path/match/uri_template/v3"
	templaterewritev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/path/rewrite/uri_template/v3"
	uuidv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/request_id/uuid/v3"
	canaryv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/host/omit_canary_hosts/v3"
	hostmetadatav3 "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/host/omit_host_metadata/v3"
	previousv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/host/previous_hosts/v3"
	prioritiesv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/priority/previous_priorities/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	upstreamtcpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/tcp/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weir-proxy/weir/pkg/config/extension"
)

// builtin describes the extensions that the translator decodes by itself.
func builtin() []extension.Factory {
	one := func(category, name string, config proto.Message, aliases ...string) extension.Factory {
		return extension.Factory{Category: category, Name: name, Aliases: aliases, Config: config}
	}
	terminal := func(f extension.Factory) extension.Factory {
		f.Terminal = true
		return f
	}
	return []extension.Factory{
		interceptionFactory(),
		terminal(one(extension.NetworkFilters, "envoy.filters.network.http_connection_manager", &hcmv3.HttpConnectionManager{}, "envoy.http_connection_manager")),
		terminal(one(extension.NetworkFilters, "envoy.filters.network.tcp_proxy", &tcpv3.TcpProxy{}, "envoy.tcp_proxy")),
		one(extension.UDPListenerFilters, "envoy.filters.udp_listener.udp_proxy", &udpv3.UdpProxyConfig{}, "envoy.filters.udp.udp_proxy"),
		one(extension.UDPListenerFilters, "envoy.filters.udp.dns_filter", &dnsfilterv3.DnsFilterConfig{}, "envoy.filters.udp_listener.dns_filter"),
		one(extension.DownstreamSockets, "envoy.transport_sockets.tls", &tlsv3.DownstreamTlsContext{}, "tls"),
		one(extension.DownstreamSockets, "envoy.transport_sockets.raw_buffer", rawBuffer(), "raw_buffer"),
		one(extension.UpstreamSockets, "envoy.transport_sockets.tls", &tlsv3.UpstreamTlsContext{}, "tls"),
		one(extension.UpstreamSockets, "envoy.transport_sockets.raw_buffer", rawBuffer(), "raw_buffer"),
		one(extension.LoadBalancers, "envoy.load_balancing_policies.round_robin", &roundv3.RoundRobin{}),
		one(extension.LoadBalancers, "envoy.load_balancing_policies.least_request", &leastv3.LeastRequest{}),
		one(extension.LoadBalancers, "envoy.load_balancing_policies.random", &randomv3.Random{}),
		one(extension.LoadBalancers, "envoy.load_balancing_policies.ring_hash", &ringv3.RingHash{}),
		one(extension.LoadBalancers, "envoy.load_balancing_policies.maglev", &maglevv3.Maglev{}),
		one(extension.LoadBalancers, "envoy.load_balancing_policies.cluster_provided", &providedv3.ClusterProvided{}),
		one(extension.LoadBalancers, "envoy.load_balancing_policies.wrr_locality", &wrrv3.WrrLocality{}),
		one(extension.LoadBalancers, "envoy.load_balancing_policies.client_side_weighted_round_robin", &csrrv3.ClientSideWeightedRoundRobin{}),
		one(extension.UpstreamProtocolOptions, "envoy.extensions.upstreams.http.v3.HttpProtocolOptions", &httpv3.HttpProtocolOptions{}, "envoy.upstreams.http.http_protocol_options"),
		one(extension.UpstreamProtocolOptions, "envoy.extensions.upstreams.tcp.v3.TcpProtocolOptions", &upstreamtcpv3.TcpProtocolOptions{}, "envoy.upstreams.tcp.tcp_protocol_options"),
		one(extension.PathMatchers, "envoy.path.match.uri_template.uri_template_matcher", &templatematchv3.UriTemplateMatchConfig{}),
		one(extension.PathRewriters, "envoy.path.rewrite.uri_template.uri_template_rewriter", &templaterewritev3.UriTemplateRewriteConfig{}),
		one(extension.RetryHostPredicates, "envoy.retry_host_predicates.previous_hosts", &previousv3.PreviousHostsPredicate{}),
		one(extension.RetryHostPredicates, "envoy.retry_host_predicates.omit_canary_hosts", &canaryv3.OmitCanaryHostsPredicate{}),
		one(extension.RetryHostPredicates, "envoy.retry_host_predicates.omit_host_metadata", &hostmetadatav3.OmitHostMetadataConfig{}),
		one(extension.RetryPriorities, "envoy.retry_priorities.previous_priorities", &prioritiesv3.PreviousPrioritiesConfig{}),
		one(extension.RedirectPredicates, "envoy.internal_redirect_predicates.allow_listed_routes", &allowv3.AllowListedRoutesConfig{}),
		one(extension.RedirectPredicates, "envoy.internal_redirect_predicates.previous_routes", &previousroutesv3.PreviousRoutesConfig{}),
		one(extension.RedirectPredicates, "envoy.internal_redirect_predicates.safe_cross_scheme", &safev3.SafeCrossSchemeConfig{}),
		one(extension.HTTP1HeaderFormatters, "envoy.http.stateful_header_formatters.preserve_case", &preservev3.PreserveCaseFormatterConfig{}, "preserve_case"),
		one(extension.RequestIDs, "envoy.request_id.uuid", &uuidv3.UuidRequestIdConfig{}),
		one(extension.DNSResolvers, "envoy.network.dns_resolver.cares", &caresv3.CaresDnsResolverConfig{}),
		one(extension.DNSResolvers, "envoy.network.dns_resolver.getaddrinfo", &getaddrinfov3.GetAddrInfoDnsResolverConfig{}),
		one(extension.Clusters, "envoy.clusters.dns", &dnsv3.DnsCluster{}, "envoy.cluster.dns", "envoy.cluster.strict_dns", "envoy.cluster.logical_dns"),
	}
}
