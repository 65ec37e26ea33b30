package e2e

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/weir-proxy/weir/test/harness"
)

// host2 is an HTTP/2 server by hand, which notes what a client says and answers each request with head and body.
type host2 struct {
	*harness.TCPBackend
	// deaf servers answer neither PING nor requests.
	deaf bool
	head []string
	body string
	// answer replaces what is said to a request.
	answer func(w *wire2, stream uint32, fields map[string]string) error

	mu       sync.Mutex
	settings map[http2.SettingID]uint32
	pings    int
	seen     []map[string]string
	resets   []http2.ErrCode
}

func startHost2(host *harness.Host, h *host2) *host2 {
	h.settings = map[http2.SettingID]uint32{}
	h.TCPBackend = host.TCPBackend("127.0.0.1:0", h.serve)
	return h
}

func (h *host2) serve(conn *net.TCPConn) {
	w := newWire2(conn)
	w.quiet = h.deaf
	if _, err := io.ReadFull(conn, make([]byte, len(http2.ClientPreface))); err != nil {
		return
	}
	if w.WriteSettings() != nil {
		return
	}
	for {
		f, err := w.next()
		if err != nil || h.take(w, f) != nil {
			return
		}
	}
}

func (h *host2) take(w *wire2, f http2.Frame) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch f := f.(type) {
	case *http2.SettingsFrame:
		for id, v := range w.settings {
			h.settings[id] = v
		}
	case *http2.PingFrame:
		h.pings++
	case *http2.RSTStreamFrame:
		h.resets = append(h.resets, f.ErrCode)
	case *http2.HeadersFrame:
		fields, err := w.decode(f)
		if err != nil {
			return err
		}
		h.seen = append(h.seen, fields)
		if h.deaf {
			return nil
		}
		if h.answer != nil {
			return h.answer(w, f.StreamID, fields)
		}
		if err := w.headers(f.StreamID, h.body == "", append([]string{":status", "200"}, h.head...)...); err != nil {
			return err
		}
		if h.body != "" {
			return w.WriteData(f.StreamID, true, []byte(h.body))
		}
	}
	return nil
}

// said is what a client has said in SETTINGS, and how many PINGs it sent.
func (h *host2) said(id http2.SettingID) (value uint32, pings int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.settings[id], h.pings
}

// requests are those that came so far, cut the codes of streams that the client reset.
func (h *host2) requests() []map[string]string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]map[string]string(nil), h.seen...)
}

func (h *host2) cut() []http2.ErrCode {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]http2.ErrCode(nil), h.resets...)
}

// startUpstream is a weir in front of one cluster with these protocol options.
func startUpstream(t *testing.T, host *harness.Host, addr netip.AddrPort, options string, more ...string) *harness.Weir {
	t.Helper()
	return host.StartWeir(harness.WeirOptions{Config: harness.Bootstrap{
		Listeners: []string{harness.Listener{Name: "main", Address: "127.0.0.1:8080", Chains: []string{harness.Chain(harness.HTTP(harness.RouteTo("/", "backend")))}}.YAML()},
		Clusters:  []string{harness.Cluster("backend", harness.To(addr), append(more, harness.UpstreamHTTP(options))...)},
	}.YAML()})
}

// What is configured for a cluster is what its hosts are told.
func TestUpstreamHTTP2Settings(t *testing.T) {
	t.Parallel()
	host := harness.NewHost(t)
	backend := startHost2(host, &host2{body: "ok"})
	weir := startUpstream(t, host, backend.Addr, `explicit_http_config: {http2_protocol_options: {initial_stream_window_size: 70000, hpack_table_size: 8192, `+
		`custom_settings_parameters: [{identifier: 61441, value: 5}], connection_keepalive: {interval: 0.1s, timeout: 5s}}}`)
	wantOK(t, host.App().Curl("http://127.0.0.1:8080/"), "ok")
	for id, want := range map[http2.SettingID]uint32{http2.SettingInitialWindowSize: 70000, http2.SettingHeaderTableSize: 8192, 61441: 5, http2.SettingEnablePush: 0} {
		if got, _ := backend.said(id); got != want {
			t.Errorf("%v is %d, want %d", id, got, want)
		}
	}
	harness.Eventually(t, "PINGs come", func() bool {
		_, pings := backend.said(0)
		return pings > 2
	})
	weir.AwaitStat("cluster.backend.http2.streams_active", func(n int) bool { return n == 0 })
}

