package cluster

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
	"github.com/weir-proxy/weir/pkg/proxy/upstream"
	"github.com/weir-proxy/weir/test/await"
)

func TestConnectionsAreReused(t *testing.T) {
	b := plainBackend(t, nil)
	h := newHarness(t)
	h.Apply(snapshot(static("web", b.addr)))
	for range 5 {
		if got := h.mustGet("web"); got != b.addr.String() {
			t.Fatalf("answer %q", got)
		}
	}
	if n := b.conns.Load(); n != 1 {
		t.Errorf("%d connections for requests one after the other", n)
	}
	h.want("counter", h.counter, map[string]uint64{
		"cluster.web.upstream_cx_total": 1, "cluster.web.upstream_cx_http1_total": 1, "cluster.web.upstream_rq_total": 5,
		"cluster.web.upstream_rq_pending_total": 1, "cluster.web.membership_change": 1, "cluster.web.upstream_cx_destroy": 0,
	})
	h.want("gauge", h.gauge, map[string]uint64{
		"cluster.web.upstream_cx_active": 1, "cluster.web.membership_total": 1, "cluster.web.membership_healthy": 1,
		"cluster.web.upstream_rq_pending_active": 0,
	})
	host := h.Get("web").Hosts()[0]
	if a, n := host.Stats.RqActive.Load(), host.Stats.RqTotal.Load(); a != 0 || n != 5 {
		t.Errorf("host has %d requests active and %d in total, want 0 and 5", a, n)
	}
}

func TestUnknownCluster(t *testing.T) {
	if c := newHarness(t).Get("nobody"); c != nil {
		t.Errorf("found %v", c)
	}
}

func TestUnchangedObjectsStay(t *testing.T) {
	b := plainBackend(t, nil)
	h := newHarness(t)
	web, api := static("web", b.addr), eds("api")
	snap := snapshot(web, api)
	snap.Endpoints = snap.Endpoints.With("api", endpoints(b.addr))
	h.Apply(snap)
	wasWeb, wasAPI, host := h.Get("web"), h.Get("api"), h.Get("api").Hosts()[0]

	next := snapshot(web, api, static("new", b.addr))
	next.Endpoints = snap.Endpoints
	h.Apply(next)
	if h.Get("web") != wasWeb || h.Get("api") != wasAPI || h.Get("api").Hosts()[0] != host {
		t.Error("an unchanged cluster or host was replaced")
	}
	if h.Get("new") == nil || h.All().Len() != 3 {
		t.Error("the new cluster is missing")
	}
	h.Apply(snapshot(web))
	if h.All().Len() != 1 || h.Get("web") != wasWeb {
		t.Errorf("after removal there are %v", h.All().Names())
	}
	if got := h.counter("cluster.new.membership_change"); got != 0 {
		t.Errorf("statistics of a removed cluster are still there: %d", got)
	}
}

func TestEndpointsChangeKeepsConnections(t *testing.T) {
	a, b := plainBackend(t, nil), plainBackend(t, nil)
	h := newHarness(t)
	cfg := eds("web")
	apply := func(addrs ...netip.AddrPort) {
		s := snapshot(cfg)
		s.Endpoints = s.Endpoints.With("web", endpoints(addrs...))
		h.Apply(s)
	}
	apply(a.addr, b.addr)
	for range 4 {
		h.mustGet("web")
	}
	if a.open.Load() != 1 || b.open.Load() != 1 {
		t.Fatalf("%d and %d connections, want one each", a.open.Load(), b.open.Load())
	}
	total := h.Get("web").Hosts()[0].Stats.RqTotal.Load()
	apply(a.addr)
	await.True(t, "the removed host's connection to close", func() bool { return b.open.Load() == 0 })
	for range 3 {
		if got := h.mustGet("web"); got != a.addr.String() {
			t.Fatalf("answer from %q", got)
		}
	}
	if n := a.conns.Load(); n != 1 {
		t.Errorf("the remaining host was connected to %d times, want once", n)
	}
	if n := h.Get("web").Hosts()[0].Stats.RqTotal.Load(); n != total+3 {
		t.Errorf("the remaining host counts %d requests, want %d", n, total+3)
	}
	apply()
	if _, err := h.get(h.Get("web")); !isKind(err, upstream.KindNoHost) {
		t.Errorf("no endpoints give %v, want KindNoHost", err)
	}
	h.want("counter", h.counter, map[string]uint64{"cluster.web.membership_change": 3, "cluster.web.upstream_cx_none_healthy": 1})
}

func isKind(err error, kind upstream.Kind) bool {
	e, ok := errors.AsType[*upstream.Error](err)
	return ok && e.Kind == kind
}

