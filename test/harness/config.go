package harness

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Type URLs that configurations are made of.
const (
	hcmURL    = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
	routerURL = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
	tcpURL    = "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"
	downURL   = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"
	upURL     = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
	httpURL   = "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
	stdoutURL = "type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog"
	sniffURL  = "type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector"
)

// Bootstrap is a configuration whose parts are YAML in flow style, as the builders here give them.
type Bootstrap struct {
	Listeners, Clusters, Secrets []string
	// More are further fields at the top, a line each.
	More string
}

// YAML is the whole bootstrap.
func (b Bootstrap) YAML() string {
	return fmt.Sprintf("static_resources:\n  listeners:%s\n  clusters:%s\n  secrets:%s\n%s\n", items(b.Listeners), items(b.Clusters), items(b.Secrets), b.More)
}

func items(list []string) string {
	if len(list) == 0 {
		return " []"
	}
	return "\n  - " + strings.Join(list, "\n  - ")
}

// Listener is a listener to be written as YAML.
type Listener struct {
	Name string
	// Address and port, such as "[::1]:80".
	Address string
	// Virtual listeners are not bound (bind_to_port: false); OriginalDst is use_original_dst.
	Virtual, OriginalDst bool
	// InspectTLS adds the listener filter for TLS.
	InspectTLS bool
	// Chains are filter chains; see Chain.
	Chains []string
	// More are further fields in flow style.
	More string
}

// YAML is the listener in flow style.
func (l Listener) YAML() string {
	var fields []string
	add := func(format string, args ...any) { fields = append(fields, fmt.Sprintf(format, args...)) }
	add("name: %s, address: %s", l.Name, Address(l.Address))
	if l.Virtual {
		add("bind_to_port: false")
	}
	if l.OriginalDst {
		add("use_original_dst: true")
	}
	if l.InspectTLS {
		add(`listener_filters: [{name: envoy.filters.listener.tls_inspector, typed_config: {"@type": %s}}]`, sniffURL)
	}
	if l.More != "" {
		add("%s", l.More)
	}
	add("filter_chains: [%s]", strings.Join(l.Chains, ", "))
	return "{" + strings.Join(fields, ", ") + "}"
}

// Address is an address with port, as YAML.
func Address(addr string) string {
	ap := netip.MustParseAddrPort(addr)
	return fmt.Sprintf(`{socket_address: {address: %q, port_value: %d}}`, ap.Addr(), ap.Port())
}

// Chain is a filter chain of one filter; more are further fields, such as a match or a transport socket.
func Chain(filter string, more ...string) string {
	return "{" + strings.Join(append([]string{"filters: [" + filter + "]"}, more...), ", ") + "}"
}

// HTTP is an HTTP connection manager with the router, a log on stdout and these routes for every domain.
func HTTP(routes ...string) string {
	return HTTPManager("route_config: " + RouteConfig("local_route", routes...))
}

// RouteConfig is a route configuration with one virtual host for every domain.
func RouteConfig(name string, routes ...string) string {
	return fmt.Sprintf(`{name: %s, virtual_hosts: [{name: all, domains: ["*"], routes: [%s]}]}`, name, strings.Join(routes, ", "))
}

// HTTPManager is an HTTP connection manager with the router, a log on stdout, and these fields.
func HTTPManager(fields ...string) string {
	return fmt.Sprintf(`{name: http, typed_config: {"@type": %s, stat_prefix: ingress, `+
		`http_filters: [{name: envoy.filters.http.router, typed_config: {"@type": %s}}], `+
		`access_log: [{name: log, typed_config: {"@type": %s}}], %s}}`, hcmURL, routerURL, stdoutURL, strings.Join(fields, ", "))
}

// RouteTo is a route for a prefix to a cluster.
func RouteTo(prefix, cluster string) string {
	return fmt.Sprintf("{match: {prefix: %q}, route: {cluster: %s}}", prefix, cluster)
}

// TCP is a TCP proxy to a cluster.
func TCP(cluster string) string {
	return fmt.Sprintf(`{name: tcp, typed_config: {"@type": %s, stat_prefix: tcp, cluster: %s}}`, tcpURL, cluster)
}

// Cluster is a static cluster of addresses; more are further fields.
func Cluster(name string, addrs []netip.AddrPort, more ...string) string {
	fields := append([]string{"name: " + name, "type: STATIC", "load_assignment: " + Endpoints(name, addrs...)}, more...)
	return "{" + strings.Join(fields, ", ") + "}"
}

// To is a list of addresses.
func To(addrs ...netip.AddrPort) []netip.AddrPort { return addrs }

