package translate

import (
	"maps"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/weir-proxy/weir/pkg/config/extension"
)

// table says field by field what becomes of the messages that the translator knows.
type table map[protoreflect.FullName]extension.Fields

// Support returns the table of understood fields: message full name to field. A field that is missing from a message of
// the table has no effect and yields a Warning when it is set. Messages that are not in the table are one value together
// with the field that holds them. The caller may change the result.
func Support() map[protoreflect.FullName]extension.Fields {
	all := table{}
	for _, part := range []table{
		listenerTable(), httpTable(), routeTable(), matchTable(), clusterTable(), endpointTable(), upstreamTable(), tlsTable(),
		coreTable(), bootstrapTable(), accessLogTable(),
	} {
		maps.Copy(all, part)
	}
	return all
}

// message adds a message whose effective fields are listed, separated by spaces. harmless fields come as pairs: a list of
// fields and the reason why they may be accepted without effect.
func (t table) message(name protoreflect.FullName, effective string, harmless ...string) {
	fields := extension.Fields{}
	for f := range strings.FieldsSeq(effective) {
		fields[f] = extension.Field{}
	}
	for i := 0; i+1 < len(harmless); i += 2 {
		for f := range strings.FieldsSeq(harmless[i]) {
			fields[f] = extension.Field{Harmless: harmless[i+1]}
		}
	}
	t[name] = fields
}

// Reasons that several messages share.
const (
	informative = "only informs people and control planes"
	noWorkers   = "weir has no worker threads that share work"
	codecChoice = "weir has one codec of its own"
	subsets     = "only read by subset balancers, which have a warning of their own"
	opaque      = "data for filters that read it; no filter of weir does"
)

func listenerTable() table {
	t := table{}
	t.message("envoy.config.listener.v3.Listener",
		"name address additional_addresses stat_prefix filter_chains use_original_dst default_filter_chain "+
			"per_connection_buffer_limit_bytes listener_filters listener_filters_timeout "+
			"continue_on_listener_filters_timeout transparent freebind traffic_direction access_log "+
			"tcp_backlog_size bind_to_port deprecated_v1",
		"metadata", informative,
		"connection_balance_config max_connections_to_accept_per_socket_event", noWorkers,
		"reuse_port enable_reuse_port", "one socket serves all processors, and SO_REUSEPORT would only hide that another process has the address",
		"drain_type", "weir drains a listener only when it is changed, removed or told to, as MODIFY_ONLY asks; a failed health check never drains",
		"ignore_global_conn_limit bypass_overload_manager", "weir has no overload manager yet, so nothing limits the listener")
	t.message("envoy.config.listener.v3.Listener.DeprecatedV1", "bind_to_port")
	t.message("envoy.config.listener.v3.AdditionalAddress", "address")
	t.message("envoy.config.listener.v3.ListenerFilter", "name typed_config")
	t.message("envoy.config.listener.v3.FilterChain",
		"filter_chain_match filters transport_socket transport_socket_connect_timeout name", "metadata", opaque)
	t.message("envoy.config.listener.v3.FilterChainMatch",
		"destination_port prefix_ranges direct_source_prefix_ranges source_type source_prefix_ranges source_ports server_names "+
			"transport_protocol application_protocols")
	t.message("envoy.config.listener.v3.Filter", "name typed_config")
	t.message("envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
		"stat_prefix cluster weighted_clusters idle_timeout access_log max_connect_attempts max_downstream_connection_duration",
		"metadata_match", subsets)
	t.message("envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy.WeightedCluster", "clusters")
	t.message("envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy.WeightedCluster.ClusterWeight", "name weight", "metadata_match", subsets)
	return t
}

func httpTable() table {
	const hcm = "envoy.extensions.filters.network.http_connection_manager.v3."
	t := table{}
	t.message(hcm+"HttpConnectionManager",
		"codec_type stat_prefix rds route_config http_filters add_user_agent common_http_protocol_options http_protocol_options "+
			"http2_protocol_options server_name server_header_transformation scheme_header_transformation max_request_headers_kb "+
			"stream_idle_timeout request_timeout request_headers_timeout delayed_close_timeout access_log "+
			"use_remote_address xff_num_trusted_hops internal_address_config skip_xff_append via generate_request_id "+
			"preserve_external_request_id always_set_request_id_in_response proxy_100_continue upgrade_configs normalize_path "+
			"merge_slashes path_with_escaped_slashes_action request_id_extension strip_matching_host_port strip_any_host_port "+
			"strip_trailing_host_dot",
		"typed_header_validation_config", codecChoice)
	t.message(hcm+"HttpConnectionManager.InternalAddressConfig", "cidr_ranges")
	t.message(hcm+"HttpConnectionManager.UpgradeConfig", "upgrade_type enabled filters")
	t.message(hcm+"HttpFilter", "name typed_config is_optional disabled")
	t.message(hcm+"Rds", "config_source route_config_name")
	t.message(hcm+"RequestIDExtension", "typed_config")
	t.message("envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig", "",
		"pack_trace_reason use_request_id_for_trace_sampling", "weir does not trace yet")
	t.message("envoy.config.core.v3.SchemeHeaderTransformation", "scheme_to_overwrite")
	t.message("envoy.config.core.v3.HttpProtocolOptions",
		"idle_timeout max_connection_duration max_headers_count max_stream_duration headers_with_underscores_action max_requests_per_connection")
	t.message("envoy.config.core.v3.Http1ProtocolOptions",
		"allow_absolute_url accept_http_10 default_host_for_http_10 header_key_format enable_trailers allow_chunked_length",
		"use_balsa_parser", codecChoice)
	t.message("envoy.config.core.v3.Http1ProtocolOptions.HeaderKeyFormat", "proper_case_words stateful_formatter")
	t.message("envoy.config.core.v3.Http1ProtocolOptions.HeaderKeyFormat.ProperCaseWords", "")
	t.message("envoy.extensions.http.header_formatters.preserve_case.v3.PreserveCaseFormatterConfig", "")
	t.message("envoy.config.core.v3.Http2ProtocolOptions",
		"hpack_table_size max_concurrent_streams initial_stream_window_size initial_connection_window_size",
		"use_oghttp2_codec", codecChoice)
	return t
}

