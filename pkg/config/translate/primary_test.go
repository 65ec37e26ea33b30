package translate

import (
	"strings"
	"testing"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"

	"github.com/weir-proxy/weir/pkg/config/protoyaml"
)

// A control plane cannot tell where it is itself; a file can.
func TestControlPlaneIsNotReachedThroughItself(t *testing.T) {
	const config = `
node: { id: n1, cluster: c1 }
dynamic_resources:
  ads_config: { api_type: GRPC, transport_api_version: V3, grpc_services: [{ envoy_grpc: { cluster_name: x } }] }
  cds_config: { ads: {}, resource_api_version: V3 }
static_resources:
  clusters: [{ name: x, type: EDS, eds_cluster_config: { eds_config: { %SOURCE% } } }]
`
	for source, want := range map[string]bool{"ads: {}, resource_api_version: V3": false, "path_config_source: { path: /hosts.yaml }": true} {
		m := &bootstrapv3.Bootstrap{}
		if _, err := protoyaml.Decode([]byte(strings.ReplaceAll(config, "%SOURCE%", source)), "test", m, protoyaml.Options{}); err != nil {
			t.Fatal(err)
		}
		static, _, err := bootstrapWith(t, m)
		if err != nil {
			t.Fatal(err)
		}
		_, err = static.Group().References()
		if (err == nil) != want || err != nil && !strings.Contains(err.Error(), "dynamic_resources.ads_config.grpc_services[0].envoy_grpc.cluster_name: the gRPC cluster 'x' has its endpoints from a control plane") {
			t.Errorf("%s: %v", source, err)
		}
	}
}
