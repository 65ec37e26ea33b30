package main

import (
	"fmt"
	"path/filepath"
	"strings"
)

func weirSetup(dir string, port int, s shape) (files, []string) {
	out := files{}
	tls, log, options := "", "", ""
	if s.tls {
		out["cert.pem"], out["key.pem"] = certificate()
		tls = fmt.Sprintf(`      transport_socket:
        name: envoy.transport_sockets.tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          common_tls_context:
            tls_params: {tls_minimum_protocol_version: TLSv1_3, ecdh_curves: [X25519]}
            tls_certificates:
            - certificate_chain: {filename: %[1]s/cert.pem}
              private_key: {filename: %[1]s/key.pem}
`, dir)
	}
	if s.accessLog {
		log = fmt.Sprintf(`          access_log:
          - name: envoy.access_loggers.file
            typed_config: {"@type": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog, path: %s/access.log}
`, dir)
	}
	if s.upHTTP2 {
		options = `    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http2_protocol_options: {}}
`
	}
	out["weir.yaml"] = fmt.Sprintf(`admin:
  address: {socket_address: {address: 127.0.0.1, port_value: %d}}
  profile_path: %s
static_resources:
  listeners:
  - name: in
    address: {socket_address: {address: 127.0.0.1, port_value: %d}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: in
          use_remote_address: true
          stream_idle_timeout: 600s
%s          route_config:
            name: all
            virtual_hosts:
%s          http_filters:
          - name: envoy.filters.http.router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
%s  clusters:
  - name: backend
    connect_timeout: 1s
    type: STATIC
    circuit_breakers: {thresholds: [{max_connections: 4096, max_pending_requests: 4096, max_requests: 4096}]}
%s    load_assignment:
      cluster_name: backend
      endpoints:
      - lb_endpoints:
        - endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: %d}}}
`, adminPort, filepath.Join(dir, profileName), port, log, virtualHosts(s), tls, options, backendPort)
	return out, []string{"-c", filepath.Join(dir, "weir.yaml"), "--concurrency", "1", "-l", "warning"}
}

func virtualHosts(s shape) string {
	if s.hosts == 0 {
		return `            - {name: all, domains: ["*"], routes: [{match: {prefix: "/"}, route: {cluster: backend}}]}
`
	}
	var b strings.Builder
	for h := range s.hosts {
		fmt.Fprintf(&b, "            - name: host%d\n              domains: [%q]\n              routes:\n", h, hostName(h))
		for r := range s.routes {
			fmt.Fprintf(&b, "              - {match: {prefix: %q}, route: {cluster: backend}}\n", routePath(r))
		}
	}
	return b.String()
}
