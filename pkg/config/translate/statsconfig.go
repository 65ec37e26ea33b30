package translate

import (
	"errors"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	metricsv3 "github.com/envoyproxy/go-control-plane/envoy/config/metrics/v3"

	"github.com/weir-proxy/weir/pkg/config/extension"
	"github.com/weir-proxy/weir/pkg/observe/stats"
)

// statsConfig translates names and tags of statistics.
func (c *call) statsConfig(m *metricsv3.StatsConfig, out *Static) {
	var root *path
	at := root.field("stats_config")
	s := StatsConfig{UseAllDefaultTags: isSet(m.GetUseAllDefaultTags(), true)}
	for i, tag := range m.GetStatsTags() {
		t := StatsTag{Name: tag.GetTagName()}
		switch k := tag.GetTagValue().(type) {
		case *metricsv3.TagSpecifier_Regex:
			// Envoy reads these as ECMAScript, which has more than RE2: a tag less is no reason not to serve.
			if err := stats.CheckTagRegex(k.Regex); err != nil {
				c.lacks(at.elem("stats_tags", i).field("regex"), "the tag %q is not extracted: %v", tag.GetTagName(), err)
				continue
			}
			t.Regex = k.Regex
		case *metricsv3.TagSpecifier_FixedValue:
			t.Fixed = k.FixedValue
		}
		if _, err := stats.NewTagExtractor(false, []stats.TagRule{{Name: t.Name, Regex: t.Regex, Fixed: t.Fixed}}); err != nil {
			c.fail(at.elem("stats_tags", i), "%v", errors.Unwrap(err))
			continue
		}
		s.Tags = append(s.Tags, t)
	}
	matcher := at.field("stats_matcher")
	switch k := m.GetStatsMatcher().GetStatsMatcher().(type) {
	case *metricsv3.StatsMatcher_RejectAll:
		s.RejectAll = k.RejectAll
	case *metricsv3.StatsMatcher_InclusionList:
		s.HasInclude = true
		s.Include = c.stringMatchers(k.InclusionList.GetPatterns(), matcher.field("inclusion_list"), "patterns")
	case *metricsv3.StatsMatcher_ExclusionList:
		s.Exclude = c.stringMatchers(k.ExclusionList.GetPatterns(), matcher.field("exclusion_list"), "patterns")
	}
	for i, b := range m.GetHistogramBucketSettings() {
		if match, ok := c.stringMatcher(b.GetMatch(), at.elem("histogram_bucket_settings", i).field("match")); ok {
			s.Buckets = append(s.Buckets, StatsBuckets{Match: match, Bounds: b.GetBuckets()})
		}
	}
	out.Stats = s
}

