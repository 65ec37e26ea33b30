package protoyaml

// removedFields says what replaces the fields that Envoy's API v2 had and v3 has
// not, keyed by message and field. Source: the v2 and v3 packages of
// go-control-plane, which hold both generations of the proto files.
func removedFields() map[string]string {
	return map[string]string{
		"envoy.config.bootstrap.v3.Bootstrap.runtime":                                                                        "use layered_runtime",
		"envoy.config.cluster.v3.Cluster.hosts":                                                                              "use load_assignment",
		"envoy.config.cluster.v3.Cluster.tls_context":                                                                        `use transport_socket with the name envoy.transport_sockets.tls`,
		"envoy.config.listener.v3.FilterChain.tls_context":                                                                   `use transport_socket with the name envoy.transport_sockets.tls`,
		"envoy.config.cluster.v3.Cluster.extension_protocol_options":                                                         "use typed_extension_protocol_options",
		"envoy.config.core.v3.HealthCheck.HttpHealthCheck.use_http2":                                                         "use codec_client_type: HTTP2",
		"envoy.config.core.v3.HealthCheck.HttpHealthCheck.service_name":                                                      "use service_name_matcher",
		"envoy.config.core.v3.Node.build_version":                                                                            "use user_agent_name with user_agent_version",
		"envoy.config.route.v3.RouteMatch.regex":                                                                             "use safe_regex",
		"envoy.config.route.v3.HeaderMatcher.regex_match":                                                                    "use string_match with safe_regex",
		"envoy.config.route.v3.QueryParameterMatcher.value":                                                                  "use string_match",
		"envoy.config.route.v3.QueryParameterMatcher.regex":                                                                  "use string_match",
		"envoy.config.route.v3.VirtualCluster.pattern":                                                                       "use headers",
		"envoy.config.route.v3.VirtualCluster.method":                                                                        "use headers",
		"envoy.config.route.v3.RouteAction.request_mirror_policy":                                                            "use request_mirror_policies",
		"envoy.config.route.v3.CorsPolicy.allow_origin":                                                                      "use allow_origin_string_match",
		"envoy.config.route.v3.CorsPolicy.allow_origin_regex":                                                                "use allow_origin_string_match",
		"envoy.config.route.v3.CorsPolicy.enabled":                                                                           "use filter_enabled",
		"envoy.type.matcher.v3.StringMatcher.regex":                                                                          "use safe_regex",
		"envoy.extensions.transport_sockets.tls.v3.CertificateValidationContext.verify_subject_alt_name":                     "use match_typed_subject_alt_names",
		"envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.idle_timeout":                     "use common_http_protocol_options.idle_timeout",
		"envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.Tracing.operation_name":           "use traffic_direction of the listener",
		"envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.Tracing.request_headers_for_tags": "use custom_tags",
		"envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy.deprecated_v1":                                               "use the filter_chain_match of the listener",
		"envoy.config.listener.v3.ListenerFilter.config":                                                                     `use typed_config with an "@type"`,
		"envoy.config.listener.v3.Filter.config":                                                                             `use typed_config with an "@type"`,
	}
}