func TestRemovedHostFinishesItsRequest(t *testing.T) {
	arrived, answer := make(chan struct{}), make(chan struct{})
	b := plainBackend(t, func(w http.ResponseWriter, _ *http.Request) {
		close(arrived)
		<-answer
		_, _ = w.Write([]byte("late"))
	})
	h := newHarness(t)
	cfg := eds("web")
	s := snapshot(cfg)
	s.Endpoints = s.Endpoints.With("web", endpoints(b.addr))
	h.Apply(s)
	done := make(chan string, 1)
	go func() {
		body, err := h.get(h.Get("web"))
		if err != nil {
			body = err.Error()
		}
		done <- body
	}()
	<-arrived
	h.Apply(snapshot()) // the whole cluster goes
	close(answer)
	if got := <-done; got != "late" {
		t.Errorf("answer %q", got)
	}
	await.True(t, "the connection to close after its request", func() bool { return b.open.Load() == 0 })
}

func TestConfigChange(t *testing.T) {
	tests := []struct {
		name   string
		change func(*model.Cluster)
		conns  int64
	}{
		{"circuit breakers and timeouts keep connections", func(c *model.Cluster) {
			c.Breakers[0], c.ConnectTimeout = model.CircuitBreaker{MaxConnections: 5, MaxPendingRequests: 5, MaxRequests: 5}, time.Second
		}, 1},
		{"balancing keeps connections", func(c *model.Cluster) { c.LB = model.LBRandom }, 1},
		{"another HTTP option makes new ones", func(c *model.Cluster) { c.HTTP.HTTP1.EnableTrailers = true }, 2},
		{"another statistics name makes new ones", func(c *model.Cluster) { c.AltStatName = "other" }, 2},
		{"another discovery makes new ones", func(c *model.Cluster) { c.Type = model.ClusterStrictDNS }, 2},
		{"another source address makes new ones", func(c *model.Cluster) { c.BindAddress = netip.MustParseAddrPort("127.0.0.1:0") }, 2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := plainBackend(t, nil)
			h := newHarness(t)
			h.Apply(snapshot(static("web", b.addr)))
			h.mustGet("web")
			was := h.Get("web")
			changed := static("web", b.addr)
			tt.change(changed)
			h.Apply(snapshot(changed))
			if h.Get("web") == was || h.Get("web").Config() != changed {
				t.Fatal("the changed cluster is not in place")
			}
			h.mustGet("web")
			if n := b.conns.Load(); n != tt.conns {
				t.Errorf("%d connections, want %d", n, tt.conns)
			}
			await.True(t, "old connections to close", func() bool { return b.open.Load() == 1 })
		})
	}
}

func TestConnectErrors(t *testing.T) {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := free.Addr().(*net.TCPAddr).AddrPort()
	_ = free.Close()
	self := netip.MustParseAddrPort("127.0.0.1:9")
	tests := []struct {
		name      string
		cluster   *model.Cluster
		kind      upstream.Kind
		transport string
	}{
		{"refused", static("web", closed), upstream.KindConnect, "delayed connect error: Connection refused"},
		{"self", static("web", self), upstream.KindSelf, ""},
		{"no endpoints", static("web"), upstream.KindNoHost, ""},
		{"no such pipe", pipeCluster(filepath.Join(t.TempDir(), "none")), upstream.KindConnect, "immediate connect error: No such file or directory"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := newHarness(t, func(o *Options) { o.Self = func(a netip.AddrPort) bool { return a == self } })
			h.Apply(snapshot(tt.cluster))
			_, err := h.get(h.Get("web"))
			e, ok := errors.AsType[*upstream.Error](err)
			if !ok || e.Kind != tt.kind || e.Transport != tt.transport || !e.BeforeResponse {
				t.Fatalf("error %#v, want kind %d, transport %q", err, tt.kind, tt.transport)
			}
			if tt.kind == upstream.KindConnect {
				h.want("counter", h.counter, map[string]uint64{
					"cluster.web.upstream_cx_connect_fail": 1, "cluster.web.upstream_cx_total": 1,
					"cluster.web.upstream_cx_destroy_remote": 1, "cluster.web.upstream_rq_total": 0,
					"cluster.web.upstream_rq_pending_failure_eject": 1,
				})
			}
			h.want("gauge", h.gauge, map[string]uint64{"cluster.web.upstream_cx_active": 0, "cluster.web.upstream_rq_pending_active": 0})
		})
	}
}

func pipeCluster(path string) *model.Cluster {
	c := static("web")
	c.Inline.Localities[0].Endpoints = []*model.Endpoint{{Pipe: path}}
	return c
}

func TestPipe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	b := newBackend(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("piped")) })
	_ = b.Listener.Close()
	b.Listener = l
	b.Start()
	h := newHarness(t)
	h.Apply(snapshot(pipeCluster(path)))
	if got := h.mustGet("web"); got != "piped" {
		t.Errorf("answer %q", got)
	}
	if got := h.Get("web").Hosts()[0].Name(); got != path {
		t.Errorf("host is named %q", got)
	}
}

