package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
	"time"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/upstream"
	"github.com/weir-proxy/weir/test/await"
)

func TestHostChangeClosesConnections(t *testing.T) {
	a, b := plainBackend(t, nil), plainBackend(t, nil)
	for _, closes := range []bool{true, false} {
		h := newHarness(t)
		web := eds("web")
		web.CloseOnHostChange = closes
		s := snapshot(web)
		s.Endpoints = s.Endpoints.With("web", endpoints(a.addr))
		h.Apply(s)
		h.mustGet("web")
		again := snapshot(web)
		again.Endpoints = again.Endpoints.With("web", endpoints(a.addr)) // the same hosts
		h.Apply(again)
		h.want("gauge", h.gauge, map[string]uint64{"cluster.web.upstream_cx_active": 1})
		more := snapshot(web)
		more.Endpoints = more.Endpoints.With("web", endpoints(a.addr, b.addr))
		h.Apply(more)
		left := uint64(1)
		if closes {
			left = 0
		}
		h.want("gauge", h.gauge, map[string]uint64{"cluster.web.upstream_cx_active": left})
	}
}

func TestStartDoesNotWait(t *testing.T) {
	n := newNames()
	n.block = make(chan struct{})
	h := newHarness(t, func(o *Options) { o.Resolver = n })
	cfg := dnsCluster(model.ClusterStrictDNS, "web.test", 80)
	cfg.SkipWarming = true
	h.Apply(snapshot(cfg))
	if err := h.WaitReady(t.Context(), "web"); err != nil {
		t.Error(err)
	}
	waits := dnsCluster(model.ClusterStrictDNS, "web.test", 80)
	h.Apply(snapshot(waits))
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := h.WaitReady(ctx, "web"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v, want that it waits", err)
	}
}

func TestLogicalDNSTriesAllAddresses(t *testing.T) {
	b := plainBackend(t, nil)
	n := newNames()
	n.set("web.test", "127.0.0.77", "127.0.0.1") // the first one refuses
	h := newHarness(t, func(o *Options) { o.Resolver = n })
	cfg := dnsCluster(model.ClusterLogicalDNS, "web.test", b.addr.Port())
	cfg.DNS.Family = model.DNSAll
	h.Apply(snapshot(cfg))
	if err := h.WaitReady(t.Context(), "web"); err != nil {
		t.Fatal(err)
	}
	if got := h.mustGet("web"); got != b.addr.String() {
		t.Errorf("answered by %q", got)
	}
}

func TestBindErrors(t *testing.T) {
	b := plainBackend(t, nil)
	h := newHarness(t)
	cfg := static("web", b.addr)
	cfg.BindAddress = netip.MustParseAddrPort("198.51.100.7:0") // not ours
	h.Apply(snapshot(cfg))
	var bad *upstream.Error
	if _, err := h.get(h.Get("web")); !errors.As(err, &bad) ||
		bad.Reason() != "local connection failure" || bad.Transport != "failed to bind to 198.51.100.7:0: Cannot assign requested address" {
		t.Errorf("error %v", err)
	}
	h.want("counter", h.counter, map[string]uint64{"cluster.web.bind_errors": 1, "cluster.web.upstream_cx_connect_fail": 1})
}

func TestHashedCluster(t *testing.T) {
	a, b := plainBackend(t, nil), plainBackend(t, nil)
	h := newHarness(t)
	ring := static("ring", a.addr, b.addr)
	ring.LB, ring.HashLB = model.LBRingHash, model.HashBalancer{MinRing: 1024, MaxRing: 1 << 20}
	maglev := static("maglev", a.addr, b.addr)
	maglev.LB, maglev.HashLB = model.LBMaglev, model.HashBalancer{TableSize: 251}
	h.Apply(snapshot(ring, maglev, static("plain", a.addr)))
	for name, want := range map[string]bool{"ring": true, "maglev": true, "plain": false} {
		if got := h.Get(name).WantsHash(); got != want {
			t.Errorf("%s wants the hash: %v", name, got)
		}
	}
	for _, name := range []string{"ring", "maglev"} {
		seen := map[string]bool{}
		for hash := range uint64(50) {
			pc := &upstream.PickContext{Hash: hash * (1 << 58), HasHash: true}
			first, err := h.Get(name).Pick(pc)
			if err != nil {
				t.Fatal(err)
			}
			for range 3 {
				if again, _ := h.Get(name).Pick(pc); again != first {
					t.Errorf("%s: one hash, two hosts", name)
				}
			}
			seen[first.Name()] = true
		}
		if len(seen) != 2 {
			t.Errorf("%s used %v", name, seen)
		}
	}
	h.want("gauge", h.gauge, map[string]uint64{
		"cluster.ring.ring_hash_lb.size": 1024, "cluster.ring.ring_hash_lb.min_hashes_per_host": 512, "cluster.ring.ring_hash_lb.max_hashes_per_host": 512,
		"cluster.maglev.maglev_lb.min_entries_per_host": 125, "cluster.maglev.maglev_lb.max_entries_per_host": 126,
	})
}