// A host that does not answer PINGs loses its connection, with the requests on it.
func TestUpstreamHTTP2Keepalive(t *testing.T) {
	t.Parallel()
	host := harness.NewHost(t)
	backend := startHost2(host, &host2{deaf: true})
	weir := startUpstream(t, host, backend.Addr, `explicit_http_config: {http2_protocol_options: {connection_keepalive: {interval: 0.1s, timeout: 0.2s}}}`)
	got := host.App().Curl("-i", "http://127.0.0.1:8080/")
	wantContains(t, "the answer", got.Out, "HTTP/1.1 503", "reset reason: connection termination")
	weir.AwaitStat("cluster.backend.http2.keepalive_timeout", func(n int) bool { return n == 1 })
	weir.AwaitStat("cluster.backend.upstream_cx_active", func(n int) bool { return n == 0 })
}

// A connection that was idle for some time is tried before it gets a new stream, and not otherwise.
func TestUpstreamHTTP2IdlePing(t *testing.T) {
	t.Parallel()
	for interval, want := range map[string]bool{"0.001s": true, "1000s": false} {
		t.Run(interval, func(t *testing.T) {
			t.Parallel()
			host := harness.NewHost(t)
			backend := startHost2(host, &host2{body: "ok"})
			startUpstream(t, host, backend.Addr, `explicit_http_config: {http2_protocol_options: {connection_keepalive: {timeout: 5s, connection_idle_interval: `+interval+`}}}`)
			for range 3 {
				wantOK(t, host.App().Curl("http://127.0.0.1:8080/"), "ok")
			}
			if _, pings := backend.said(0); pings > 0 != want {
				t.Errorf("%d PINGs came", pings)
			}
			if n := backend.Accepted(); n != 1 {
				t.Errorf("%d connections", n)
			}
		})
	}
}

// A cluster that allows one stream per connection has a connection per request under way.
func TestUpstreamHTTP2ConcurrentStreams(t *testing.T) {
	t.Parallel()
	host := harness.NewHost(t)
	release := make(chan struct{})
	var busy sync.WaitGroup
	busy.Add(3)
	backend := host.HTTPBackend("backend", "127.0.0.1:0", harness.WithHTTP2(), harness.WithHandler("/wait", func(_ http.ResponseWriter, r *http.Request) {
		busy.Done()
		select {
		case <-release:
		case <-r.Context().Done():
		}
	}))
	weir := startUpstream(t, host, backend.Addr, `explicit_http_config: {http2_protocol_options: {max_concurrent_streams: 1}}`)
	var all sync.WaitGroup
	for range 3 {
		all.Go(func() { wantOK(t, host.App().Curl("-w", "%{http_code}", "http://127.0.0.1:8080/wait"), "200") })
	}
	busy.Wait()
	if n := backend.Conns(); n != 3 {
		t.Errorf("%d connections for 3 requests", n)
	}
	close(release)
	all.Wait()
	if n := weir.Stat("cluster.backend.upstream_cx_http2_total"); n != 3 {
		t.Errorf("upstream_cx_http2_total is %d", n)
	}
}

