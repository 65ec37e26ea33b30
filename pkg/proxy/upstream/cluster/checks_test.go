package cluster

import (
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/upstream"
	"github.com/weir-proxy/weir/test/await"
)

// checked is a cluster of which each host is asked for /healthz all the time.
func checked(name string) *model.Cluster {
	c := eds(name)
	c.PanicThreshold = 0
	c.HealthChecks = []*model.HealthCheck{often()}
	return c
}

func often() *model.HealthCheck {
	const soon = time.Millisecond
	return &model.HealthCheck{
		Timeout: time.Second, Interval: soon, NoTrafficInterval: soon, NoTrafficHealthyInterval: soon, UnhealthyInterval: soon,
		UnhealthyEdgeInterval: soon, HealthyEdgeInterval: soon, UnhealthyThreshold: 1, HealthyThreshold: 1, ReuseConnection: true,
		HTTP: &model.HTTPHealthCheck{Path: "/healthz", Method: http.MethodGet, Expected: []model.StatusRange{{Start: 200, End: 201}}},
	}
}

// Checks go on, and what they found is kept, while the cluster and its endpoints are updated under them.
func TestChecksDuringUpdates(t *testing.T) {
	var unwell atomic.Bool
	a := plainBackend(t, nil)
	b := plainBackend(t, func(w http.ResponseWriter, _ *http.Request) {
		if unwell.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	h := newHarness(t)
	apply := func(c *model.Cluster) {
		s := snapshot(c)
		s.Endpoints = s.Endpoints.With("web", endpoints(a.addr, b.addr))
		h.Apply(s)
	}
	apply(checked("web"))
	if err := h.WaitReady(t.Context(), "web"); err != nil {
		t.Fatal(err)
	}
	healthy := func(n uint64) func() bool {
		return func() bool { return h.gauge("cluster.web.membership_healthy") == n }
	}
	if !healthy(2)() {
		t.Fatalf("ready with %d healthy hosts, want 2", h.gauge("cluster.web.membership_healthy"))
	}
	for i := range 100 {
		c := checked("web")
		switch i % 3 {
		case 1:
			c.HealthChecks[0].UnhealthyThreshold = 2 // other checks
		case 2:
			c.ConnectTimeout = time.Duration(i+1) * time.Second
			c.TCPKeepalive = &model.TCPKeepalive{Probes: i + 1} // connects in another way, so hosts are made anew
		}
		apply(c)
		for _, host := range h.Get("web").Hosts() {
			if host.Flags&upstream.PendingActiveHC != 0 {
				t.Fatalf("update %d: what was known of %s is forgotten", i, host.Name())
			}
		}
	}
	apply(checked("web"))
	await.True(t, "both hosts are well", healthy(2))
	unwell.Store(true)
	await.True(t, "one host is out", healthy(1))
	for range 20 {
		if host, err := h.Get("web").Pick(&upstream.PickContext{}); err != nil || host.Address != a.addr {
			t.Fatalf("picked %v, %v", host, err)
		}
	}
	unwell.Store(false)
	await.True(t, "it is back", healthy(2))
}

// A host that asks for it is out at once, and comes back when it passes.
func TestImmediateFailure(t *testing.T) {
	a := plainBackend(t, nil)
	h := newHarness(t)
	c := checked("web")
	c.HealthChecks[0].UnhealthyEdgeInterval = 200 * time.Millisecond
	s := snapshot(c)
	s.Endpoints = s.Endpoints.With("web", endpoints(a.addr))
	h.Apply(s)
	await.True(t, "the host is well", func() bool { return h.gauge("cluster.web.membership_healthy") == 1 })
	h.Get("web").Hosts()[0].FailHealthCheck()
	await.True(t, "the host is out", func() bool {
		return h.gauge("cluster.web.membership_healthy") == 0 || h.counter("cluster.web.health_check.passive_failure") == 1
	})
	await.True(t, "the host is back", func() bool { return h.gauge("cluster.web.membership_healthy") == 1 })
}
