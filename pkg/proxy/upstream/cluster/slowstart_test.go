package cluster

import (
	"net/http"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/upstream"
	"github.com/weir-proxy/weir/test/await"
)

// begun are the times when slow start began for the hosts of a cluster; hosts without are left out.
func begun(c *Cluster) map[netip.AddrPort]time.Time {
	out := make(map[netip.AddrPort]time.Time)
	for _, h := range c.Hosts() {
		if h.Since != nil {
			out[h.Address] = *h.Since
		}
	}
	return out
}

// A window begins when a host comes, or is healthy for the first time, and not again when others come or the cluster changes.
func TestSlowStartWindows(t *testing.T) {
	a, b, gone := netip.MustParseAddrPort("127.0.0.1:1"), netip.MustParseAddrPort("127.0.0.1:2"), netip.MustParseAddrPort("127.0.0.1:3")
	h := newHarness(t)
	apply := func(window, connectTimeout time.Duration, e *model.LoadAssignment) map[netip.AddrPort]time.Time {
		c := eds("web")
		c.SlowStart, c.ConnectTimeout = model.SlowStart{Window: window, Aggression: 1, MinWeight: 0.1}, connectTimeout
		s := snapshot(c)
		s.Endpoints = s.Endpoints.With("web", e)
		h.Apply(s)
		return begun(h.Get("web"))
	}
	if got := apply(0, time.Second, endpoints(a)); len(got) > 0 {
		t.Fatalf("begun without slow start: %v", got)
	}
	before := time.Now()
	first := apply(time.Hour, time.Second, endpoints(a))
	if at, ok := first[a]; !ok || at.Before(before) {
		t.Fatalf("begun at %v, ok %v, before %v", at, ok, before)
	}
	ill := endpoints(a, b, gone)
	ill.Localities[0].Endpoints[1].Health = model.HealthUnhealthy
	second := apply(time.Hour, time.Second, ill)
	if _, ok := second[b]; ok || !second[a].Equal(first[a]) || len(second) != 2 {
		t.Errorf("an unhealthy host: %v after %v", second, first)
	}
	third := apply(time.Hour, 2*time.Second, endpoints(a, b))
	if !third[a].Equal(first[a]) || third[b].Before(second[gone]) || len(third) != 2 {
		t.Errorf("when it is healthy: %v after %v", third, second)
	}
	fourth := apply(2*time.Hour, 2*time.Second, endpoints(b, gone))
	if !fourth[b].Equal(third[b]) || !fourth[gone].After(second[gone]) || len(fourth) != 2 {
		t.Errorf("when one has come back: %v after %v", fourth, second)
	}
}

// A cluster with slow start does not sleep: the windows of its hosts begin when these come, not with the first request.
func TestSlowStartIsAwake(t *testing.T) {
	h := newHarness(t)
	c := eds("web")
	c.SlowStart.Window = time.Hour
	s := snapshot(c)
	s.Endpoints = s.Endpoints.With("web", endpoints(netip.MustParseAddrPort("127.0.0.1:1")))
	h.Apply(s)
	if len(h.Get("web").HostsAwake()) != 1 {
		t.Error("the cluster sleeps")
	}
}

// A host that passes its checks again begins anew, and gets what a new host gets.
func TestSlowStartAfterChecks(t *testing.T) {
	var unwell atomic.Bool
	a := plainBackend(t, nil)
	b := plainBackend(t, func(w http.ResponseWriter, _ *http.Request) {
		if unwell.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	h := newHarness(t)
	cfg := checked("web")
	cfg.SlowStart = model.SlowStart{Window: time.Second, Aggression: 0.01, MinWeight: 0.1}
	s := snapshot(cfg)
	s.Endpoints = s.Endpoints.With("web", endpoints(a.addr, b.addr))
	applied := time.Now()
	h.Apply(s)
	c := h.Get("web")
	if n := len(begun(c)); n != 0 && !begun(c)[a.addr].After(applied) {
		t.Error("begun before the first check")
	}
	if err := h.WaitReady(t.Context(), "web"); err != nil {
		t.Fatal(err)
	}
	first := begun(c)
	if len(first) != 2 || first[b.addr].Before(applied) {
		t.Fatalf("begun at %v", first)
	}
	await.True(t, "both hosts are past their windows", func() bool { return time.Since(applied) > 2*time.Second })
	healthy := func(n uint64) func() bool {
		return func() bool { return h.gauge("cluster.web.membership_healthy") == n }
	}
	unwell.Store(true)
	await.True(t, "one host is out", healthy(1))
	unwell.Store(false)
	await.True(t, "it is back", healthy(2))
	second := begun(c)
	if !second[b.addr].After(first[b.addr]) || !second[a.addr].Equal(first[a.addr]) {
		t.Fatalf("begun at %v, then at %v", first, second)
	}
	picked := 0
	for range 110 {
		if host, err := c.Pick(&upstream.PickContext{}); err == nil && host.Address == b.addr {
			picked++
		}
	}
	if time.Since(second[b.addr]) < time.Second/2 && picked > 20 {
		t.Errorf("the host that is back has %d of 110 picks, want about 10", picked)
	}
}
