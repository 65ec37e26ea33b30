package translate

import (
	"strings"
	"testing"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	"github.com/google/go-cmp/cmp"

	"github.com/weir-proxy/weir/pkg/config/protoyaml"
)

// bootstrapOf translates a bootstrap; the error is all findings in one text.
func bootstrapOf(t *testing.T, text string) (*Translator, *Static, string) {
	t.Helper()
	m := &bootstrapv3.Bootstrap{}
	if _, err := protoyaml.Decode([]byte(text), "test", m, protoyaml.Options{}); err != nil {
		t.Fatal(err)
	}
	tr := testTranslator(t)
	static, _, err := tr.Bootstrap(m, Meta{})
	if err != nil {
		return tr, nil, err.Error()
	}
	return tr, static, ""
}

func TestRuntimeLayerErrors(t *testing.T) {
	for name, tc := range map[string]struct{ layers, want string }{
		"twice":      {"{name: a, admin_layer: {}}, {name: a, static_layer: {}}", "layered_runtime.layers[1].name: duplicate layer name: a"},
		"two admins": {"{name: a, admin_layer: {}}, {name: b, admin_layer: {}}", "layered_runtime.layers[1].admin_layer: too many admin layers"},
		"no link":    {"{name: a, disk_layer: {}}", "layered_runtime.layers[0].disk_layer.symlink_root: must not be empty"},
		"no name":    {"{name: a, rtds_layer: {rtds_config: {path_config_source: {path: /x}}}}", "layered_runtime.layers[0].rtds_layer.name: must not be empty"},
		"no source":  {"{name: a, rtds_layer: {name: x}}", "layered_runtime.layers[0].rtds_layer.rtds_config: must be set"},
		"a list":     {"{name: a, static_layer: {x: [1]}}", "layered_runtime.layers[0].static_layer: runtime value of x"},
		"no node": {
			"{name: a, rtds_layer: {name: x, rtds_config: {resource_api_version: V3, api_config_source: {api_type: GRPC, transport_api_version: V3, grpc_services: [{envoy_grpc: {cluster_name: c}}]}}}}",
			"node: rtds: node 'id' and 'cluster' are required",
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := bootstrapOf(t, "layered_runtime: {layers: ["+tc.layers+"]}")
			if !strings.Contains(err, tc.want) {
				t.Errorf("got %q, want %q", err, tc.want)
			}
		})
	}
}

func TestIdleRuntimeKeys(t *testing.T) {
	_, static, err := bootstrapOf(t, `
layered_runtime: {layers: [{name: base, static_layer: {
  idle.key: 1, upstream: {use_retry: 5, maintenance_mode: {web: 1}}, envoy.reloadable_features.x: true, re2.max_program_size.error_level: 10,
  bias: 2, circuit_breakers.web.default.max_requests: 1}}]}
static_resources: {clusters: [{name: web, lb_policy: LEAST_REQUEST, least_request_lb_config: {active_request_bias: {default_value: 1, runtime_key: bias}}}]}`)
	if err != "" {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"idle.key"}, static.IdleRuntimeKeys); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestLoadStatsErrors(t *testing.T) {
	const grpc = "grpc_services: [{envoy_grpc: {cluster_name: c}}]"
	for name, tc := range map[string]struct{ source, want string }{
		"aggregated": {"api_type: AGGREGATED_GRPC, transport_api_version: V3, " + grpc, "cluster_manager.load_stats_config.api_type: must be GRPC or DELTA_GRPC"},
		"two":        {"api_type: GRPC, transport_api_version: V3, grpc_services: [{envoy_grpc: {cluster_name: c}}, {envoy_grpc: {cluster_name: d}}]", "cluster_manager.load_stats_config.grpc_services: must be one server"},
		"none":       {"api_type: GRPC, transport_api_version: V3", "cluster_manager.load_stats_config.grpc_services: GRPC needs a gRPC service"},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := bootstrapOf(t, "node: {id: a, cluster: b}\ncluster_manager: {load_stats_config: {"+tc.source+"}}")
			if !strings.Contains(err, tc.want) {
				t.Errorf("got %q, want %q", err, tc.want)
			}
		})
	}
}

func TestDeprecatedFieldsAreCounted(t *testing.T) {
	tr, _, err := bootstrapOf(t, "static_resources: {clusters: [{name: web, http2_protocol_options: {}, max_requests_per_connection: 3}]}")
	if err != "" {
		t.Fatal(err)
	}
	if got := tr.Deprecated(); got != 2 {
		t.Errorf("%d deprecated fields, want 2", got)
	}
}
