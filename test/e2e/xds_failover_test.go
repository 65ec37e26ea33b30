package e2e

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/weir-proxy/weir/test/harness"
)

// TestFailsOverBetweenControlPlanes has weir start while its first control plane is away, go to the second, and come back to
// the first when the second dies. What the first one served under the same versions must not be taken for what is in force.
func TestFailsOverBetweenControlPlanes(t *testing.T) {
	t.Parallel()
	const spareAddr = "127.0.0.1:18001"
	for _, kind := range bothKinds {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			host, ca := harness.NewHost(t), harness.NewCA(t)
			one, two := host.HTTPBackend("one", "127.0.0.1:0"), host.HTTPBackend("two", "127.0.0.1:0")
			x := all(adsSource)
			first, spare := host.ControlPlane(controlPlaneAddr), host.ControlPlane(spareAddr)
			first.Set(x.resources(t, ca.Issue("shop.test"), one.Addr, two.Addr, "one")...)
			spare.Set(x.resources(t, ca.Issue("shop.test"), one.Addr, two.Addr, "two")...)
			first.Stop()
			xds := harness.Cluster("xds", harness.To(netip.MustParseAddrPort(controlPlaneAddr)), harness.HTTP2())
			other := harness.Cluster("spare", harness.To(netip.MustParseAddrPort(spareAddr)), harness.HTTP2())
			services := `grpc_services: [{envoy_grpc: {cluster_name: xds, retry_policy: {retry_back_off: {base_interval: 0.05s, max_interval: 0.2s}}}}, {envoy_grpc: {cluster_name: spare}}]`
			weir := host.StartWeir(harness.WeirOptions{Config: harness.Bootstrap{
				Clusters: []string{xds, other},
				More:     "node: {id: e2e, cluster: test}\ndynamic_resources: {cds_config: " + adsSource + ", lds_config: " + adsSource + ", " + adsConfig(kind, services) + "}",
			}.YAML()})
			leadsTo := func(want string) {
				t.Helper()
				harness.Eventually(t, "the route leads to "+want, func() bool { return strings.TrimSpace(host.App().Curl(plainURL).Out) == want })
			}
			leadsTo("two")
			first.Start()
			spare.Stop()
			leadsTo("one")
			weir.AwaitStat("control_plane.connected_state", func(n int) bool { return n == 1 })
		})
	}
}
