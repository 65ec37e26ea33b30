package protoyaml

import "google.golang.org/protobuf/reflect/protoreflect"

// removedField returns what replaces a field that Envoy's API v2 had and v3
// has not, or "". Source: the v2 and v3 proto files and Envoy's release notes
// of 1.14 to 1.18.
func removedField(message protoreflect.FullName, field string) string {
	switch string(message) + "." + field {
	case "envoy.config.bootstrap.v3.Bootstrap.runtime":
		return "use layered_runtime"
	case "envoy.config.bootstrap.v3.Bootstrap.admin_address":
		return "use admin.address"
	case "envoy.config.cluster.v3.Cluster.hosts":
		return "use load_assignment"
	case "envoy.config.cluster.v3.Cluster.tls_context", "envoy.config.listener.v3.FilterChain.tls_context":
		return `use transport_socket with the name envoy.transport_sockets.tls`
	case "envoy.config.cluster.v3.Cluster.extension_protocol_options":
		return "use typed_extension_protocol_options"
	case "envoy.config.core.v3.HealthCheck.HttpHealthCheck.use_http2":
		return "use codec_client_type: HTTP2"
	case "envoy.config.core.v3.HealthCheck.HttpHealthCheck.service_name":
		return "use service_name_matcher"
	case "envoy.config.core.v3.Node.build_version":
		return "use user_agent_name with user_agent_version"
	case "envoy.config.route.v3.RouteMatch.regex":
		return "use safe_regex"
	case "envoy.config.route.v3.HeaderMatcher.regex_match":
		return "use string_match with safe_regex"
	case "envoy.config.route.v3.QueryParameterMatcher.value", "envoy.config.route.v3.QueryParameterMatcher.regex":
		return "use string_match"
	case "envoy.config.route.v3.VirtualCluster.pattern", "envoy.config.route.v3.VirtualCluster.method":
		return "use headers"
	case "envoy.config.route.v3.RouteAction.request_mirror_policy":
		return "use request_mirror_policies"
	case "envoy.config.route.v3.CorsPolicy.allow_origin", "envoy.config.route.v3.CorsPolicy.allow_origin_regex":
		return "use allow_origin_string_match"
	case "envoy.config.route.v3.CorsPolicy.enabled":
		return "use filter_enabled"
	case "envoy.type.matcher.v3.StringMatcher.regex":
		return "use safe_regex"
	case "envoy.extensions.transport_sockets.tls.v3.CertificateValidationContext.verify_subject_alt_name":
		return "use match_typed_subject_alt_names"
	case "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.idle_timeout":
		return "use common_http_protocol_options.idle_timeout"
	case "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.Tracing.operation_name":
		return "use traffic_direction of the listener"
	case "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.Tracing.request_headers_for_tags":
		return "use custom_tags"
	case "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy.deprecated_v1":
		return "use the filter_chain_match of the listener"
	case "envoy.extensions.filters.http.buffer.v3.Buffer.max_request_time":
		return "use request_timeout of the HTTP connection manager"
	case "envoy.config.listener.v3.Listener.deprecated_v1":
		return "use bind_to_port"
	case "envoy.config.listener.v3.ListenerFilter.config", "envoy.config.listener.v3.Filter.config":
		return `use typed_config with an "@type"`
	}
	return ""
}