// Endpoints are the addresses of a cluster.
func Endpoints(cluster string, addrs ...netip.AddrPort) string {
	var hosts []string
	for _, a := range addrs {
		hosts = append(hosts, "{endpoint: {address: "+Address(a.String())+"}}")
	}
	return fmt.Sprintf("{cluster_name: %s, endpoints: [{lb_endpoints: [%s]}]}", cluster, strings.Join(hosts, ", "))
}

// OriginalDstCluster sends each connection where it was going.
func OriginalDstCluster(name string) string {
	return fmt.Sprintf("{name: %s, type: ORIGINAL_DST, lb_policy: CLUSTER_PROVIDED}", name)
}

// UpstreamHTTP are the protocol options of a cluster, such as `explicit_http_config: {http2_protocol_options: {}}`.
func UpstreamHTTP(fields string) string {
	return fmt.Sprintf(`typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {"@type": %s, %s}}`, httpURL, fields)
}

// HTTP2 makes a cluster speak HTTP/2.
func HTTP2() string { return UpstreamHTTP("explicit_http_config: {http2_protocol_options: {}}") }

// DownstreamTLS is a transport socket that terminates TLS; common are fields of the common context, more further fields.
func DownstreamTLS(common string, more ...string) string {
	return transportSocket(downURL, common, more)
}

// UpstreamTLS is a transport socket that originates TLS.
func UpstreamTLS(common string, more ...string) string { return transportSocket(upURL, common, more) }

func transportSocket(url, common string, more []string) string {
	fields := append([]string{fmt.Sprintf(`"@type": %s`, url), "common_tls_context: {" + common + "}"}, more...)
	return "transport_socket: {name: envoy.transport_sockets.tls, typed_config: {" + strings.Join(fields, ", ") + "}}"
}

// YAML is the certificate with its key as a TlsCertificate.
func (c Certificate) YAML() string {
	return fmt.Sprintf("{certificate_chain: {inline_string: %s}, private_key: {inline_string: %s}}", strconv.Quote(c.Chain), strconv.Quote(c.Key))
}

// Certificates is the field tls_certificates.
func Certificates(all ...Certificate) string {
	var list []string
	for _, c := range all {
		list = append(list, c.YAML())
	}
	return "tls_certificates: [" + strings.Join(list, ", ") + "]"
}

// Trust is the field validation_context that trusts the CA; more are further fields.
func (ca *CA) Trust(more ...string) string {
	fields := append([]string{fmt.Sprintf("trusted_ca: {inline_string: %s}", strconv.Quote(ca.PEM))}, more...)
	return "validation_context: {" + strings.Join(fields, ", ") + "}"
}

// SecretYAML is a secret that holds a certificate.
func (c Certificate) SecretYAML(name string) string {
	return fmt.Sprintf("{name: %s, tls_certificate: %s}", name, c.YAML())
}

// ADS is the dynamic part of a bootstrap that gets listeners and clusters from one stream; kind is GRPC or DELTA_GRPC. The
// control plane is the cluster xds.
func ADS(kind string) string {
	return fmt.Sprintf(`node: {id: e2e, cluster: test}
dynamic_resources:
  ads_config: {api_type: %s, transport_api_version: V3, grpc_services: [{envoy_grpc: {cluster_name: xds}}]}
  lds_config: {resource_api_version: V3, ads: {}}
  cds_config: {resource_api_version: V3, ads: {}}
`, kind)
}

// HTTPFilters is an HTTP connection manager with these filters before the router, and these fields. Its log on stdout has a
// line of status, flags, details and path for each request.
func HTTPFilters(filters []string, fields ...string) string {
	filters = append(slices.Clone(filters), fmt.Sprintf(`{name: envoy.filters.http.router, typed_config: {"@type": %s}}`, routerURL))
	const format = `"%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %REQ(:PATH)%\n"`
	return fmt.Sprintf(`{name: http, typed_config: {"@type": %s, stat_prefix: ingress, http_filters: [%s], `+
		`access_log: [{name: log, typed_config: {"@type": %s, log_format: {text_format_source: {inline_string: %s}}}}], %s}}`,
		hcmURL, strings.Join(filters, ", "), stdoutURL, format, strings.Join(fields, ", "))
}

// HTTPFilter is a filter with its configuration; more are further fields of the entry.
func HTTPFilter(name, config string, more ...string) string {
	return "{" + strings.Join(append([]string{"name: " + name, "typed_config: " + config}, more...), ", ") + "}"
}

// HTTPFilterConfig is the configuration of an HTTP filter: a message below envoy.extensions.filters.http, such as
// buffer.v3.Buffer, with these fields.
func HTTPFilterConfig(message string, fields ...string) string {
	return "{" + strings.Join(append([]string{`"@type": type.googleapis.com/envoy.extensions.filters.http.` + message}, fields...), ", ") + "}"
}