func TestConnectTimeout(t *testing.T) {
	// A server that accepts but never answers the TLS handshake is as slow as one that does not accept.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	h := newHarness(t)
	cfg := static("web", l.Addr().(*net.TCPAddr).AddrPort())
	cfg.TLS, cfg.ConnectTimeout = &model.UpstreamTLS{}, 30*time.Millisecond
	h.Apply(snapshot(cfg))
	if _, err := h.get(h.Get("web")); !isKind(err, upstream.KindConnectTimeout) {
		t.Errorf("error %v, want a connect timeout", err)
	}
	h.want("counter", h.counter, map[string]uint64{
		"cluster.web.upstream_cx_connect_fail": 1, "cluster.web.upstream_cx_connect_timeout": 1,
		"cluster.web.upstream_cx_destroy_local": 1,
	})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	host, _ := h.Get("web").Pick(&upstream.PickContext{})
	if _, err := h.Get("web").Connect(ctx, host, message.HTTP11, nil); !isKind(err, upstream.KindAborted) {
		t.Errorf("error %v, want an abort", err)
	}
}

func TestMaxConnections(t *testing.T) {
	release := make(chan struct{})
	free := sync.OnceFunc(func() { close(release) })
	b := plainBackend(t, func(w http.ResponseWriter, _ *http.Request) {
		<-release
		_, _ = w.Write([]byte("ok"))
	})
	h := newHarness(t)
	cfg := static("web", b.addr)
	cfg.Breakers[0] = model.CircuitBreaker{MaxConnections: 2, MaxPendingRequests: 3, MaxRequests: 100, TrackRemaining: true}
	h.Apply(snapshot(cfg))
	var wg sync.WaitGroup
	errs := make(chan error, 10)
	t.Cleanup(wg.Wait)
	t.Cleanup(free)
	for i := range 5 {
		if i == 2 { // those that connect count as pending too
			await.True(t, "two connections", func() bool {
				return b.conns.Load() == 2 && h.gauge("cluster.web.upstream_rq_pending_active") == 0
			})
		}
		wg.Go(func() {
			_, err := h.get(h.Get("web"))
			errs <- err
		})
	}
	await.True(t, "three requests to wait", func() bool { return h.gauge("cluster.web.upstream_rq_pending_active") == 3 })
	h.want("gauge", h.gauge, map[string]uint64{
		"cluster.web.circuit_breakers.default.cx_open": 1, "cluster.web.circuit_breakers.default.rq_pending_open": 1,
		"cluster.web.circuit_breakers.default.remaining_cx": 0, "cluster.web.circuit_breakers.high.cx_open": 0,
	})
	if _, err := h.get(h.Get("web")); !isKind(err, upstream.KindOverflow) {
		t.Errorf("the sixth request got %v, want an overflow", err)
	}
	h.want("counter", h.counter, map[string]uint64{"cluster.web.upstream_rq_pending_overflow": 1})
	if h.counter("cluster.web.upstream_cx_overflow") < 3 {
		t.Error("upstream_cx_overflow was not counted")
	}
	free()
	wg.Wait()
	for range 5 {
		if err := <-errs; err != nil {
			t.Errorf("a waiting request got %v", err)
		}
	}
	if n := b.conns.Load(); n != 2 {
		t.Errorf("%d connections, want 2", n)
	}
	h.want("gauge", h.gauge, map[string]uint64{"cluster.web.circuit_breakers.default.rq_pending_open": 0})
}

func TestRequestBreakers(t *testing.T) {
	h := newHarness(t)
	cfg := static("web")
	cfg.Breakers[0] = model.CircuitBreaker{MaxRequests: 1, MaxRetries: 1}
	h.Apply(snapshot(cfg))
	c := h.Get("web")
	requests := &c.core.shared.Requests // the pools take their places there
	if !requests[0].Try() {
		t.Fatal("no place for the first request")
	}
	if requests[0].Try() {
		t.Error("a place for a second request")
	}
	if !requests[1].Try() {
		t.Error("the high priority is bounded by the default one's limit")
	}
	h.want("gauge", h.gauge, map[string]uint64{"cluster.web.upstream_rq_active": 0, "cluster.web.circuit_breakers.default.rq_open": 1})
	requests[0].Release()
	requests[1].Release()
	if err := c.TryRetry(false); err != nil {
		t.Fatal(err)
	}
	if err := c.TryRetry(false); !isKind(err, upstream.KindOverflow) {
		t.Errorf("second retry: %v, want overflow", err)
	}
	c.ReleaseRetry(false)
	h.want("gauge", h.gauge, map[string]uint64{
		"cluster.web.upstream_rq_active": 0, "cluster.web.circuit_breakers.default.rq_open": 0,
		"cluster.web.circuit_breakers.default.rq_retry_open": 0,
	})
	h.want("counter", h.counter, map[string]uint64{"cluster.web.upstream_rq_retry_overflow": 1})
}

func TestDropOverload(t *testing.T) {
	h := newHarness(t)
	cfg := static("web")
	h.Apply(snapshot(cfg))
	if _, drop := h.Get("web").DropOverload(); drop {
		t.Error("dropped without a policy")
	}
	next := static("web")
	next.Inline.DropOverloads = []model.DropOverload{{Category: "never", Percent: 0}, {Category: "all", Percent: 100}}
	h.Apply(snapshot(next))
	if category, drop := h.Get("web").DropOverload(); !drop || category != "all" {
		t.Errorf("dropped %v for %q, want all", drop, category)
	}
	h.want("counter", h.counter, map[string]uint64{"cluster.web.upstream_rq_drop_overload": 1})
}
