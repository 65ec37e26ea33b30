package e2e

import (
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/weir-proxy/weir/test/harness"
)

// script is a delta control plane that answers each subscription with what stands under its name.
type script struct {
	mu sync.Mutex
	// resources by the name that is subscribed.
	resources map[string][]*discoveryv3.Resource
	asked     []string
	nacks     []string
}

func (s *script) serve(_ any, stream grpc.ServerStream) error {
	for {
		q := &discoveryv3.DeltaDiscoveryRequest{}
		if err := stream.RecvMsg(q); err != nil {
			return err
		}
		if a := s.answer(q); a != nil {
			if err := stream.SendMsg(a); err != nil {
				return err
			}
		}
	}
}

func (s *script) answer(q *discoveryv3.DeltaDiscoveryRequest) *discoveryv3.DeltaDiscoveryResponse {
	s.mu.Lock()
	defer s.mu.Unlock()
	if q.ErrorDetail != nil {
		s.nacks = append(s.nacks, q.ErrorDetail.Message)
	}
	if len(q.ResourceNamesSubscribe) == 0 {
		return nil
	}
	s.asked = append(s.asked, q.ResourceNamesSubscribe...)
	a := &discoveryv3.DeltaDiscoveryResponse{TypeUrl: q.TypeUrl, SystemVersionInfo: "1", Nonce: "n"}
	for _, name := range q.ResourceNamesSubscribe {
		a.Resources = append(a.Resources, s.resources[name]...)
	}
	return a
}

// put serves a message under the name that is subscribed, as a resource of its own name.
func (s *script) put(t *testing.T, subscribed, name string, ttl time.Duration, m proto.Message) {
	t.Helper()
	body, err := anypb.New(m)
	if err != nil {
		t.Fatal(err)
	}
	r := &discoveryv3.Resource{Name: name, Version: "1", Resource: body}
	if ttl > 0 {
		r.Ttl = durationpb.New(ttl)
	}
	s.resources[subscribed] = append(s.resources[subscribed], r)
}

// TestNamesOfAuthorities serves collections of listeners and clusters, and routes and endpoints by name, from the source of an
// authority; one listener lives for a moment only.
func TestNamesOfAuthorities(t *testing.T) {
	t.Parallel()
	const (
		node      = "?xds.node.id=e2e"
		listeners = "xdstp://a.test/envoy.config.listener.v3.Listener/all/"
		clusters  = "xdstp://a.test/envoy.config.cluster.v3.Cluster/all/"
		routes    = "xdstp://a.test/envoy.config.route.v3.RouteConfiguration/main"
		endpoints = "xdstp://a.test/envoy.config.endpoint.v3.ClusterLoadAssignment/one"
	)
	host := harness.NewHost(t)
	one := host.HTTPBackend("one", "127.0.0.1:0")
	s := &script{resources: map[string][]*discoveryv3.Resource{}}
	hcm := harness.HTTPManager("rds: {route_config_name: '" + routes + "?b=2&a=1', config_source: " + adsSource + "}")
	listener := func(name, addr string) *listenerv3.Listener {
		return harness.Resource(t, &listenerv3.Listener{}, harness.Listener{Name: "'" + name + "'", Address: addr, Chains: []string{harness.Chain(hcm)}}.YAML())
	}
	s.put(t, listeners+"*"+node, listeners+"plain", 0, listener(listeners+"plain", "127.0.0.1:8080"))
	s.put(t, listeners+"*"+node, listeners+"brief", 2*time.Second, listener(listeners+"brief", "127.0.0.1:8081"))
	s.put(t, clusters+"*"+node, clusters+"one", 0, harness.Resource(t, &clusterv3.Cluster{},
		"{name: '"+clusters+"one', type: EDS, eds_cluster_config: {service_name: '"+endpoints+"', eds_config: "+adsSource+"}}"))
	s.put(t, endpoints+node, endpoints+node, 0, harness.Resource(t, &endpointv3.ClusterLoadAssignment{}, harness.Endpoints("'"+endpoints+"'", one.Addr)))
	s.put(t, routes+"?a=1&b=2&xds.node.id=e2e", routes+"?a=1&b=2&xds.node.id=e2e", 0,
		harness.Resource(t, &routev3.RouteConfiguration{}, harness.RouteConfig("'"+routes+"?b=2&a=1'", harness.RouteTo("/", "'"+clusters+"one'"))))
	server := grpc.NewServer(grpc.UnknownServiceHandler(s.serve))
	l, done := host.Listen(controlPlaneAddr), make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	weir := host.StartWeir(harness.WeirOptions{Config: harness.Bootstrap{
		Clusters: []string{harness.Cluster("xds", harness.To(netip.MustParseAddrPort(controlPlaneAddr)), harness.HTTP2())},
		More: "node: {id: e2e, cluster: test}\nnode_context_params: [id]\n" +
			"config_sources: [{resource_api_version: V3, authorities: [{name: a.test}], api_config_source: {api_type: AGGREGATED_DELTA_GRPC, transport_api_version: V3, " + envoyGRPC + "}}]\n" +
			"dynamic_resources: {lds_resources_locator: '" + listeners + "*', cds_resources_locator: '" + clusters + "*'}",
	}.YAML()})
	if got := strings.TrimSpace(host.App().Curl(plainURL).Out); got != "one" {
		t.Errorf("got %q", got)
	}
	harness.Eventually(t, "the brief listener expires", func() bool { return host.App().Curl("http://127.0.0.1:8081/").Status != 0 })
	if got := strings.TrimSpace(host.App().Curl(plainURL).Out); got != "one" {
		t.Errorf("after that: %q", got)
	}
	weir.AwaitStat("listener_manager.listener_removed", func(n int) bool { return n == 1 })
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.nacks) > 0 || !slices.Contains(s.asked, endpoints+node) {
		t.Errorf("rejected %v, asked for %v", s.nacks, s.asked)
	}
}
