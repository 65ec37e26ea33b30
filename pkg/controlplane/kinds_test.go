package controlplane

import (
	"log/slog"
	"slices"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	runtimev3 "github.com/envoyproxy/go-control-plane/envoy/service/runtime/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"
)

// wrap names a resource.
func wrap(t *testing.T, name string, m message) message {
	t.Helper()
	body, err := anypb.New(m)
	if err != nil {
		t.Fatal(err)
	}
	return &discoveryv3.Resource{Name: name, Resource: body}
}

func host(name string, domains ...string) *routev3.VirtualHost {
	return &routev3.VirtualHost{Name: name, Domains: domains}
}

func member(priority uint32) *endpointv3.LbEndpoint {
	return &endpointv3.LbEndpoint{HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{Hostname: string(rune('a' + priority))}}}
}

func scope(name, routes string) message {
	return &routev3.ScopedRouteConfiguration{Name: name, RouteConfigurationName: routes, Key: &routev3.ScopedRouteConfiguration_Key{
		Fragments: []*routev3.ScopedRouteConfiguration_Key_Fragment{{Type: &routev3.ScopedRouteConfiguration_Key_Fragment_StringKey{StringKey: name}}},
	}}
}

func runtimeLayer(name, value string) message {
	return &runtimev3.Runtime{Name: name, Layer: &structpb.Struct{Fields: map[string]*structpb.Value{"key": structpb.NewStringValue(value)}}}
}

func newTestServer(t *testing.T, m ...message) (*Server, string) {
	t.Helper()
	s := New(Options{Log: slog.New(slog.DiscardHandler)})
	replace(t, s, m...)
	return s, serveOn(t, s)
}

func replace(t *testing.T, s *Server, m ...message) {
	t.Helper()
	if err := s.SetResources(m); err != nil {
		t.Fatal(err)
	}
}

func TestEveryKindOverDelta(t *testing.T) {
	const endpoint = "xdstp://a/envoy.config.endpoint.v3.LbEndpoint/c/1"
	_, addr := newTestServer(t, cluster("c"), endpoints("c"), wrap(t, endpoint, member(0)), listener("l"), route("r"), scope("s", "r"),
		wrap(t, "r/h", host("h", "h.test")), runtimeLayer("rt", "1"), &corev3.TypedExtensionConfig{Name: "x", TypedConfig: &anypb.Any{TypeUrl: "type.googleapis.com/google.protobuf.Empty"}})
	want := map[string]string{
		resource.ClusterType: "c", resource.EndpointType: "c", lbEndpointType: endpoint, resource.ListenerType: "l", resource.RouteType: "r",
		resource.ScopedRouteType: "s", resource.VirtualHostType: "r/h=r/h.test", resource.RuntimeType: "rt", resource.ExtensionConfigType: "x",
	}
	for _, k := range allKinds {
		name, ok := want[k.url]
		if !ok {
			continue
		}
		c := newDeltaClient(t, addr, &corev3.Node{Id: "n"})
		c.subscribe(k.url, "*")
		if got := told(c.receive()); !slices.Equal(got, []string{name}) {
			t.Errorf("%s: got %s, want %s", k.short(), got, name)
		}
	}
}

func TestCollectionsOfEndpoints(t *testing.T) {
	const path = "xdstp://a/envoy.config.endpoint.v3.LbEndpoint/"
	one, two, other := wrap(t, path+"c/1", member(1)), wrap(t, path+"c/2", member(2)), wrap(t, path+"d/1", member(1))
	s, addr := newTestServer(t, one, two, other)
	c := newDeltaClient(t, addr, &corev3.Node{Id: "n"})
	c.subscribe(lbEndpointType, path+"c/*")
	expect := func(want ...string) {
		t.Helper()
		if diff := cmp.Diff(want, told(c.receive())); diff != "" {
			t.Error(diff)
		}
	}
	expect(path+"c/1", path+"c/2")
	replace(t, s, one, wrap(t, path+"c/2", member(3)), other)
	expect(path + "c/2")
	replace(t, s, one, other, wrap(t, path+"c/3", member(3)))
	// What is gone comes in an answer of its own where the client had acknowledged all before.
	if got := told(c.receive()); len(got) == 1 {
		expect("-" + path + "c/2")
	} else if diff := cmp.Diff([]string{path + "c/3", "-" + path + "c/2"}, got); diff != "" {
		t.Error(diff)
	}
	c.subscribe(lbEndpointType, path+"empty/*")
	expect("-" + path + "empty/*")
	replace(t, s, one, other, wrap(t, path+"c/3", member(3)), wrap(t, path+"empty/1", member(0)))
	expect(path + "empty/1")
	c.silent(lbEndpointType)
}

