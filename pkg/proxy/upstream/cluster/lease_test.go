package cluster

import (
	"net"
	"testing"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/upstream"
	"github.com/weir-proxy/weir/test/await"
)

// TestTryDial checks that a connection is given without waiting once one was made ahead, and that Dial goes on with the host that
// was picked otherwise.
func TestTryDial(t *testing.T) {
	backends := []*backend{plainBackend(t, nil), plainBackend(t, nil)}
	h := newHarness(t)
	web := static("web", backends[0].addr, backends[1].addr)
	plain := static("web", backends[0].addr, backends[1].addr)
	web.Preconnect = model.Preconnect{PerHost: 2, Predictive: 1}
	h.Apply(snapshot(web))
	c := h.Get("web")
	var pc upstream.PickContext
	if l, err := c.TryDial(&pc); l != nil || err != nil || pc.Picked == nil {
		t.Fatalf("got %v, %v and host %v, want only a host", l, err, pc.Picked)
	}
	picked := pc.Picked
	l, err := c.Dial(t.Context(), &pc)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if l.Host != picked || pc.Picked != nil {
		t.Errorf("Dial took %s, want the host that was picked", l.Host.Name())
	}
	await.True(t, "a connection ahead", func() bool { return h.gauge("cluster.web.upstream_cx_active") == 2 })
	pc.Picked = picked
	var ready *Lease
	await.True(t, "the connection", func() bool {
		ready, err = c.TryDial(&pc)
		pc.Picked = picked
		return ready != nil
	})
	if ready.Host != picked || ready.Info.ID == l.Info.ID || !ready.Info.Local.IsValid() {
		t.Errorf("lease %+v", ready)
	}
	h.want("counter", h.counter, map[string]uint64{"cluster.web.upstream_cx_total": 2, "cluster.web.upstream_rq_total": 2})
	ready.Settled()
	await.True(t, "connections for the next ones", func() bool { return h.counter("cluster.web.upstream_cx_total") == 4 })
	ready.Close()
	h.want("gauge", h.gauge, map[string]uint64{"cluster.web.upstream_rq_active": 1, "cluster.web.upstream_cx_active": 3})

	h.Apply(snapshot(plain))
	if l, err := h.Get("web").TryDial(&upstream.PickContext{}); l != nil || err != nil {
		t.Errorf("got %v, %v without the policy", l, err)
	}
}

// TestPredictivePreconnectTCP checks that the host that comes next has a connection.
func TestPredictivePreconnectTCP(t *testing.T) {
	backends := []*backend{plainBackend(t, nil), plainBackend(t, nil), plainBackend(t, nil)}
	h := newHarness(t)
	web := static("web", backends[0].addr, backends[1].addr, backends[2].addr)
	web.Preconnect = model.Preconnect{PerHost: 1, Predictive: 2}
	h.Apply(snapshot(web))
	c := h.Get("web")
	first, err := c.Dial(t.Context(), &upstream.PickContext{})
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	await.True(t, "a connection ahead", func() bool { return h.gauge("cluster.web.upstream_cx_active") == 2 })
	second, err := c.Dial(t.Context(), &upstream.PickContext{})
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	if second.Host == first.Host || second.Info.ID != first.Info.ID+1 {
		t.Errorf("connection %d to %s after %d to %s, want the one that was there", second.Info.ID, second.Host.Name(), first.Info.ID, first.Host.Name())
	}
}

// The connection of a tunnel takes a place of max_requests by itself and gives it back once, also when it cannot be made.
// Tunnels count as requests, and max_requests does not bound them, as in Envoy.
func TestTunnelsTakePlaces(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	h := newHarness(t)
	cfg := static("web", l.Addr().(*net.TCPAddr).AddrPort())
	cfg.Breakers[0] = model.CircuitBreaker{MaxConnections: 10, MaxRequests: 1}
	h.Apply(snapshot(cfg))
	c := h.Get("web")
	host, err := c.Pick(&upstream.PickContext{})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		lease, err := c.DialHost(t.Context(), host, nil)
		if err != nil {
			t.Fatal(err)
		}
		second, err := c.DialHost(t.Context(), host, nil)
		if err != nil {
			t.Fatalf("second tunnel: %v", err)
		}
		if n := c.Requests(0); n != 2 {
			t.Errorf("%d places are taken", n)
		}
		second.Close()
		lease.Close()
		lease.Close()
	}
	_ = l.Close()
	if _, err := c.DialHost(t.Context(), host, nil); !isKind(err, upstream.KindConnect) {
		t.Errorf("without a listener: %v, want that it cannot connect", err)
	}
	if n := c.Requests(0); n != 0 {
		t.Errorf("%d places are kept", n)
	}
	h.want("counter", h.counter, map[string]uint64{"cluster.web.upstream_rq_pending_overflow": 0})
}
