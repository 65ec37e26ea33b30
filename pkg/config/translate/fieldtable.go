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
		listenerTable(), udpTable(), dnsFilterTable(), httpTable(), routeTable(), rateLimitTable(), matcherTreeTable(), matchTable(), clusterTable(), endpointTable(), healthCheckTable(), upstreamTable(), tlsTable(),
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
			"tcp_backlog_size socket_options tcp_keepalive tcp_fast_open_queue_length udp_listener_config bind_to_port deprecated_v1 drain_type ignore_global_conn_limit",
		"metadata", informative,
		"connection_balance_config max_connections_to_accept_per_socket_event", noWorkers,
		"reuse_port enable_reuse_port", "one socket serves all processors, and SO_REUSEPORT would only hide that another process has the address",
		"bypass_overload_manager", "weir has no overload manager yet, so nothing limits the listener")
	t.message("envoy.config.listener.v3.Listener.DeprecatedV1", "bind_to_port")
	t.message("envoy.config.listener.v3.AdditionalAddress", "address socket_options tcp_keepalive")
	t.message("envoy.config.core.v3.SocketOptionsOverride", "socket_options")
	t.message("envoy.config.listener.v3.ListenerFilter", "name typed_config config_discovery filter_disabled")
	t.message("envoy.config.listener.v3.ListenerFilterChainMatchPredicate", "or_match and_match not_match any_match destination_port_range")
	t.message("envoy.config.listener.v3.ListenerFilterChainMatchPredicate.MatchSet", "rules")
	t.message("envoy.type.v3.Int32Range", "start end")
	t.message("envoy.config.listener.v3.FilterChain",
		"filter_chain_match filters transport_socket transport_socket_connect_timeout name", "metadata", opaque)
	t.message("envoy.config.listener.v3.FilterChainMatch",
		"destination_port prefix_ranges direct_source_prefix_ranges source_type source_prefix_ranges source_ports server_names "+
			"transport_protocol application_protocols")
	t.message("envoy.config.listener.v3.Filter", "name typed_config config_discovery")
	t.message("envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
		"stat_prefix cluster weighted_clusters idle_timeout access_log max_connect_attempts max_downstream_connection_duration on_demand hash_policy",
		"metadata_match", subsets)
	t.message("envoy.type.v3.HashPolicy", "source_ip")
	t.message("envoy.type.v3.HashPolicy.SourceIp", "")
	t.message("envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy.OnDemand", "odcds_config timeout")
	t.message("envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy.WeightedCluster", "clusters")
	t.message("envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy.WeightedCluster.ClusterWeight", "name weight", "metadata_match", subsets)
	return t
}

func accessLogTable() table {
	t := table{}
	const log = "envoy.config.accesslog.v3."
	t.message(log+"AccessLog", "name filter typed_config")
	t.message(log+"AccessLogFilter",
		"status_code_filter duration_filter not_health_check_filter and_filter or_filter header_filter response_flag_filter "+
			"grpc_status_filter log_type_filter runtime_filter metadata_filter")
	t.message(log+"MetadataFilter", "matcher match_if_key_not_found")
	t.message(log+"RuntimeFilter", "runtime_key percent_sampled use_independent_randomness")
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
