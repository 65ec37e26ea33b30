package cluster

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
	"github.com/weir-proxy/weir/pkg/proxy/upstream"
	"github.com/weir-proxy/weir/test/await"
)

// tlsBackend answers with protocol and server name.
func tlsBackend(t *testing.T, http2 bool) *backend {
	b := newBackend(t, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s %s", r.Proto, r.TLS.ServerName)
	})
	b.EnableHTTP2 = http2
	b.StartTLS()
	return b
}

func upstreamTLS(b *backend, hash uint64) *model.UpstreamTLS {
	roots := x509.NewCertPool()
	roots.AddCert(b.Certificate())
	return &model.UpstreamTLS{
		TLSParams: model.TLSParams{
			MaxVersion: tls.VersionTLS13, Validation: &model.ValidationRef{Inline: &model.Validation{Roots: roots}},
		},
		SNI: "configured.example", Hash: hash,
	}
}

func TestProtocols(t *testing.T) {
	tests := []struct {
		name     string
		http2    bool // what the server can do
		protocol model.UpstreamProtocol
		version  message.Version
		autoSNI  bool
		want     string
		conns    int64
	}{
		{"explicit HTTP/1", true, model.UpstreamHTTP1, message.HTTP2, false, "HTTP/1.1 configured.example", 4},
		{"explicit HTTP/2", true, model.UpstreamHTTP2, message.HTTP11, false, "HTTP/2.0 configured.example", 1},
		{"auto finds HTTP/2", true, model.UpstreamAuto, message.HTTP11, false, "HTTP/2.0 configured.example", 0},
		{"auto falls back", false, model.UpstreamAuto, message.HTTP2, false, "HTTP/1.1 configured.example", 4},
		{"downstream HTTP/1", true, model.UpstreamDownstream, message.HTTP11, false, "HTTP/1.1 configured.example", 4},
		{"downstream HTTP/2", true, model.UpstreamDownstream, message.HTTP2, false, "HTTP/2.0 configured.example", 1},
		{"auto SNI", true, model.UpstreamHTTP2, message.HTTP11, true, "HTTP/2.0 asked.example", 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := tlsBackend(t, tt.http2)
			h := newHarness(t)
			cfg := static("web", b.addr)
			cfg.TLS, cfg.HTTP.Protocol = upstreamTLS(b, 1), tt.protocol
			cfg.TLS.AutoSNI = tt.autoSNI
			h.Apply(snapshot(cfg))
			c := h.Get("web")
			host := c.Hosts()[0]
			var wg sync.WaitGroup
			for range 4 { // all at once: HTTP/2 shares one connection
				wg.Go(func() {
					s, err := c.Connect(t.Context(), host, tt.version, &StreamOptions{SNI: "asked.example"})
					if err != nil {
						t.Error(err)
						return
					}
					if s.Conn().TLS == nil {
						t.Error("no TLS state")
					}
					if got, err := exchange(s); err != nil || got != tt.want {
						t.Errorf("answer %q, %v; want %q", got, err, tt.want)
					}
				})
			}
			wg.Wait()
			if n := b.conns.Load(); tt.conns == 1 && n != 1 || n > 4 {
				t.Errorf("%d connections", n)
			}
			s := c.Reuse(host, tt.version, &StreamOptions{SNI: "asked.example"})
			if s == nil {
				t.Fatal("no connection to reuse")
			}
			if got, err := exchange(s); err != nil || got != tt.want {
				t.Errorf("reused: answer %q, %v; want %q", got, err, tt.want)
			}
			if n := host.Stats.RqActive.Load(); n != 0 {
				t.Errorf("%d requests are still active", n)
			}
		})
	}
}

func TestTLSFailure(t *testing.T) {
	b := tlsBackend(t, false)
	h := newHarness(t)
	cfg := static("web", b.addr)
	cfg.TLS = upstreamTLS(b, 1)
	cfg.TLS.Validation.Inline.Roots = x509.NewCertPool()
	h.Apply(snapshot(cfg))
	_, err := h.get(h.Get("web"))
	if !isKind(err, upstream.KindConnect) || !strings.HasPrefix(err.(*upstream.Error).Transport, "TLS_error:") {
		t.Errorf("error %#v, want a TLS error", err)
	}
	h.want("counter", h.counter, map[string]uint64{"cluster.web.ssl.fail_verify_error": 1, "cluster.web.upstream_cx_connect_fail": 1})
}

