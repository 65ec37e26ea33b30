package xds

import (
	"testing"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// TestVersionsOfOneServerAreNotToldToAnother fails over and back. The other server must send everything, and tell of what is
// gone, whatever its versions are called.
func TestVersionsOfOneServerAreNotToldToAnother(t *testing.T) {
	for _, delta := range []bool{false, true} {
		second := newFake(t, "")
		r := newRig(t, func(o *Options) {
			o.Delta, o.NodeOnce = delta, true
			o.Servers = append(o.Servers, serverAt(t, second.addr))
		})
		r.mux.SubscribeAll(ClusterType)
		r.run(t)
		first := r.stream(t)
		first.send(delta, ClusterType, "v1", "n", &discoveryv3.Resource{Name: "a", Version: "1", Resource: body(t, "a")})
		r.rec.next(t)
		first.fail(nil)                                           // it worked: back to it
		r.stream(t).fail(status.Error(codes.Unavailable, "dead")) // it does not: the next one's turn
		other := receive(t, second.streams)
		if delta {
			wantDelta(t, receive(t, other.delta), &discoveryv3.DeltaDiscoveryRequest{TypeUrl: ClusterType, Node: testNode(), InitialResourceVersions: map[string]string{"a": ""}})
		}
		other.send(delta, ClusterType, "v1", "n", &discoveryv3.Resource{Name: "b", Version: "1", Resource: body(t, "b")})
		r.rec.next(t)
		other.fail(nil)
		back := r.stream(t)
		if delta {
			wantDelta(t, receive(t, back.delta), &discoveryv3.DeltaDiscoveryRequest{TypeUrl: ClusterType, Node: testNode(), InitialResourceVersions: map[string]string{"a": "", "b": ""}})
		} else {
			wantRequest(t, receive(t, back.sotw), &discoveryv3.DiscoveryRequest{TypeUrl: ClusterType, Node: testNode()})
		}
	}
}

func TestAliasesAndCollectionsAreWanted(t *testing.T) {
	r := newRig(t, func(o *Options) { o.Delta, o.NodeOnce = true, true })
	for _, n := range []string{"routes/shop.test", "prefix", "xdstp://a/t/all/*"} {
		r.mux.Subscribe(VirtualHostType, n)
	}
	r.run(t)
	s := r.stream(t)
	receive(t, s.delta)
	s.send(true, VirtualHostType, "v", "n",
		&discoveryv3.Resource{Name: "routes/host", Aliases: []string{"routes/other.test", "routes/shop.test"}, Version: "1", Resource: body(t, "x")},
		&discoveryv3.Resource{Name: "prefix/host", Version: "2", Resource: body(t, "x")},
		&discoveryv3.Resource{Name: "xdstp://a/t/all/one", Version: "3", Resource: body(t, "x")},
		&discoveryv3.Resource{Name: "stranger", Version: "4", Resource: body(t, "x")},
		&discoveryv3.Resource{ResourceName: &discoveryv3.ResourceName{Name: "prefix/by locator"}, Version: "5", Resource: body(t, "x")},
	)
	if u := r.rec.next(t); len(u.Resources[0].Aliases) != 2 || u.Resources[4].Name != "prefix/by locator" {
		t.Errorf("update %+v", u)
	}
	receive(t, s.delta)
	r.mux.Unsubscribe(VirtualHostType, "routes/shop.test")
	receive(t, s.delta)
	if err := s.stream.SendMsg(&discoveryv3.DeltaDiscoveryResponse{TypeUrl: VirtualHostType, Nonce: "o", RemovedResourceNames: []*discoveryv3.ResourceName{{Name: "prefix/by locator"}}}); err != nil {
		t.Fatal(err)
	}
	if u := r.rec.next(t); len(u.Removed) != 1 {
		t.Errorf("update %+v", u)
	}
	s.fail(nil)
	wantDelta(t, receive(t, r.stream(t).delta), &discoveryv3.DeltaDiscoveryRequest{
		TypeUrl: VirtualHostType, Node: testNode(), ResourceNamesSubscribe: []string{"prefix", "xdstp://a/t/all/*"},
		InitialResourceVersions: map[string]string{"prefix/host": "2", "xdstp://a/t/all/one": "3"},
	})
}