// Limits of a cluster on what its hosts send, and on how long they take.
func TestUpstreamLimits(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		field, path, answer, stat, flags string
	}{
		"count":    {"max_headers_count: 5", "/many", `^HTTP/1.1 50[23]`, "", "(UPE|UR|UC|LR)"},
		"count ok": {"max_headers_count: 50", "/many", `^HTTP/1.1 200`, "", "-"},
		"size":     {"max_response_headers_kb: 1", "/long", `^HTTP/1.1 50[23]`, "", "(UPE|UR|UC|LR)"},
		"size ok":  {"max_response_headers_kb: 8", "/long", `^HTTP/1.1 200`, "", "-"},
		"duration": {
			"max_stream_duration: 0.3s", "/hang", `(?s)^HTTP/1.1 504 .*upstream max stream duration reached$`,
			"cluster.backend.upstream_rq_max_duration_reached", "UMSDR",
		},
		"duration after the head": {"max_stream_duration: 0.3s", "/begin", `^HTTP/1.1 200`, "cluster.backend.upstream_rq_max_duration_reached", "UMSDR"},
	} {
		for version, options := range map[string]string{"HTTP1": "http_protocol_options: {}", "HTTP2": "http2_protocol_options: {}"} {
			t.Run(name+" "+version, func(t *testing.T) {
				t.Parallel()
				host := harness.NewHost(t)
				backend := host.HTTPBackend(
					"backend", "127.0.0.1:0", harness.WithHTTP2(),
					harness.WithHandler("/many", func(w http.ResponseWriter, _ *http.Request) {
						for n := range 20 {
							w.Header().Set(fmt.Sprint("x-", n), "v")
						}
					}),
					harness.WithHandler("/long", func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("x-long", strings.Repeat("l", 4000)) }),
					harness.WithHandler("/hang", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }),
					harness.WithHandler("/begin", func(w http.ResponseWriter, r *http.Request) {
						_ = http.NewResponseController(w).Flush()
						<-r.Context().Done()
					}),
				)
				weir := startUpstream(t, host, backend.Addr, "common_http_protocol_options: {"+tc.field+"}, explicit_http_config: {"+options+"}")
				start := time.Now()
				got := host.App().Curl("-i", "http://127.0.0.1:8080"+tc.path)
				if !regexp.MustCompile(tc.answer).MatchString(got.Out) {
					t.Errorf("got %s", got.Out)
				}
				if took := time.Since(start); took > harness.Patience {
					t.Errorf("it took %v", took)
				}
				line := regexp.MustCompile(`"GET ` + tc.path + ` HTTP/1.1" \d+ ` + tc.flags + ` `)
				harness.EventuallyNil(t, "the access log", func() error {
					if !line.MatchString(weir.Stdout()) {
						return fmt.Errorf("no line like %s in:\n%s", line, weir.Stdout())
					}
					return nil
				})
				if tc.stat != "" {
					weir.AwaitStat(tc.stat, func(n int) bool { return n == 1 })
				}
				weir.AwaitStat("cluster.backend.upstream_rq_active", func(n int) bool { return n == 0 })
			})
		}
	}
}

// The version towards the host follows the client's, or what the host offers.
func TestUpstreamProtocolChoice(t *testing.T) {
	t.Parallel()
	ca := harness.NewCA(t)
	clients := map[string]string{"1": "--http1.1", "2": "--http2-prior-knowledge"}
	proto := harness.WithHandler("/", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.ProtoMajor) })
	t.Run("downstream", func(t *testing.T) {
		t.Parallel()
		host := harness.NewHost(t)
		backend := host.HTTPBackend("backend", "127.0.0.1:0", proto, harness.WithHTTP2())
		startUpstream(t, host, backend.Addr, `use_downstream_protocol_config: {http_protocol_options: {}, http2_protocol_options: {}}`)
		for want, flag := range clients {
			wantOK(t, host.App().Curl(flag, "http://127.0.0.1:8080/"), want)
		}
	})
	t.Run("downstream without HTTP2", func(t *testing.T) {
		t.Parallel()
		host := harness.NewHost(t)
		backend := host.HTTPBackend("backend", "127.0.0.1:0", proto, harness.WithHTTP2())
		startUpstream(t, host, backend.Addr, `use_downstream_protocol_config: {http_protocol_options: {}}`)
		for _, flag := range clients {
			wantOK(t, host.App().Curl(flag, "http://127.0.0.1:8080/"), "1")
		}
	})
	for want, offered := range map[string][]string{"1": {"http/1.1"}, "2": {"h2", "http/1.1"}} {
		t.Run("auto "+want, func(t *testing.T) {
			t.Parallel()
			host := harness.NewHost(t)
			backend := host.HTTPBackend("backend", "127.0.0.1:0", proto, harness.WithTLS(ca.Issue("backend.test").Server(offered...)))
			startUpstream(t, host, backend.Addr, `auto_config: {}`, harness.UpstreamTLS(ca.Trust(), "sni: backend.test"))
			for _, flag := range clients {
				wantOK(t, host.App().Curl(flag, "http://127.0.0.1:8080/"), want)
			}
		})
	}
}