func routeTable() table {
	const route = "envoy.config.route.v3."
	const mutations = "request_headers_to_add request_headers_to_remove response_headers_to_add response_headers_to_remove "
	t := table{}
	t.message(route+"RouteConfiguration",
		"name virtual_hosts internal_only_headers "+mutations+"most_specific_header_mutations_wins validate_clusters "+
			"max_direct_response_body_size_bytes ignore_port_in_host_matching typed_per_filter_config", "metadata", opaque)
	t.message(route+"VirtualHost",
		"name domains routes require_tls "+mutations+"typed_per_filter_config include_request_attempt_count "+
			"include_attempt_count_in_response retry_policy", "metadata", opaque)
	t.message(route+"Route",
		"name match route redirect direct_response metadata "+mutations+"typed_per_filter_config",
		"decorator tracing", "weir does not trace yet")
	t.message(route+"FilterConfig", "config is_optional disabled")
	t.message(route+"WeightedCluster", "clusters total_weight header_name")
	t.message(route+"WeightedCluster.ClusterWeight",
		"name weight "+mutations+"typed_per_filter_config host_rewrite_literal", "metadata_match", subsets)
	t.message(route+"RouteAction",
		"cluster cluster_header weighted_clusters cluster_not_found_response_code prefix_rewrite regex_rewrite "+
			"host_rewrite_literal auto_host_rewrite host_rewrite_header host_rewrite_path_regex append_x_forwarded_host timeout "+
			"idle_timeout retry_policy priority max_grpc_timeout grpc_timeout_offset "+
			"upgrade_configs max_stream_duration",
		"metadata_match", subsets,
		"hash_policy", "only read by RING_HASH and MAGLEV, which have a warning of their own",
		"include_vh_rate_limits", "only read by the rate limit filter, which weir does not have yet")
	t.message(route+"RouteAction.MaxStreamDuration", "max_stream_duration grpc_timeout_header_max grpc_timeout_header_offset")
	t.message(route+"RouteAction.UpgradeConfig", "upgrade_type enabled")
	t.message(route+"RedirectAction",
		"https_redirect scheme_redirect host_redirect port_redirect path_redirect prefix_rewrite regex_rewrite response_code strip_query")
	t.message(route+"DirectResponseAction", "status body")
	t.message(route+"RetryPolicy",
		"retry_on num_retries per_try_timeout per_try_idle_timeout retry_host_predicate host_selection_retry_max_attempts "+
			"retriable_status_codes retry_back_off retriable_headers retriable_request_headers")
	t.message(route+"RetryPolicy.RetryBackOff", "base_interval max_interval")
	t.message(route+"RetryPolicy.RetryHostPredicate", "name typed_config")
	return t
}

func matchTable() table {
	const route, matcher = "envoy.config.route.v3.", "envoy.type.matcher.v3."
	t := table{}
	t.message(route+"RouteMatch",
		"prefix path safe_regex connect_matcher path_separated_prefix case_sensitive runtime_fraction headers query_parameters grpc")
	t.message(route+"RouteMatch.GrpcRouteMatchOptions", "")
	t.message(route+"RouteMatch.ConnectMatcher", "")
	t.message(route+"HeaderMatcher",
		"name exact_match safe_regex_match range_match present_match prefix_match suffix_match contains_match string_match "+
			"invert_match treat_missing_header_as_empty")
	t.message(route+"QueryParameterMatcher", "name string_match present_match")
	t.message(matcher+"StringMatcher", "exact prefix suffix safe_regex contains ignore_case")
	t.message(matcher+"RegexMatcher", "regex", "google_re2", "every regular expression is RE2")
	t.message(matcher+"RegexMatchAndSubstitute", "pattern substitution")
	return t
}

func accessLogTable() table {
	t := table{}
	const log = "envoy.config.accesslog.v3."
	t.message(log+"AccessLog", "name filter typed_config")
	t.message(log+"AccessLogFilter",
		"status_code_filter duration_filter not_health_check_filter and_filter or_filter header_filter response_flag_filter "+
			"grpc_status_filter log_type_filter")
	t.message(log+"StatusCodeFilter", "comparison")
	t.message(log+"DurationFilter", "comparison")
	t.message(log+"ComparisonFilter", "op value")
	t.message(log+"NotHealthCheckFilter", "")
	t.message(log+"AndFilter", "filters")
	t.message(log+"OrFilter", "filters")
	t.message(log+"HeaderFilter", "header")
	t.message(log+"ResponseFlagFilter", "flags")
	t.message(log+"GrpcStatusFilter", "statuses exclude")
	t.message(log+"LogTypeFilter", "types exclude")
	t.message("envoy.config.core.v3.RuntimeUInt32", "default_value runtime_key")
	return t
}
