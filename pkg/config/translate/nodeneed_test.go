package translate

import (
	"strings"
	"testing"
)

// TestNeedNode has something come from a management server in each way that there is.
func TestNeedNode(t *testing.T) {
	const (
		server  = `{resource_api_version: V3, api_config_source: {api_type: DELTA_GRPC, transport_api_version: V3, grpc_services: [{envoy_grpc: {cluster_name: x}}]}}`
		ads     = `{resource_api_version: V3, ads: {}}`
		own     = `{resource_api_version: V3, self: {}}`
		file    = `{resource_api_version: V3, path_config_source: {path: /x}}`
		grpc    = `{api_type: GRPC, transport_api_version: V3, grpc_services: [{envoy_grpc: {cluster_name: x}}]}`
		cluster = `static_resources: {clusters: [{name: x, type: STATIC}, {name: c, `
		context = `transport_socket: {name: tls, typed_config: {"@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext, common_tls_context: {`
		manager = `static_resources: {listeners: [{name: l, address: {socket_address: {address: 127.0.0.1, port_value: 1}}, filter_chains: [{filters: [{name: h, typed_config: {
  "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager, stat_prefix: s, http_filters: [%F{name: envoy.filters.http.router}], %R}}]}]}]}`
		routes = `route_config: {name: r}`
		scoped = `scoped_routes: {name: s, scope_key_builder: {fragments: [{header_value_extractor: {name: a, index: 0}}]}, rds_config_source: ` + file + `, scoped_rds: {scoped_rds_config_source: ` + ads + `}}`
	)
	listener := func(filters, routes string) string {
		return strings.NewReplacer("%F", filters, "%R", routes).Replace(manager)
	}
	for name, tc := range map[string]struct{ text, want string }{
		"nothing":      {`static_resources: {clusters: [{name: c, type: STATIC}]}`, ""},
		"files":        {`dynamic_resources: {cds_config: ` + file + `, lds_config: ` + file + `}`, ""},
		"ADS":          {`dynamic_resources: {ads_config: ` + grpc + `}`, "ads"},
		"LDS":          {`dynamic_resources: {lds_config: ` + server + `}`, "lds"},
		"CDS":          {`dynamic_resources: {cds_config: ` + server + `}`, "cds"},
		"HDS":          {`hds_config: ` + grpc, "hds"},
		"LRS":          {`cluster_manager: {load_stats_config: ` + grpc + `}`, "load_stats"},
		"authorities":  {`config_sources: [{authorities: [{name: a}], resource_api_version: V3, api_config_source: ` + grpc + `}]`, "ads"},
		"RTDS":         {`layered_runtime: {layers: [{name: a, rtds_layer: {name: r, rtds_config: ` + server + `}}]}`, "rtds"},
		"EDS":          {cluster + `type: EDS, eds_cluster_config: {eds_config: ` + ads + `}}]}`, "eds"},
		"EDS of files": {cluster + `type: EDS, eds_cluster_config: {eds_config: ` + file + `}}]}`, ""},
		"SDS":          {cluster + context + `tls_certificate_sds_secret_configs: [{name: s, sds_config: ` + own + `}]}}}}]}`, "sds"},
		"SDS of CAs":   {cluster + context + `validation_context_sds_secret_config: {name: s, sds_config: ` + server + `}}}}}]}`, "sds"},
		"static":       {cluster + context + `validation_context_sds_secret_config: {name: s}}}}}], secrets: [{name: s, validation_context: {}}]}`, ""},
		"RDS":          {listener("", `rds: {route_config_name: r, config_source: `+ads+`}`), "rds"},
		"RDS of files": {listener("", `rds: {route_config_name: r, config_source: `+file+`}`), ""},
		"SRDS":         {listener("", scoped), "scoped_rds"},
		"ECDS":         {listener(`{name: f, config_discovery: {config_source: `+ads+`, type_urls: [type.googleapis.com/google.protobuf.StringValue]}}, `, routes), "ecds"},
		"inline":       {listener("", routes), ""},
	} {
		t.Run(name, func(t *testing.T) {
			const reason = ": node 'id' and 'cluster' are required. Set it either in 'node' config or via --service-node and --service-cluster options."
			_, _, err := bootstrapOf(t, tc.text)
			if has := strings.Contains(err, "'cluster' are required"); has != (tc.want != "") || has && !strings.Contains(err, "node: "+tc.want+reason) {
				t.Errorf("got %q, want %q", err, tc.want)
			}
			for _, half := range []string{"node: {id: a}\n", "node: {cluster: b}\n"} {
				if _, _, err := bootstrapOf(t, half+tc.text); tc.want != "" && !strings.Contains(err, reason) {
					t.Errorf("%s is enough: %q", half, err)
				}
			}
			if _, _, err := bootstrapOf(t, "node: {id: a, cluster: b}\n"+tc.text); strings.Contains(err, reason) {
				t.Errorf("with a whole node: %s", err)
			}
		})
	}
}
