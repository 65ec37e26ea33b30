package xds

import (
	"errors"
	"strings"
	"testing"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/anypb"
)

// eachGRPC runs a test over every gRPC transport: state of the world and delta, aggregated and by type.
func eachGRPC(t *testing.T, test func(t *testing.T, r *rig, delta bool)) {
	for name, opt := range map[string]Options{
		"ads": {}, "xds": {Type: ClusterType}, "delta-ads": {Delta: true}, "delta": {Delta: true, Type: ClusterType},
	} {
		t.Run(name, func(t *testing.T) {
			test(t, newRig(t, func(o *Options) { o.Type, o.Delta, o.NodeOnce = opt.Type, opt.Delta, true }), opt.Delta)
		})
	}
}

// said is what matters of a request of either protocol.
type said struct {
	version, nonce, reason string
	node                   bool
}

func (s *fakeStream) said(t *testing.T, delta bool) said {
	t.Helper()
	if delta {
		q := receive(t, s.delta)
		return said{"", q.ResponseNonce, q.ErrorDetail.GetMessage(), q.Node != nil}
	}
	q := receive(t, s.sotw)
	return said{q.VersionInfo, q.ResponseNonce, q.ErrorDetail.GetMessage(), q.Node != nil}
}

func (s *fakeStream) wants(t *testing.T, delta bool, what string, want said) {
	t.Helper()
	if delta {
		want.version = "" // it is not told
	}
	if got := s.said(t, delta); got != want {
		t.Fatalf("%s: %+v, want %+v", what, got, want)
	}
}

func named(t *testing.T, name, version string) *discoveryv3.Resource {
	return &discoveryv3.Resource{Name: name, Version: version, Resource: body(t, name)}
}

// TestConversation goes through what a control plane can say, in one conversation per transport.
func TestConversation(t *testing.T) {
	eachGRPC(t, func(t *testing.T, r *rig, delta bool) {
		r.rec.verdict = func(u Update) error {
			if strings.HasPrefix(u.Version, "bad") {
				return errors.New("reason of " + u.Version)
			}
			return nil
		}
		r.mux.SubscribeAll(ClusterType)
		r.run(t)
		s := r.stream(t)
		s.wants(t, delta, "first", said{node: true})
		say := func(version, nonce string, resources ...*discoveryv3.Resource) {
			t.Helper()
			s.send(delta, ClusterType, version, nonce, resources...)
			r.rec.next(t)
		}
		say("1", "n1", named(t, "a", "1"))
		s.wants(t, delta, "accepted", said{version: "1", nonce: "n1"})
		say("1", "n1", named(t, "a", "1"))
		s.wants(t, delta, "the same once more", said{version: "1", nonce: "n1"})
		say("bad 2", "n2", named(t, "a", "2"))
		s.wants(t, delta, "rejected", said{version: "1", nonce: "n2", reason: "reason of bad 2"})
		say("bad 3", "n3", named(t, "a", "3"))
		s.wants(t, delta, "rejected again", said{version: "1", nonce: "n3", reason: "reason of bad 3"})
		s.send(delta, "type.googleapis.com/no.Such", "x", "nx", named(t, "b", "1")) // ignored
		say("4", "", named(t, "a", "4"))
		s.wants(t, delta, "without a nonce", said{version: "4"})
		say("4", "n5", &discoveryv3.Resource{Name: "empty", Resource: &anypb.Any{}}, named(t, "", ""))
		s.wants(t, delta, "odd resources", said{version: "4", nonce: "n5"})
		say("6", "n6")
		s.wants(t, delta, "nothing", said{version: "6", nonce: "n6"})
		s.fail(status.Error(codes.Internal, "broken"))
		s = r.stream(t)
		s.wants(t, delta, "after a reconnection", said{version: "6", node: true})
		say("1", "n1", named(t, "a", "1")) // an older version, and a nonce of the last stream, are as good as any
		s.wants(t, delta, "accepted", said{version: "1", nonce: "n1"})
	})
}

// TestReconnectionDuringAResponse breaks the stream while its response is being applied: the ACK belongs to no stream any more.
func TestReconnectionDuringAResponse(t *testing.T) {
	eachGRPC(t, func(t *testing.T, r *rig, delta bool) {
		applying, goOn := make(chan struct{}), make(chan struct{})
		r.rec.verdict = func(u Update) error {
			if u.Version == "1" {
				close(applying)
				<-goOn
			}
			return nil
		}
		r.mux.SubscribeAll(ClusterType)
		r.run(t)
		s := r.stream(t)
		s.said(t, delta)
		s.send(delta, ClusterType, "1", "n1", named(t, "a", "1"))
		receive(t, applying)
		s.fail(nil)
		<-s.stream.Context().Done()
		close(goOn)
		again := r.stream(t)
		again.wants(t, delta, "first of the new stream", said{version: "1", node: true})
		again.send(delta, ClusterType, "2", "n1", named(t, "a", "2"))
		again.wants(t, delta, "its response", said{version: "2", nonce: "n1"})
	})
}

// TestResponsesAboveTheBound ends the stream, as gRPC does, and reports why.
func TestResponsesAboveTheBound(t *testing.T) {
	eachGRPC(t, func(t *testing.T, r *rig, delta bool) {
		r.mux.opt.Servers[0].MaxMessage = 1000
		r.mux.SubscribeAll(ClusterType)
		r.run(t)
		s := r.stream(t)
		s.send(delta, ClusterType, "1", "n1", named(t, strings.Repeat("x", 2000), "1"))
		if err := receive(t, r.rec.failure); status.Code(err) != codes.ResourceExhausted {
			t.Errorf("failure %v", err)
		}
		again := r.stream(t)
		again.send(delta, ClusterType, "2", "n1", named(t, "a", "2"))
		if u := r.rec.next(t); u.Version != "2" {
			t.Errorf("update %+v", u)
		}
	})
}

// TestServersThatDoNotAnswer hang up at once, over and over: weir goes on asking, with all it has to say.
func TestServersThatDoNotAnswer(t *testing.T) {
	eachGRPC(t, func(t *testing.T, r *rig, delta bool) {
		r.mux.SubscribeAll(ClusterType)
		r.run(t)
		for range 5 {
			s := r.stream(t)
			s.wants(t, delta, "first", said{node: true})
			s.fail(status.Error(codes.Unavailable, "go away"))
			if err := receive(t, r.rec.failure); status.Code(err) != codes.Unavailable {
				t.Errorf("failure %v", err)
			}
		}
	})
}

// TestFlipFlop goes between two states, everything gone in between; each is handed on and acknowledged.
func TestFlipFlop(t *testing.T) {
	eachGRPC(t, func(t *testing.T, r *rig, delta bool) {
		r.mux.SubscribeAll(ClusterType)
		r.run(t)
		s := r.stream(t)
		s.said(t, delta)
		for i := range 20 {
			version := []string{"A", "B"}[i%2]
			s.send(delta, ClusterType, version, "n", named(t, "a", version))
			if u := r.rec.next(t); u.Version != version || len(u.Resources) != 1 {
				t.Fatalf("update %+v", u)
			}
			s.wants(t, delta, "state", said{version: version, nonce: "n"})
			if delta {
				s.change(ClusterType, "gone", "a-")
			} else {
				s.answer(ClusterType, "none", "gone")
			}
			if u := r.rec.next(t); delta != (len(u.Removed) == 1) || u.Full == delta || len(u.Resources) != 0 {
				t.Fatalf("update %+v", u)
			}
			s.wants(t, delta, "emptiness", said{version: "none", nonce: "gone"})
		}
	})
}