func TestPredictivePreconnect(t *testing.T) {
	backends := []*backend{plainBackend(t, nil), plainBackend(t, nil), plainBackend(t, nil)}
	h := newHarness(t)
	web := static("web", backends[0].addr, backends[1].addr, backends[2].addr)
	web.Preconnect = model.Preconnect{PerHost: 1, Predictive: 2}
	h.Apply(snapshot(web))
	first := h.mustGet("web")
	await.True(t, "a connection ahead", func() bool { return h.gauge("cluster.web.upstream_cx_active") == 2 })
	second := h.mustGet("web")
	if n := h.counter("cluster.web.upstream_cx_total"); n != 2 || first == second {
		t.Errorf("%d connections for %s and %s, want that the second was there", n, first, second)
	}
}

func TestPoolLimits(t *testing.T) {
	b := plainBackend(t, nil)
	h := newHarness(t)
	web := static("web", b.addr)
	web.Breakers[0] = model.CircuitBreaker{
		MaxConnections: 10, MaxPendingRequests: 10, MaxRequests: 10, MaxRetries: 3, MaxConnectionPools: 1, TrackRemaining: true,
	}
	web.HostConnections = [2]uint32{1, 0}
	h.Apply(snapshot(web))
	h.mustGet("web")
	h.want("gauge", h.gauge, map[string]uint64{
		"cluster.web.circuit_breakers.default.cx_pool_open": 1, "cluster.web.circuit_breakers.default.remaining_cx_pools": 0,
		"cluster.web.circuit_breakers.high.cx_pool_open": 0,
	})
	h.Apply(snapshot()) // gives everything back
	if n := h.gauge("cluster.web.upstream_cx_active"); n != 0 {
		t.Errorf("%d connections are left", n)
	}
}

// TestSourceAddresses connects from the address of the host's family.
func TestSourceAddresses(t *testing.T) {
	from := func(w http.ResponseWriter, r *http.Request) {
		addr := netip.MustParseAddrPort(r.RemoteAddr)
		fmt.Fprint(w, addr.Addr())
	}
	four := plainBackend(t, from)
	l, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Skipf("no IPv6 here: %v", err)
	}
	six := httptest.NewUnstartedServer(http.HandlerFunc(from))
	_ = six.Listener.Close()
	six.Listener = l
	six.Start()
	t.Cleanup(six.Close)
	sixAddr := l.Addr().(*net.TCPAddr).AddrPort()
	for _, tc := range []struct{ name, bind, other, four, six string }{
		{"one of each", "127.0.0.5:0", "[::1]:0", "127.0.0.5", "::1"},
		{"the other way around", "[::1]:0", "127.0.0.6:0", "127.0.0.6", "::1"},
		{"only one is ours", "127.0.0.5:0", "[2001:db8::7]:0", "127.0.0.5", "failed to bind to [2001:db8::7]:0: Cannot assign requested address"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := newHarness(t)
			web := func(name string, addr netip.AddrPort) *model.Cluster {
				c := static(name, addr)
				c.BindAddress, c.BindOther = netip.MustParseAddrPort(tc.bind), netip.MustParseAddrPort(tc.other)
				return c
			}
			h.Apply(snapshot(web("four", four.addr), web("six", sixAddr)))
			for name, want := range map[string]string{"four": tc.four, "six": tc.six} {
				got, err := h.get(h.Get(name))
				if bad, ok := errors.AsType[*upstream.Error](err); ok {
					got = bad.Transport
				}
				if got != want {
					t.Errorf("%s: from %q, want %q", name, got, want)
				}
			}
		})
	}
}
