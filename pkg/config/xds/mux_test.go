package xds

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/testing/protocmp"
)

func wantRequest(t *testing.T, got, want *discoveryv3.DiscoveryRequest) {
	t.Helper()
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
		t.Fatalf("request (-want +got):\n%s", diff)
	}
}

func wantDelta(t *testing.T, got, want *discoveryv3.DeltaDiscoveryRequest) {
	t.Helper()
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
		t.Fatalf("request (-want +got):\n%s", diff)
	}
}

func TestSotWAcknowledges(t *testing.T) {
	r := newRig(t, nil)
	r.mux.SubscribeAll(ClusterType)
	r.run(t)
	s := r.stream(t)
	if s.method != aggregated.stream {
		t.Errorf("method = %s", s.method)
	}
	wantRequest(t, receive(t, s.sotw), &discoveryv3.DiscoveryRequest{TypeUrl: ClusterType, Node: testNode()})
	s.answer(ClusterType, "v1", "n1", "a", "b")
	u := r.rec.next(t)
	if !u.Full || u.Version != "v1" || !slices.Equal(namesOf(u), []string{"a", "b"}) {
		t.Errorf("update = %+v", u)
	}
	wantRequest(t, receive(t, s.sotw), &discoveryv3.DiscoveryRequest{TypeUrl: ClusterType, VersionInfo: "v1", ResponseNonce: "n1", Node: testNode()})
}

func TestSotWRejectsWithTheLastGoodVersion(t *testing.T) {
	r := newRig(t, func(o *Options) { o.NodeOnce = true })
	long := strings.Repeat("x", maxErrorDetail-1) + "é\xff tail"
	reasons := map[string]error{"v2": errors.New("cluster b: no"), "v3": errors.New(long)}
	r.rec.verdict = func(u Update) error { return reasons[u.Version] }
	r.mux.SubscribeAll(ClusterType)
	r.run(t)
	s := r.stream(t)
	wantRequest(t, receive(t, s.sotw), &discoveryv3.DiscoveryRequest{TypeUrl: ClusterType, Node: testNode()})
	s.answer(ClusterType, "v1", "n1", "a")
	wantRequest(t, receive(t, s.sotw), &discoveryv3.DiscoveryRequest{TypeUrl: ClusterType, VersionInfo: "v1", ResponseNonce: "n1"})
	s.answer(ClusterType, "v2", "n2", "b")
	wantRequest(t, receive(t, s.sotw), &discoveryv3.DiscoveryRequest{
		TypeUrl: ClusterType, VersionInfo: "v1", ResponseNonce: "n2", ErrorDetail: errorDetail(reasons["v2"]),
	})
	// A reason that is long and not UTF-8 must not break the stream.
	s.answer(ClusterType, "v3", "n3", "b")
	got := receive(t, s.sotw)
	if got.ResponseNonce != "n3" || got.ErrorDetail.GetCode() != int32(codes.InvalidArgument) || len(got.ErrorDetail.GetMessage()) > maxErrorDetail+20 {
		t.Errorf("nonce %s, %d bytes of detail", got.ResponseNonce, len(got.ErrorDetail.GetMessage()))
	}
	s.answer(ClusterType, "v4", "n4")
	wantRequest(t, receive(t, s.sotw), &discoveryv3.DiscoveryRequest{TypeUrl: ClusterType, VersionInfo: "v4", ResponseNonce: "n4"})
}

func TestSotWRejectsTheSameVersionEverMoreSlowly(t *testing.T) {
	r := newRig(t, func(o *Options) { o.NodeOnce = true })
	r.rec.verdict = func(u Update) error {
		if u.Version == "bad" {
			return errors.New("no")
		}
		return nil
	}
	r.mux.SubscribeAll(ClusterType)
	r.run(t)
	s := r.stream(t)
	receive(t, s.sotw)
	began := time.Now()
	for i, least := range []time.Duration{0, firstHold, 3 * firstHold} {
		s.answer(ClusterType, "bad", fmt.Sprint(i), "a")
		if got := receive(t, s.sotw); got.ResponseNonce != fmt.Sprint(i) || got.ErrorDetail == nil {
			t.Fatalf("request %d: %v", i, got)
		}
		if took := time.Since(began); took < least {
			t.Errorf("rejection %d after %v, want %v at least", i, took, least)
		}
	}
	// What is good is acknowledged at once, and what changes on our side is told although a NACK waits.
	s.answer(ClusterType, "bad", "held", "a")
	r.mux.Subscribe(ClusterType, "more")
	if got := receive(t, s.sotw); got.ResponseNonce != "held" && got.ResponseNonce != "2" {
		t.Errorf("request %v", got)
	}
	s.answer(ClusterType, "good", "n", "a")
	for {
		if got := receive(t, s.sotw); got.VersionInfo == "good" {
			break
		}
	}
}