func TestTransportSocketMatches(t *testing.T) {
	secure, plain := tlsBackend(t, false), plainBackend(t, nil)
	h := newHarness(t)
	cfg := static("web", secure.addr, plain.addr)
	cfg.Inline.Localities[0].Endpoints[0].Metadata = map[string]map[string]any{matchMetadata: {"tls": "yes", "more": 1.0}}
	cfg.TransportSocketMatches = []model.TransportSocketMatch{{Name: "tls", Match: map[string]any{"tls": "yes"}, TLS: upstreamTLS(secure, 1)}}
	h.Apply(snapshot(cfg))
	got := map[string]bool{h.mustGet("web"): true, h.mustGet("web"): true}
	if !got["HTTP/1.1 configured.example"] || !got[plain.addr.String()] {
		t.Errorf("answers %v", got)
	}
	h.want("counter", h.counter, map[string]uint64{"cluster.web.tls.total_match_count": 1, "cluster.web.default.total_match_count": 1})
}

func TestMaxRequests(t *testing.T) {
	for _, protocol := range []model.UpstreamProtocol{model.UpstreamHTTP1, model.UpstreamHTTP2} {
		b := tlsBackend(t, protocol == model.UpstreamHTTP2)
		h := newHarness(t)
		cfg := static("web", b.addr)
		cfg.TLS, cfg.HTTP.Protocol, cfg.MaxRequestsPerConnection = upstreamTLS(b, 1), protocol, 2
		h.Apply(snapshot(cfg))
		for range 6 {
			h.mustGet("web")
		}
		if n := b.conns.Load(); n != 3 {
			t.Errorf("protocol %d: %d connections for six requests, want 3", protocol, n)
		}
		if n := h.counter("cluster.web.upstream_cx_max_requests"); n != 3 {
			t.Errorf("protocol %d: upstream_cx_max_requests is %d, want 3", protocol, n)
		}
	}
}

func TestIdleConnectionsEnd(t *testing.T) {
	tests := []struct {
		name   string
		change func(*model.Cluster)
		stat   string
	}{
		{"idle timeout", func(c *model.Cluster) { c.IdleTimeout = 20 * time.Millisecond }, "upstream_cx_idle_timeout"},
		{"max duration", func(c *model.Cluster) { c.MaxConnectionDuration = 20 * time.Millisecond }, "upstream_cx_max_duration_reached"},
	}
	for _, tt := range tests {
		for _, http2 := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, HTTP/2 %v", tt.name, http2), func(t *testing.T) {
				b := tlsBackend(t, http2)
				h := newHarness(t)
				cfg := static("web", b.addr)
				cfg.TLS = upstreamTLS(b, 1)
				if http2 {
					cfg.HTTP.Protocol = model.UpstreamHTTP2
				}
				tt.change(cfg)
				h.Apply(snapshot(cfg))
				h.mustGet("web")
				await.True(t, "the connection to close", func() bool { return h.counter("cluster.web."+tt.stat) == 1 })
				await.True(t, "it to be counted out", func() bool { return h.gauge("cluster.web.upstream_cx_active") == 0 })
				await.True(t, "the server to see it", func() bool { return b.open.Load() == 0 })
				h.want("counter", h.counter, map[string]uint64{"cluster.web.upstream_cx_destroy_local": 1})
				if h.counter("cluster.web.upstream_cx_rx_bytes_total") == 0 || h.counter("cluster.web.upstream_cx_tx_bytes_total") == 0 {
					t.Error("bytes were not counted")
				}
			})
		}
	}
}

