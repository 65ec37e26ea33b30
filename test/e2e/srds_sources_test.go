package e2e

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/weir-proxy/weir/test/harness"
)

// Two connection managers have their scopes from different sources, under the same names and keys: each has its own.
func TestSRDSOfTwoSources(t *testing.T) {
	t.Parallel()
	for _, kind := range bothKinds {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			host := harness.NewHost(t)
			control := host.ControlPlane(controlPlaneAddr)
			path := filepath.Join(harness.Dir(t), "scopes.yaml")
			write := func(text string) {
				t.Helper()
				harness.WriteFile(t, path+".new", `resources: [{"@type": type.googleapis.com/envoy.config.route.v3.ScopedRouteConfiguration, `+
					scope("a", "alice", "route_configuration: "+answers("r", text))[1:]+"]")
				if err := os.Rename(path+".new", path); err != nil {
					t.Fatal(err)
				}
			}
			const ads = "{resource_api_version: V3, ads: {}}"
			listener := func(name, addr, source string) *listenerv3.Listener {
				scoped := byTenant("tenants", "rds_config_source: "+ads, "scoped_rds: {scoped_rds_config_source: "+source+"}")
				return harness.Resource(t, &listenerv3.Listener{}, harness.Listener{
					Name: name, Address: addr, Chains: []string{harness.Chain(harness.HTTPFilters(nil, scoped))},
				}.YAML())
			}
			one := listener("one", "127.0.0.1:8080", ads)
			two := listener("two", "127.0.0.1:8081", "{resource_api_version: V3, path_config_source: {path: "+path+"}}")
			set := func(text string) {
				t.Helper()
				control.Set(one, two, harness.Resource(t, &routev3.ScopedRouteConfiguration{}, scope("a", "alice", "route_configuration: "+answers("r", text))))
			}
			write("of the file")
			set("of the stream")
			weir := host.StartWeir(harness.WeirOptions{Config: harness.Bootstrap{
				Clusters: []string{harness.Cluster("xds", harness.To(netip.MustParseAddrPort(controlPlaneAddr)), harness.HTTP2())},
				More:     harness.ADS(kind),
			}.YAML()})
			const ofFile = "http://127.0.0.1:8081/"
			tenantGets(t, host, plainURL, "alice", "of the stream")
			tenantGets(t, host, ofFile, "alice", "of the file")
			write("of the file, changed")
			tenantGets(t, host, ofFile, "alice", "of the file, changed")
			tenantGets(t, host, plainURL, "alice", "of the stream")
			set("of the stream, changed")
			tenantGets(t, host, plainURL, "alice", "of the stream, changed")
			tenantGets(t, host, ofFile, "alice", "of the file, changed")
			wantContains(t, "config_dump", weir.Page("/config_dump"), `"of the stream, changed"`, `"of the file, changed"`)
			wantContains(t, "explain", weir.Page("/weir/explain?dst=127.0.0.1:8081&header=x-tenant:alice"), "scope")
		})
	}
}
