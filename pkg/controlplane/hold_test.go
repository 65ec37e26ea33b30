package controlplane

import (
	"log/slog"
	"maps"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	subscription "github.com/envoyproxy/go-control-plane/pkg/server/stream/v3"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
)

// versioned is a listener with something that may change.
func versioned(prefix string) message { return &listenerv3.Listener{Name: "l", StatPrefix: prefix} }

// expect takes an answer without acknowledging it.
func (c *deltaClient) expect(url string, want ...string) (nonce string) {
	c.t.Helper()
	r, err := c.stream.Recv()
	if err != nil {
		c.t.Fatal(err)
	}
	if got := told(r); r.GetTypeUrl() != url || !slices.Equal(got, want) {
		c.t.Errorf("got %s %s, want %s %s", shortType(r.GetTypeUrl()), got, shortType(url), want)
	}
	return r.GetNonce()
}

func (c *deltaClient) ack(url, nonce string) {
	c.t.Helper()
	c.send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: url, ResponseNonce: nonce})
}

const cds, lds, eds = resource.ClusterType, resource.ListenerType, resource.EndpointType

// lateDelta is a client of clusters and listeners that was told of a change from cluster a to b, and has accepted b, but
// not yet the listener.
func lateDelta(t *testing.T, s *Server, addr string) (c *deltaClient, pending string) {
	t.Helper()
	c = newDeltaClient(t, addr, &corev3.Node{Id: "late"})
	for _, url := range []string{cds, lds} {
		c.subscribe(url, "*")
		c.receive()
	}
	c.silent(eds) // both answers have been heard
	replace(t, s, cluster("b"), versioned("2"))
	accepted := c.expect(cds, "b")
	pending = c.expect(lds, "l")
	c.ack(cds, accepted)
	c.silent(eds)
	return c, pending
}

func TestRemovalsWaitForTheClientOverDelta(t *testing.T) {
	for name, tt := range map[string]func(t *testing.T, c *deltaClient, s *Server, nonce string){
		"until it accepts": func(_ *testing.T, c *deltaClient, _ *Server, nonce string) { c.ack(lds, nonce) },
		"until it rejects": func(_ *testing.T, c *deltaClient, _ *Server, nonce string) {
			c.send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: lds, ResponseNonce: nonce, ErrorDetail: &statuspb.Status{Message: "no"}})
		},
		"with a further change": func(t *testing.T, c *deltaClient, s *Server, nonce string) {
			replace(t, s, cluster("b"), cluster("c"), versioned("3"))
			c.silent(eds)
			c.ack(lds, nonce)
			// What is new in the meantime comes first, here too.
			next := c.expect(cds, "c")
			accepted := c.expect(lds, "l")
			c.ack(cds, next)
			c.silent(eds)
			c.ack(lds, accepted)
		},
		"that gave up": func(_ *testing.T, c *deltaClient, s *Server, _ string) {
			s.fleet.mu.Lock()
			all := maps.Clone(s.fleet.streams)
			s.fleet.mu.Unlock()
			for key, x := range all {
				s.fleet.expire(key, x)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, addr := newTestServer(t, cluster("a"), versioned("1"))
			c, nonce := lateDelta(t, s, addr)
			tt(t, c, s, nonce)
			c.ack(cds, c.expect(cds, "-a"))
			c.silent(eds)
		})
	}
}

func TestRemovalsWaitForTheClient(t *testing.T) {
	s, addr := newTestServer(t, cluster("a"), versioned("1"))
	c := newStateClient(t, addr, "late")
	c.ask(cds, "")
	c.expect(cds, "a")
	c.ask(cds, "")
	c.ask(lds, "")
	c.expect(lds, "l")
	c.ask(lds, "")
	c.ask(eds, "", "none")
	c.expect(eds)
	c.ask(eds, "", "none")
	// A client that is quick is not held up by one that is not.
	quick := newStateClient(t, addr, "quick")
	quick.ask(cds, "")
	quick.expect(cds, "a")
	quick.ask(cds, "")
	quick.ask(eds, "", "none")
	quick.expect(eds)
	quick.ask(eds, "", "none")
	quick.ask(resource.SecretType, "", "none")
	quick.expect(resource.SecretType) // so the others have been heard
	quick.ask(resource.SecretType, "", "none")
	replace(t, s, cluster("b"), versioned("2"))
	quick.expect(cds, "a", "b")
	quick.ask(cds, "")
	quick.expect(cds, "b")

	c.expect(cds, "a", "b")
	c.expect(lds, "l")
	c.ask(cds, "")
	c.ask(resource.SecretType, "", "none")
	c.expect(resource.SecretType)
	c.ask(resource.SecretType, "", "none")
	c.ask(lds, "")
	c.expect(cds, "b")
}

// What a client that never answers was sent is taken away in the end, and streams that end leave nothing behind.
func TestRemovalsWaitOnlySoLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Options{Log: slog.New(slog.DiscardHandler)})
		replace(t, s, cluster("a"), versioned("1"))
		answers := make(chan cache.DeltaResponse, 10)
		watch := func(url, nonce string, sub *subscription.Subscription) func() {
			cancel, err := s.fleet.CreateDeltaWatch(&cache.DeltaRequest{TypeUrl: url, ResponseNonce: nonce}, sub, answers)
			if err != nil {
				t.Fatal(err)
			}
			return cancel
		}
		take := func(sub *subscription.Subscription) []string {
			a := <-answers
			sub.SetReturnedResources(a.GetNextVersionMap())
			r, err := a.GetDeltaDiscoveryResponse()
			if err != nil {
				t.Fatal(err)
			}
			return told(r)
		}
		subs, ends := map[string]*subscription.Subscription{}, map[string]func(){}
		for _, url := range []string{cds, lds} {
			sub := subscription.NewDeltaSubscription([]string{"*"}, nil, nil, true)
			subs[url] = &sub
			watch(url, "", &sub)()
			take(&sub)
			ends[url] = watch(url, "1", &sub)
		}
		replace(t, s, cluster("b"), versioned("2"))
		if got := append(take(subs[cds]), take(subs[lds])...); !slices.Equal(got, []string{"b", "l"}) {
			t.Fatalf("told %s", got)
		}
		ends[cds]()
		ends[cds] = watch(cds, "2", subs[cds])
		begin := time.Now()
		if got := take(subs[cds]); !slices.Equal(got, []string{"-a"}) || time.Since(begin) != reprieve {
			t.Errorf("told %s after %s", got, time.Since(begin))
		}
		ends[cds]()
		ends[lds]()
		if len(s.fleet.streams) != 0 || !s.fleet.views[everyone].idle() {
			t.Errorf("left behind: %v", s.fleet.streams)
		}
	})
}