func TestClosedByPeerIsNoticed(t *testing.T) {
	for _, http2 := range []bool{false, true} {
		b := tlsBackend(t, http2)
		h := newHarness(t)
		cfg := static("web", b.addr)
		cfg.TLS = upstreamTLS(b, 1)
		if http2 {
			cfg.HTTP.Protocol = model.UpstreamHTTP2
		}
		later := tlsBackend(t, http2)
		cfgLater := static("later", later.addr)
		cfgLater.TLS = upstreamTLS(later, 1)
		h.Apply(snapshot(cfg, cfgLater))
		h.mustGet("web")
		b.CloseClientConnections()
		await.True(t, "the server to close", func() bool { return b.open.Load() == 0 })
		h.mustGet("later") // once its events have come, those of the close have
		if http2 {         // which reads all the time, and so learns of it by itself
			await.True(t, "the codec to see it", func() bool { return h.gauge("cluster.web.upstream_cx_active") == 0 })
		}
		for range 3 {
			h.mustGet("web")
		}
		await.True(t, "the close to be counted", func() bool { return h.counter("cluster.web.upstream_cx_destroy_remote") == 1 })
	}
}

func TestDialForTCP(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				_, _ = io.Copy(c, c)
				_ = c.Close()
			})
		}
	})
	t.Cleanup(wg.Wait)
	t.Cleanup(func() { _ = l.Close() })
	h := newHarness(t)
	cfg := static("echo", l.Addr().(*net.TCPAddr).AddrPort())
	cfg.Breakers[0] = model.CircuitBreaker{MaxConnections: 1, MaxRequests: 10}
	h.Apply(snapshot(cfg))
	c := h.Get("echo")
	lease, err := c.Dial(t.Context(), &upstream.PickContext{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Dial(t.Context(), &upstream.PickContext{}); !isKind(err, upstream.KindOverflow) {
		t.Errorf("second connection: %v, want an overflow", err)
	}
	buf := make([]byte, 4)
	if _, err := lease.Conn.Write([]byte("ping")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(lease.Conn, buf); err != nil || string(buf) != "ping" {
		t.Errorf("echo %q, %v", buf, err)
	}
	if lease.Info.ID == 0 || !lease.Info.Local.IsValid() || lease.Info.Remote != lease.Host.Address {
		t.Errorf("info %+v", lease.Info)
	}
	h.want("gauge", h.gauge, map[string]uint64{"cluster.echo.upstream_cx_active": 1, "cluster.echo.upstream_rq_active": 1})
	lease.Close()
	lease.Close()
	h.want("gauge", h.gauge, map[string]uint64{"cluster.echo.upstream_cx_active": 0, "cluster.echo.upstream_rq_active": 0})
	h.want("counter", h.counter, map[string]uint64{
		"cluster.echo.upstream_cx_rx_bytes_total": 4, "cluster.echo.upstream_cx_tx_bytes_total": 4,
		"cluster.echo.upstream_cx_total": 1, "cluster.echo.upstream_cx_overflow": 1, "cluster.echo.upstream_cx_http1_total": 0,
	})
}

// TestFlappingEndpoints changes endpoints and configuration under load: no request may fail.
func TestFlappingEndpoints(t *testing.T) {
	const workers, rounds = 6, 150
	var addrs []netip.AddrPort
	for range 4 {
		addrs = append(addrs, plainBackend(t, nil).addr)
	}
	h := newHarness(t)
	cfg := eds("web")
	cfg.Breakers[0] = model.CircuitBreaker{MaxConnections: 3, MaxPendingRequests: 1000, MaxRequests: 1000}
	apply := func(i int) {
		c := *cfg
		if i%3 == 0 { // another cluster object every third time, with other transport options now and then
			c.ConnectTimeout += time.Duration(i)
			c.HTTP.HTTP1.EnableTrailers = i%2 == 0
			cfg = &c
		}
		s := snapshot(cfg)
		s.Endpoints = s.Endpoints.With("web", endpoints(addrs[i%3:i%3+1+i%2]...))
		h.Apply(s)
	}
	apply(0)
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	var served atomic.Int64
	for range workers {
		wg.Go(func() {
			for ctx.Err() == nil {
				if _, err := h.get(h.Get("web")); err != nil {
					t.Errorf("request failed: %v", err)
					return
				}
				served.Add(1)
			}
		})
	}
	for i := 1; i < rounds; i++ {
		before := served.Load()
		apply(i)
		await.True(t, "requests to go on", func() bool { return served.Load() > before || t.Failed() })
	}
	stop()
	wg.Wait()
	h.Apply(snapshot())
	c := h.Get("web")
	if c != nil {
		t.Error("the cluster is still there")
	}
}
