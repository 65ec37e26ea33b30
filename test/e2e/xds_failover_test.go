package e2e

import (
	"fmt"
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

// TestFailsOverBetweenSourcesOfAnAuthority names two sources for one authority: the second serves while the first is away. What its
// own source serves of the authority comes from there.
func TestFailsOverBetweenSourcesOfAnAuthority(t *testing.T) {
	t.Parallel()
	const (
		routes = "xdstp://a.test/envoy.config.route.v3.RouteConfiguration/main"
		grpc   = "api_config_source: {api_type: DELTA_GRPC, transport_api_version: V3, grpc_services: [{envoy_grpc: {cluster_name: %s, retry_policy: {retry_back_off: {base_interval: 0.05s, max_interval: 0.2s}}}}]}"
	)
	host := harness.NewHost(t)
	one := host.HTTPBackend("one", "127.0.0.1:0")
	first, second, own := startPuppet(t, host), startPuppetAt(t, host, "127.0.0.1:18001"), startPuppetAt(t, host, "127.0.0.1:18002")
	first.stop()
	cluster := func(name, addr string) string {
		return harness.Cluster(name, harness.To(netip.MustParseAddrPort(addr)), harness.HTTP2())
	}
	listener := func(name, addr, routes, source string) string {
		hcm := harness.HTTPManager("rds: {route_config_name: '" + routes + "', config_source: " + source + "}")
		return harness.Listener{Name: name, Address: addr, Chains: []string{harness.Chain(hcm)}}.YAML()
	}
	host.StartWeir(harness.WeirOptions{NotReady: true, Config: harness.Bootstrap{
		Listeners: []string{
			listener("main", "127.0.0.1:8080", routes, adsSource),
			listener("own", "127.0.0.1:8081", routes+"?own=1", "{resource_api_version: V3, authorities: [{name: a.test}], "+fmt.Sprintf(grpc, "own")+"}"),
		},
		Clusters: []string{
			harness.Cluster("one", harness.To(one.Addr)), cluster("first", controlPlaneAddr), cluster("second", second.addr), cluster("own", own.addr),
		},
		More: "node: {id: e2e, cluster: test}\nconfig_sources: [{resource_api_version: V3, authorities: [{name: a.test}], " + fmt.Sprintf(grpc, "first") +
			"}, {resource_api_version: V3, authorities: [{name: b.test}, {name: a.test}], " + fmt.Sprintf(grpc, "second") + "}]",
	}.YAML()})
	serve := func(p *puppet, name string) {
		t.Helper()
		p.asked(aRouteTable, name)
		p.answered(p.change(aRouteTable, nil, p.as(name, "1", routeTable(t, "'"+name+"'", "one"))))
	}
	answers := func(addr string) {
		t.Helper()
		harness.Eventually(t, addr+" answers", func() bool { return strings.TrimSpace(host.App().Curl("http://"+addr+"/").Out) == "one" })
	}
	serve(own, routes+"?own=1")
	serve(second, routes)
	answers("127.0.0.1:8080")
	answers("127.0.0.1:8081")
	first.start()
	second.stop()
	if held := first.asked(aRouteTable, routes).held; held[routes] != "" {
		t.Errorf("the first server is told versions of the second: %v", held)
	}
}