func bootstrapTable() table {
	const bootstrap = "envoy.config.bootstrap.v3."
	const memory = "weir has no such allocator or thread to tune"
	t := table{}
	t.message(bootstrap+"Bootstrap",
		"node dynamic_resources stats_config stats_sinks stats_flush_interval stats_flush_on_admin deferred_stat_options layered_runtime admin "+
			"bootstrap_extensions cluster_manager application_log_config hds_config stats_server_version_override "+
			"typed_dns_resolver_config dns_resolution_config use_tcp_for_dns_lookups "+
			"config_sources default_config_source node_context_params",
		"static_resources", "each static resource is reported by itself",
		"memory_allocator_manager watchdog watchdogs enable_dispatcher_stats fatal_actions default_socket_interface "+
			"perf_tracing_file_path inline_headers grpc_async_client_manager_config", memory,
		"default_regex_engine", "every regular expression is RE2")
	t.message(bootstrap+"Bootstrap.DynamicResources", "lds_config cds_config ads_config lds_resources_locator cds_resources_locator")
	t.message(bootstrap+"Bootstrap.ApplicationLogConfig", "log_format")
	t.message(bootstrap+"Bootstrap.ApplicationLogConfig.LogFormat", "text_format json_format")
	t.message(bootstrap+"Admin", "access_log access_log_path profile_path address allow_paths socket_options",
		"ignore_global_conn_limit", "weir has no overload manager yet, so nothing limits the listener")
	t.message("envoy.config.core.v3.SocketOption", "level name int_value buf_value state type ip_version", "description", informative)
	t.message("envoy.config.core.v3.SocketOption.SocketType", "stream datagram")
	t.message("envoy.config.core.v3.SocketOption.SocketType.Stream", "")
	t.message("envoy.config.core.v3.SocketOption.SocketType.Datagram", "")
	t.message(bootstrap+"ClusterManager", "load_stats_config upstream_bind_config outlier_detection",
		"enable_deferred_cluster_creation", "only saves memory in Envoy")
	t.message(bootstrap+"ClusterManager.OutlierDetection", "event_log_path")
	t.message(bootstrap+"LayeredRuntime", "layers")
	t.message(bootstrap+"RuntimeLayer", "name static_layer disk_layer admin_layer rtds_layer")
	t.message(bootstrap+"RuntimeLayer.DiskLayer", "symlink_root subdirectory append_service_cluster")
	t.message(bootstrap+"RuntimeLayer.RtdsLayer", "name rtds_config")
	t.message(bootstrap+"RuntimeLayer.AdminLayer", "")
	t.message(bootstrap+"Bootstrap.DeferredStatOptions", "enable_deferred_creation_stats")
	t.message("envoy.config.metrics.v3.StatsSink", "name typed_config")
	t.message("envoy.config.metrics.v3.StatsConfig", "stats_tags use_all_default_tags stats_matcher histogram_bucket_settings")
	t.message("envoy.config.metrics.v3.TagSpecifier", "tag_name regex fixed_value")
	t.message("envoy.config.metrics.v3.StatsMatcher", "reject_all exclusion_list inclusion_list")
	t.message("envoy.config.metrics.v3.HistogramBucketSettings", "match buckets")
	t.message("envoy.type.matcher.v3.ListStringMatcher", "patterns")
	t.message("envoy.config.core.v3.Node",
		"id cluster metadata dynamic_parameters locality user_agent_name user_agent_version client_features",
		"user_agent_build_version extensions", "weir announces its own",
		"listening_addresses", informative)
	t.message("envoy.service.runtime.v3.Runtime", "name layer")
	return t
}

// statsSinks translates where statistics are shipped to.
func (c *call) statsSinks(list []*metricsv3.StatsSink, out *Static) {
	for i, m := range list {
		at := (*path)(nil).elem("stats_sinks", i)
		if name := unsupportedSink(m); name != "" {
			c.lacks(at, "weir has no sink %s: nothing is shipped", name)
			continue
		}
		f, message := c.lookup(extension.StatsSinks, m.GetName(), m.GetTypedConfig(), false, at)
		if f == nil {
			continue
		}
		if f, config := c.decoded(f, f.Decode, message, at); f != nil {
			s := StatsSink{Name: m.GetName(), TypeURL: f.TypeURL(), Config: config}
			if grpc, ok := message.(interface{ GetGrpcService() *corev3.GrpcService }); ok {
				var set bool
				if s.Service, set = c.grpcService(grpc.GetGrpcService(), at.field("typed_config").field("grpc_service")); !set {
					c.fail(at.field("typed_config").field("grpc_service"), "must be set")
				}
			}
			out.Sinks = append(out.Sinks, s)
		}
	}
}

// unsupportedSink is the name of a sink of Envoy's that weir has not; the proxy serves as well without it.
func unsupportedSink(m *metricsv3.StatsSink) string {
	for message, name := range map[string]string{
		"envoy.config.metrics.v3.HystrixSink":                                   "envoy.stat_sinks.hystrix",
		"envoy.extensions.stat_sinks.wasm.v3.Wasm":                              "envoy.stat_sinks.wasm",
		"envoy.extensions.stat_sinks.dynamic_modules.v3.DynamicModuleStatsSink": "envoy.stat_sinks.dynamic_modules",
	} {
		if m.GetName() == name && m.GetTypedConfig() == nil || strings.HasSuffix(m.GetTypedConfig().GetTypeUrl(), "/"+message) {
			return name
		}
	}
	return ""
}
