package e2e

import (
	"fmt"
	"strings"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"

	"github.com/weir-proxy/weir/test/harness"
)

func TestLEDS(t *testing.T) {
	t.Parallel()
	for name, source := range map[string]string{"aggregated": deltaADS, "a stream of its own": ownDelta} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			testLEDS(t, source)
		})
	}
}

func testLEDS(t *testing.T, source string) {
	s := newDemanded(t)
	const collection = "xdstp://control/envoy.config.endpoint.v3.LbEndpoint/shop/"
	one, two, fixed := s.host.HTTPBackend("one", "127.0.0.1:0"), s.host.HTTPBackend("two", "127.0.0.1:0"), s.host.HTTPBackend("fixed", "127.0.0.1:0")
	put := func(name string, b *harness.HTTPBackend, more string) {
		s.script.Put(collection+name, harness.ScriptItem{Message: harness.Resource(t, &endpointv3.LbEndpoint{},
			"{endpoint: {address: "+harness.Address(b.Addr.String())+"}"+more+"}")})
	}
	s.script.Put("shop", harness.ScriptItem{Announced: true, Message: harness.Resource(t, &clusterv3.Cluster{}, "{name: shop, type: EDS, eds_cluster_config: {eds_config: "+deltaADS+"}}")})
	s.script.Put("shop", harness.ScriptItem{Message: harness.Resource(t, &endpointv3.ClusterLoadAssignment{}, fmt.Sprintf(
		"{cluster_name: shop, endpoints: [{leds_cluster_locality_config: {leds_config: %s, leds_collection_name: '%s*'}}, "+
			"{priority: 1, load_balancer_endpoints: {lb_endpoints: [{endpoint: {address: %s}}]}}]}", source, collection, harness.Address(fixed.Addr.String())))})
	put("one", one, "")
	s.listener(harness.HTTP(harness.RouteTo("/", "shop")))
	s.start()
	s.gets("x", "/", 200, "one\n")

	t.Log("an endpoint comes")
	put("two", two, "")
	harness.Eventually(t, "both", func() bool {
		s.get("x", "/")
		return one.Count() > 0 && two.Count() > 0
	})

	t.Log("an endpoint changes")
	put("one", one, ", health_status: UNHEALTHY")
	harness.Eventually(t, "the other one alone", func() bool {
		_, first := s.get("x", "/")
		_, second := s.get("x", "/")
		return first == "two\n" && second == "two\n"
	})

	t.Log("endpoints go")
	s.script.Remove(&endpointv3.LbEndpoint{}, collection+"one")
	s.script.Remove(&endpointv3.LbEndpoint{}, collection+"two")
	s.eventually("x", "/", 200, "fixed\n")

	t.Log("a bad endpoint")
	put("one", one, "")
	s.eventually("x", "/", 200, "one\n")
	s.script.Put(collection+"one", harness.ScriptItem{Message: harness.Resource(t, &endpointv3.LbEndpoint{}, "{endpoint: {address: {socket_address: {address: not.an.ip, port_value: 1}}}}")})
	harness.Eventually(t, "a rejection", func() bool { return len(s.script.Refused()) > 0 })
	if got := s.script.Refused()[0]; !strings.Contains(got, collection+"one") || !strings.Contains(got, "not.an.ip") {
		t.Errorf("refused for %q", got)
	}
	s.gets("x", "/", 200, "one\n")
	if n := s.weir.Stat("cluster.shop.leds.update_rejected"); n != 1 {
		t.Errorf("update_rejected is %d", n)
	}
}