func TestVirtualHostsOnDemand(t *testing.T) {
	api, web := wrap(t, "r/api", host("api", "api.test", "*.api.test")), wrap(t, "r/web", host("web", "web.test", "www.*"))
	s, addr := newTestServer(t, api, web)
	c := newDeltaClient(t, addr, &corev3.Node{Id: "n"})
	for _, tt := range []struct{ ask, want string }{
		{"r/api.test", "r/api=r/*.api.test=r/api.test"},
		{"r/v1.api.test", "r/api=r/*.api.test=r/api.test=r/v1.api.test"},
		{"r/v2.api.test", "r/api=r/*.api.test=r/api.test=r/v2.api.test"},
		{"r/www.example", "r/web=r/web.test=r/www.*=r/www.example"},
		{"r/later.test", "r/later.test=r/later.test?"},
		{"other/api.test", "other/api.test=other/api.test?"},
	} {
		c.subscribe(resource.VirtualHostType, tt.ask)
		if got := told(c.receive()); !slices.Equal(got, []string{tt.want}) {
			t.Errorf("%s: got %s, want %s", tt.ask, got, tt.want)
		}
	}
	replace(t, s, api, web, wrap(t, "r/later", host("later", "later.test")))
	if got := told(c.receive()); !slices.Equal(got, []string{"r/later=r/later.test"}) {
		t.Errorf("when it comes: %s", got)
	}
	replace(t, s, api, web)
	if got := told(c.receive()); !slices.Contains(got, "-r/later") {
		t.Errorf("when it goes: %s", got)
	}
	c.silent(resource.VirtualHostType)
}

func TestNamesThatDoNotExist(t *testing.T) {
	s, addr := newTestServer(t, cluster("a"))
	c := newDeltaClient(t, addr, &corev3.Node{Id: "n"})
	expect := func(want ...string) {
		t.Helper()
		if diff := cmp.Diff(want, told(c.receive())); diff != "" {
			t.Error(diff)
		}
	}
	c.subscribe(resource.ClusterType, "a", "b")
	expect("a", "-b")
	c.subscribe(resource.ClusterType, "c")
	expect("-c")
	replace(t, s, cluster("a"), cluster("b"))
	expect("b")
	replace(t, s, cluster("b"))
	expect("-a")
	replace(t, s, cluster("a"), cluster("b"))
	expect("a")
	c.send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: resource.ClusterType, ResourceNamesUnsubscribe: []string{"a"}})
	c.silent(resource.ClusterType)
	c.subscribe(resource.ClusterType, "a")
	expect("a")
}

func TestReturningDeltaClientIsSentWhatDiffers(t *testing.T) {
	_, addr := newTestServer(t, cluster("a"), cluster("b"))
	c := newDeltaClient(t, addr, &corev3.Node{Id: "n"})
	c.subscribe(resource.ClusterType, "*")
	versions := map[string]string{"gone": "1"}
	for _, r := range c.receive().GetResources() {
		versions[r.GetName()] = r.GetVersion()
	}
	// Another server stands for one that was started again.
	_, addr = newTestServer(t, cluster("a"), cluster("b"), cluster("c"))
	c = newDeltaClient(t, addr, &corev3.Node{Id: "n"})
	c.send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: resource.ClusterType, ResourceNamesSubscribe: []string{"*"}, InitialResourceVersions: versions})
	if diff := cmp.Diff([]string{"c", "-gone"}, told(c.receive())); diff != "" {
		t.Error(diff)
	}
}