func TestRejectionsThatAnswerEachOtherSlowDown(t *testing.T) {
	waits := func(pause time.Duration, version func(int) string) (out []time.Duration) {
		s, now := &subscription{}, time.Unix(1e9, 0)
		for i := range 12 {
			wait := s.reject(version(i), now)
			out = append(out, wait)
			now = now.Add(wait + pause)
		}
		return out
	}
	slow := []time.Duration{0, 0, 0, 0, 0, 0, 0, 0, firstHold, 2 * firstHold, 4 * firstHold, 8 * firstHold}
	tests := []struct {
		name    string
		pause   time.Duration
		version func(int) string
		want    []time.Duration
	}{
		{"a version each", time.Millisecond, func(i int) string { return fmt.Sprint(i) }, slow},
		{"back and forth", time.Millisecond, func(i int) string { return fmt.Sprint(i % 2) }, slow},
		{"somebody tries", 2 * time.Second, func(i int) string { return fmt.Sprint(i) }, make([]time.Duration, 12)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if d := cmp.Diff(tt.want, waits(tt.pause, tt.version)); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestSotWReconnectsWithVersionAndAllNames(t *testing.T) {
	r := newRig(t, nil)
	r.mux.Subscribe(EndpointType, "b")
	r.mux.Subscribe(EndpointType, "a")
	r.run(t)
	s := r.stream(t)
	receive(t, s.sotw)
	s.answer(EndpointType, "v1", "n1", "a")
	receive(t, s.sotw)
	s.fail(status.Error(codes.Unavailable, "going away"))
	if err := receive(t, r.rec.failure); !strings.Contains(err.Error(), "going away") {
		t.Errorf("failure = %v", err)
	}
	again := r.stream(t)
	wantRequest(t, receive(t, again.sotw), &discoveryv3.DiscoveryRequest{
		TypeUrl: EndpointType, VersionInfo: "v1", ResourceNames: []string{"a", "b"}, Node: testNode(),
	})
	r.rec.mu.Lock()
	defer r.rec.mu.Unlock()
	if !slices.Equal(r.rec.connected[:1], []bool{true}) || !slices.Contains(r.rec.connected, false) {
		t.Errorf("connected = %v", r.rec.connected)
	}
}

func TestSotWTellsAnEmptySetOnlyWhenItHadAsked(t *testing.T) {
	r := newRig(t, nil)
	r.mux.Subscribe(EndpointType, "never")
	r.mux.Unsubscribe(EndpointType, "never")
	r.mux.Subscribe(RouteType, "r")
	r.run(t)
	s := r.stream(t)
	wantRequest(t, receive(t, s.sotw), &discoveryv3.DiscoveryRequest{TypeUrl: RouteType, ResourceNames: []string{"r"}, Node: testNode()})
	r.mux.Unsubscribe(RouteType, "r")
	wantRequest(t, receive(t, s.sotw), &discoveryv3.DiscoveryRequest{TypeUrl: RouteType, Node: testNode()})
}

func TestSotWAsksAgainForWhatWasDropped(t *testing.T) {
	r := newRig(t, func(o *Options) { o.NodeOnce = true })
	r.mux.Subscribe(EndpointType, "a")
	r.mux.Subscribe(EndpointType, "b")
	r.rec.verdict = func(Update) error { // while a response is applied nothing leaves: the two changes meet
		r.mux.Unsubscribe(EndpointType, "a")
		r.mux.Subscribe(EndpointType, "a")
		return nil
	}
	r.run(t)
	s := r.stream(t)
	receive(t, s.sotw)
	s.answer(EndpointType, "v1", "n1", "a", "b")
	wantRequest(t, receive(t, s.sotw), &discoveryv3.DiscoveryRequest{TypeUrl: EndpointType, VersionInfo: "v1", ResponseNonce: "n1", ResourceNames: []string{"b"}})
	wantRequest(t, receive(t, s.sotw), &discoveryv3.DiscoveryRequest{TypeUrl: EndpointType, VersionInfo: "v1", ResponseNonce: "n1", ResourceNames: []string{"a", "b"}})
}

func TestSubscriptionsOfOneResponseLeaveTogetherAndInOrder(t *testing.T) {
	r := newRig(t, func(o *Options) { o.NodeOnce = true })
	r.mux.SubscribeAll(ClusterType)
	r.rec.verdict = func(Update) error {
		for _, n := range []string{"3", "1", "2"} {
			r.mux.Subscribe(SecretType, "s"+n)
			r.mux.Subscribe(RouteType, "r"+n)
			r.mux.Subscribe(EndpointType, "e"+n)
		}
		r.mux.SubscribeAll(ListenerType)
		return nil
	}
	r.run(t)
	s := r.stream(t)
	receive(t, s.sotw)
	s.answer(ClusterType, "v1", "n1")
	var got []string
	for range 5 {
		q := receive(t, s.sotw)
		got = append(got, strings.TrimSpace(q.TypeUrl[strings.LastIndex(q.TypeUrl, ".")+1:]+" "+strings.Join(q.ResourceNames, " ")))
	}
	want := []string{"Cluster", "ClusterLoadAssignment e1 e2 e3", "Listener", "RouteConfiguration r1 r2 r3", "Secret s1 s2 s3"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestUnknownTypeIsIgnored(t *testing.T) {
	for _, delta := range []bool{false, true} {
		r := newRig(t, func(o *Options) { o.Delta, o.NodeOnce = delta, true })
		r.mux.SubscribeAll(ClusterType)
		r.run(t)
		s := r.stream(t)
		if delta {
			receive(t, s.delta)
			s.change(SecretType, "n1", "x=1")
			s.change(ClusterType, "n2", "a=1")
			wantDelta(t, receive(t, s.delta), &discoveryv3.DeltaDiscoveryRequest{TypeUrl: ClusterType, ResponseNonce: "n2"})
		} else {
			receive(t, s.sotw)
			s.answer(SecretType, "v1", "n1", "x")
			s.answer(ClusterType, "v1", "n2", "a")
			wantRequest(t, receive(t, s.sotw), &discoveryv3.DiscoveryRequest{TypeUrl: ClusterType, VersionInfo: "v1", ResponseNonce: "n2"})
		}
		if u := r.rec.next(t); u.Type != ClusterType {
			t.Errorf("update of %s", u.Type)
		}
	}
}

func TestDeltaLifeOfAStream(t *testing.T) {
	r := newRig(t, func(o *Options) { o.Delta = true })
	r.mux.SubscribeAll(ClusterType)
	r.mux.Subscribe(EndpointType, "x")
	r.run(t)
	s := r.stream(t)
	if s.method != aggregated.delta {
		t.Errorf("method = %s", s.method)
	}
	wantDelta(t, receive(t, s.delta), &discoveryv3.DeltaDiscoveryRequest{TypeUrl: ClusterType, Node: testNode()})
	wantDelta(t, receive(t, s.delta), &discoveryv3.DeltaDiscoveryRequest{TypeUrl: EndpointType, Node: testNode(), ResourceNamesSubscribe: []string{"x"}})
	s.change(ClusterType, "n1", "a=1", "b=1")
	wantDelta(t, receive(t, s.delta), &discoveryv3.DeltaDiscoveryRequest{TypeUrl: ClusterType, Node: testNode(), ResponseNonce: "n1"})
	s.change(ClusterType, "n2", "b-", "c=7")
	r.rec.next(t)
	if u := r.rec.next(t); u.Full || !slices.Equal(u.Removed, []string{"b"}) || u.Resources[0].Version != "7" {
		t.Errorf("update = %+v", u)
	}
	wantDelta(t, receive(t, s.delta), &discoveryv3.DeltaDiscoveryRequest{TypeUrl: ClusterType, Node: testNode(), ResponseNonce: "n2"})
	s.change(EndpointType, "n3", "x=4")
	receive(t, s.delta)
	r.mux.Subscribe(EndpointType, "y")
	wantDelta(t, receive(t, s.delta), &discoveryv3.DeltaDiscoveryRequest{TypeUrl: EndpointType, Node: testNode(), ResourceNamesSubscribe: []string{"y"}})
	r.mux.Unsubscribe(EndpointType, "x")
	wantDelta(t, receive(t, s.delta), &discoveryv3.DeltaDiscoveryRequest{TypeUrl: EndpointType, Node: testNode(), ResourceNamesUnsubscribe: []string{"x"}})

	s.fail(status.Error(codes.Unavailable, "bye"))
	s = r.stream(t)
	wantDelta(t, receive(t, s.delta), &discoveryv3.DeltaDiscoveryRequest{
		TypeUrl: ClusterType, Node: testNode(), InitialResourceVersions: map[string]string{"a": "1", "c": "7"},
	})
	wantDelta(t, receive(t, s.delta), &discoveryv3.DeltaDiscoveryRequest{TypeUrl: EndpointType, Node: testNode(), ResourceNamesSubscribe: []string{"y"}})
}

func TestDeltaRejectedResourcesAreAskedForAfterReconnection(t *testing.T) {
	r := newRig(t, func(o *Options) { o.Delta, o.NodeOnce = true, true })
	r.rec.verdict = func(u Update) error {
		if u.Resources[0].Version == "2" {
			return errors.New("no")
		}
		return nil
	}
	r.mux.SubscribeAll(ClusterType)
	r.run(t)
	s := r.stream(t)
	receive(t, s.delta)
	s.change(ClusterType, "n1", "a=1", "b=1")
	receive(t, s.delta)
	s.change(ClusterType, "n2", "b=2", "c=2")
	wantDelta(t, receive(t, s.delta), &discoveryv3.DeltaDiscoveryRequest{TypeUrl: ClusterType, ResponseNonce: "n2", ErrorDetail: errorDetail(errors.New("no"))})
	s.fail(nil)
	s = r.stream(t)
	wantDelta(t, receive(t, s.delta), &discoveryv3.DeltaDiscoveryRequest{
		TypeUrl: ClusterType, Node: testNode(), InitialResourceVersions: map[string]string{"a": "1", "b": "", "c": ""},
	})
}

func TestDeltaAsksAgainForWhatWasDropped(t *testing.T) {
	r := newRig(t, func(o *Options) { o.Delta, o.NodeOnce = true, true })
	r.mux.Subscribe(EndpointType, "a")
	r.rec.verdict = func(Update) error {
		r.mux.Unsubscribe(EndpointType, "a")
		r.mux.Subscribe(EndpointType, "a")
		return nil
	}
	r.run(t)
	s := r.stream(t)
	receive(t, s.delta)
	s.change(EndpointType, "n1", "a=1")
	wantDelta(t, receive(t, s.delta), &discoveryv3.DeltaDiscoveryRequest{TypeUrl: EndpointType, ResponseNonce: "n1", ResourceNamesUnsubscribe: []string{"a"}})
	wantDelta(t, receive(t, s.delta), &discoveryv3.DeltaDiscoveryRequest{TypeUrl: EndpointType, ResourceNamesSubscribe: []string{"a"}})
}

func TestDeltaWildcardBesideNames(t *testing.T) {
	r := newRig(t, func(o *Options) { o.Delta, o.NodeOnce = true, true })
	r.mux.Subscribe(ClusterType, "x")
	r.run(t)
	s := r.stream(t)
	wantDelta(t, receive(t, s.delta), &discoveryv3.DeltaDiscoveryRequest{TypeUrl: ClusterType, Node: testNode(), ResourceNamesSubscribe: []string{"x"}})
	r.mux.SubscribeAll(ClusterType)
	wantDelta(t, receive(t, s.delta), &discoveryv3.DeltaDiscoveryRequest{TypeUrl: ClusterType, ResourceNamesSubscribe: []string{"*"}})
	s.fail(nil)
	s = r.stream(t)
	wantDelta(t, receive(t, s.delta), &discoveryv3.DeltaDiscoveryRequest{TypeUrl: ClusterType, Node: testNode(), ResourceNamesSubscribe: []string{"*", "x"}})
}

func TestControlPlaneDiesAndReturns(t *testing.T) {
	r := newRig(t, nil)
	r.mux.SubscribeAll(ClusterType)
	r.run(t)
	s := r.stream(t)
	receive(t, s.sotw)
	s.answer(ClusterType, "v1", "n1", "a")
	receive(t, s.sotw)
	r.fake.server.Stop()
	for range 3 {
		receive(t, r.rec.failure) // attempts go on while it is away
	}
	r.fake = newFake(t, r.fake.addr)
	s = r.stream(t)
	wantRequest(t, receive(t, s.sotw), &discoveryv3.DiscoveryRequest{TypeUrl: ClusterType, VersionInfo: "v1", Node: testNode()})
	s.answer(ClusterType, "v2", "n1", "b")
	r.rec.next(t)
	if u := r.rec.next(t); u.Version != "v2" {
		t.Errorf("version = %s", u.Version)
	}
}

func TestFailsOverInOrderOfPreference(t *testing.T) {
	second := newFake(t, "")
	r := newRig(t, func(o *Options) {
		gone := Server{Name: "gone", Dial: func() (grpc.ClientConnInterface, error) { return nil, errors.New("no such cluster") }, Backoff: o.Servers[0].Backoff}
		last := Server{Name: "last", Dial: func() (grpc.ClientConnInterface, error) {
			t.Error("the last server was tried while others worked")
			return nil, errors.New("last")
		}}
		o.Servers = append([]Server{gone}, o.Servers[0], serverAt(t, second.addr), last)
	})
	r.mux.SubscribeAll(ClusterType)
	r.run(t)
	if err := receive(t, r.rec.failure); !strings.Contains(err.Error(), "gone") {
		t.Errorf("failure = %v", err)
	}
	r.stream(t).fail(status.Error(codes.Unimplemented, "not here")) // before it answered: the next one's turn
	s := receive(t, second.streams)
	receive(t, s.sotw)
	s.answer(ClusterType, "v1", "n1", "a")
	receive(t, s.sotw)
	s.fail(nil) // after it answered: from the first one on
	r.stream(t)
}

func TestNothingLeavesWhileAResponseIsApplied(t *testing.T) {
	r := newRig(t, nil)
	streams := make(chan *fakeStream, 1)
	r.rec.verdict = func(Update) error {
		s := <-streams
		r.mux.Subscribe(EndpointType, "e")
		select {
		case q := <-s.sotw:
			t.Errorf("sent before the ACK: %v", q)
		case <-time.After(50 * time.Millisecond): // long enough for a request that should not come
		}
		return nil
	}
	r.mux.SubscribeAll(ClusterType)
	r.run(t)
	s := r.stream(t)
	receive(t, s.sotw)
	streams <- s
	s.answer(ClusterType, "v1", "n1", "a")
	if q := receive(t, s.sotw); q.ResponseNonce != "n1" {
		t.Errorf("request = %v", q)
	}
	if q := receive(t, s.sotw); q.TypeUrl != EndpointType {
		t.Errorf("request = %v", q)
	}
}

func TestLargeResponse(t *testing.T) {
	r := newRig(t, nil)
	r.mux.SubscribeAll(ClusterType)
	r.run(t)
	s := r.stream(t)
	receive(t, s.sotw)
	s.answer(ClusterType, "v1", "n1", strings.Repeat("x", 8<<20)) // gRPC's own bound is 4 MiB
	if u := r.rec.next(t); u.Version != "v1" {
		t.Errorf("version = %s", u.Version)
	}
}

func TestSingleTypeServices(t *testing.T) {
	for _, one := range services {
		typeURL := one.typeURL
		for _, delta := range []bool{false, true} {
			if one.method(delta) == "" {
				continue
			}
			r := newRig(t, func(o *Options) {
				o.Type, o.Delta = typeURL, delta
				o.Servers[0].Metadata = map[string][]string{"x-token": {"1", "2"}}
			})
			r.mux.SubscribeAll(typeURL)
			r.run(t)
			s := r.stream(t)
			if s.method != one.method(delta) || !slices.Equal(s.md["x-token"], []string{"1", "2"}) {
				t.Errorf("method %s, metadata %v", s.method, s.md)
			}
		}
	}
}
