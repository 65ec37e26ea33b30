package xds

import (
	"slices"
	"testing"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
)

// leased is a resource that expires; without a body it is a heart-beat.
func leased(t *testing.T, name, version string, ttl time.Duration, heartbeat bool) *discoveryv3.Resource {
	r := &discoveryv3.Resource{Name: name, Version: version, Ttl: durationpb.New(ttl)}
	if !heartbeat {
		r.Resource = body(t, name)
	}
	return r
}

// send sends resources in the protocol of the stream.
func (s *fakeStream) send(delta bool, typeURL, version, nonce string, resources ...*discoveryv3.Resource) {
	s.t.Helper()
	if delta {
		if err := s.stream.SendMsg(&discoveryv3.DeltaDiscoveryResponse{TypeUrl: typeURL, SystemVersionInfo: version, Nonce: nonce, Resources: resources}); err != nil {
			s.t.Error(err)
		}
		return
	}
	r := &discoveryv3.DiscoveryResponse{TypeUrl: typeURL, VersionInfo: version, Nonce: nonce}
	for _, one := range resources {
		wrapped, err := anypb.New(one)
		if err != nil {
			s.t.Fatal(err)
		}
		r.Resources = append(r.Resources, wrapped)
	}
	if err := s.stream.SendMsg(r); err != nil {
		s.t.Error(err)
	}
}

func TestResourcesExpire(t *testing.T) {
	for _, delta := range []bool{false, true} {
		r := newRig(t, func(o *Options) { o.Delta = delta })
		r.mux.SubscribeAll(ClusterType)
		r.run(t)
		s := r.stream(t)
		const short, long = 300 * time.Millisecond, time.Hour
		s.send(delta, ClusterType, "v1", "1", leased(t, "renewed", "1", short, false), leased(t, "gone", "1", short, false), leased(t, "stays", "1", long, false), leased(t, "kept", "1", short, false))
		if u := r.rec.next(t); len(u.Resources) != 4 || u.Resources[0].TTL != short {
			t.Fatalf("update %+v", u)
		}
		// A heart-beat renews; a resource that comes without TTL does not expire any more.
		s.send(delta, ClusterType, "v1", "2", leased(t, "renewed", "1", long, true), leased(t, "kept", "2", 0, false))
		if u := r.rec.next(t); u.Resources[0].Body != nil || u.Resources[0].Name != "renewed" {
			t.Fatalf("heart-beat %+v", u)
		}
		u := r.rec.next(t)
		if u.Full || u.Version != "v1" || u.Type != ClusterType || !slices.Equal(u.Removed, []string{"gone"}) || !u.Expired || len(u.Resources) != 0 {
			t.Fatalf("expiry %+v", u)
		}
		if !delta {
			continue
		}
		s.fail(nil)
		again := r.stream(t)
		if held := receive(t, again.delta).InitialResourceVersions; len(held) != 3 || held["gone"] != "" {
			t.Errorf("initial versions %v", held)
		}
	}
}

// go-control-plane sends the state of the world's heart-beats for the resources that have a TTL, and wraps only those: neither says
// anything of the others, nor does a resource that comes bare expire any more.
func TestHeartbeatsOfTheStateOfTheWorld(t *testing.T) {
	r := newRig(t, nil)
	r.mux.SubscribeAll(ClusterType)
	r.run(t)
	s := r.stream(t)
	bare := func(name string) *anypb.Any {
		return &anypb.Any{TypeUrl: ClusterType, Value: append([]byte{1<<3 | 2, byte(len(name))}, name...)}
	}
	const ttl = 400 * time.Millisecond
	s.send(false, ClusterType, "v1", "1", leased(t, "short", "1", ttl, false), leased(t, "freed", "1", ttl, false))
	if u := r.rec.next(t); !u.Full {
		t.Fatalf("update %+v", u)
	}
	s.send(false, ClusterType, "v1", "2", leased(t, "short", "1", ttl, true))
	if u := r.rec.next(t); u.Full || len(u.Resources) != 1 || u.Resources[0].Body != nil {
		t.Fatalf("heart-beat %+v", u)
	}
	if err := s.stream.SendMsg(&discoveryv3.DiscoveryResponse{TypeUrl: ClusterType, VersionInfo: "v2", Nonce: "3", Resources: []*anypb.Any{bare("freed"), bare("other")}}); err != nil {
		t.Fatal(err)
	}
	if u := r.rec.next(t); !u.Full || u.Version != "v2" {
		t.Fatalf("update %+v", u)
	}
	if u := r.rec.next(t); !slices.Equal(u.Removed, []string{"short"}) {
		t.Fatalf("expiry %+v", u)
	}
	if s.send(false, ClusterType, "v3", "4"); !r.rec.next(t).Full {
		t.Error("a response of nothing does not remove everything")
	}
}

func TestResourcesExpireWithoutAControlPlane(t *testing.T) {
	r := newRig(t, nil)
	r.mux.Subscribe(EndpointType, "a")
	r.run(t)
	s := r.stream(t)
	s.send(false, EndpointType, "v1", "1", leased(t, "a", "1", 200*time.Millisecond, false))
	r.rec.next(t)
	r.fake.server.Stop()
	if u := r.rec.next(t); !slices.Equal(u.Removed, []string{"a"}) {
		t.Errorf("expiry %+v", u)
	}
}
