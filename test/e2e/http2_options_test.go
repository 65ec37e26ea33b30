package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/weir-proxy/weir/test/harness"
)

// startOptions is a weir whose listener has these fields in its connection manager, and the backend that is behind it.
func startOptions(t *testing.T, fields ...string) (*harness.Host, *harness.Weir, *harness.HTTPBackend) {
	t.Helper()
	host := harness.NewHost(t)
	backend := host.HTTPBackend("backend", "127.0.0.1:0", harness.WithHandler("/hang", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	manager := harness.HTTPManager(append(fields, "route_config: "+harness.RouteConfig("local_route", harness.RouteTo("/", "backend")))...)
	weir := host.StartWeir(harness.WeirOptions{Config: harness.Bootstrap{
		Listeners: []string{harness.Listener{Name: "main", Address: "127.0.0.1:8080", Chains: []string{harness.Chain(manager)}}.YAML()},
		Clusters:  []string{harness.Cluster("backend", harness.To(backend.Addr))},
	}.YAML()})
	return host, weir, backend
}

func TestHTTP2Settings(t *testing.T) {
	t.Parallel()
	host, _, _ := startOptions(t, `http2_protocol_options: {max_concurrent_streams: 2, initial_stream_window_size: 70000, `+
		`initial_connection_window_size: 100000, hpack_table_size: 8192, custom_settings_parameters: [{identifier: 61441, value: 5}]}`)
	w := dial2(t, host, "127.0.0.1:8080")
	if err := w.WritePing(false, [8]byte{1}); err != nil {
		t.Fatal(err)
	}
	opened := uint32(0)
	for answered := false; !answered; {
		f, err := w.next()
		if err != nil {
			t.Fatal(err)
		}
		switch f := f.(type) {
		case *http2.WindowUpdateFrame:
			opened += f.Increment
		case *http2.PingFrame:
			answered = f.IsAck()
		}
	}
	for id, want := range map[http2.SettingID]uint32{
		http2.SettingMaxConcurrentStreams: 2, http2.SettingInitialWindowSize: 70000, http2.SettingHeaderTableSize: 8192, 61441: 5,
	} {
		if got := w.settings[id]; got != want {
			t.Errorf("%v is %d, want %d", id, got, want)
		}
	}
	if opened != 100000-65535 {
		t.Errorf("the window of the connection was opened by %d", opened)
	}
	// One stream too many.
	for n := range 3 {
		if err := w.get(stream(n), "/hang"); err != nil {
			t.Fatal(err)
		}
	}
	if r := w.mustReply(t, 5); r.reset == nil || *r.reset != http2.ErrCodeRefusedStream {
		t.Errorf("the third stream: %+v", r)
	}
}

// A peer that answers no PING loses its connection, one that does keeps it.
func TestHTTP2Keepalive(t *testing.T) {
	t.Parallel()
	host, weir, _ := startOptions(t, `http2_protocol_options: {connection_keepalive: {interval: 0.1s, timeout: 2s, interval_jitter: {value: 0}}}`)
	quiet, lively := dial2(t, host, "127.0.0.1:8080"), dial2(t, host, "127.0.0.1:8080")
	quiet.quiet = true
	for pings := 0; pings < 5; {
		f, err := lively.next()
		if err != nil {
			t.Fatalf("the lively connection: %v", err)
		}
		if p, ok := f.(*http2.PingFrame); ok && !p.IsAck() {
			pings++
		}
	}
	quiet.ended(t)
	if err := lively.get(1, "/"); err != nil {
		t.Fatal(err)
	}
	if r := lively.mustReply(t, 1); r.status() != "200" {
		t.Errorf("the lively connection got %+v", r)
	}
	weir.AwaitStat("http2.keepalive_timeout", func(n int) bool { return n == 1 })
}

// Limits on floods are as configured, 0 included.
func TestHTTP2FloodOptions(t *testing.T) {
	t.Parallel()
	host, weir, _ := startOptions(t, `http2_protocol_options: {max_consecutive_inbound_frames_with_empty_payload: 0, max_inbound_priority_frames_per_stream: 0}`)
	for stat, step := range map[string]func(w *wire2) error{
		"http2.inbound_empty_frames_flood": func(w *wire2) error {
			if err := w.headers(1, false, ":method", "POST", ":scheme", "http", ":authority", "x", ":path", "/hang"); err != nil {
				return err
			}
			return w.WriteData(1, false, nil)
		},
		"http2.inbound_priority_frames_flood": func(w *wire2) error { return w.WritePriority(1, http2.PriorityParam{}) },
	} {
		w := dial2(t, host, "127.0.0.1:8080")
		if err := step(w); err != nil {
			t.Fatal(err)
		}
		if code := w.ended(t); code == nil || *code != http2.ErrCodeEnhanceYourCalm {
			t.Errorf("%s: the connection ended with %v", stat, code)
		}
		weir.AwaitStat(stat, func(n int) bool { return n == 1 })
	}
}

// A malformed request ends the connection, or its stream alone where that is asked for.
func TestHTTP2InvalidMessages(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		fields string
		spares bool
	}{
		"default":     {`server_name: envoy`, false},
		"override":    {`http2_protocol_options: {override_stream_error_on_invalid_http_message: true}`, true},
		"deprecated":  {`http2_protocol_options: {stream_error_on_invalid_http_messaging: true}`, true},
		"manager":     {`stream_error_on_invalid_http_message: true`, true},
		"manager off": {`stream_error_on_invalid_http_message: true, http2_protocol_options: {override_stream_error_on_invalid_http_message: false}`, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			host, weir, backend := startOptions(t, tc.fields)
			w := dial2(t, host, "127.0.0.1:8080")
			if err := w.get(1, "/", "X-Upper-Case", "is not HTTP/2"); err != nil {
				t.Fatal(err)
			}
			if !tc.spares {
				w.ended(t)
			} else {
				if r := w.mustReply(t, 1); r.reset == nil {
					t.Errorf("the malformed request got %+v", r)
				}
				if err := w.get(3, "/"); err != nil {
					t.Fatal(err)
				}
				if r := w.mustReply(t, 3); r.status() != "200" {
					t.Errorf("the next request got %+v", r)
				}
			}
			weir.AwaitStat("http2.rx_messaging_error", func(n int) bool { return n == 1 })
			want := 0
			if tc.spares {
				want = 1
			}
			if n := backend.Count(); n != want {
				t.Errorf("the backend got %d requests", n)
			}
		})
	}
}

// Limits of the connection manager hold for HTTP/2 too.
func TestHTTP2RequestLimits(t *testing.T) {
	t.Parallel()
	many := []string{}
	for n := range 20 {
		many = append(many, fmt.Sprint("x-", n), "v")
	}
	for name, tc := range map[string]struct {
		fields  string
		headers []string
		status  string // "" for a reset
		stat    string
	}{
		"count":  {`common_http_protocol_options: {max_headers_count: 10}`, many, "431", "http2.header_overflow"},
		"size":   {`max_request_headers_kb: 1`, []string{"x-long", strings.Repeat("l", 2000)}, "431", "http2.header_overflow"},
		"reject": {`common_http_protocol_options: {headers_with_underscores_action: REJECT_REQUEST}`, []string{"x_y", "z"}, "", "http2.requests_rejected_with_underscores_in_headers"},
		"drop":   {`common_http_protocol_options: {headers_with_underscores_action: DROP_HEADER}`, []string{"x_y", "z"}, "200", "http2.dropped_headers_with_underscores"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			host, weir, backend := startOptions(t, tc.fields)
			w := dial2(t, host, "127.0.0.1:8080")
			if err := w.get(1, "/", tc.headers...); err != nil {
				t.Fatal(err)
			}
			r, err := w.reply(1)
			if r.status() != tc.status && (r.head != nil || r.reset == nil && err == nil) {
				t.Errorf("got %+v, %v", r, err)
			}
			weir.AwaitStat(tc.stat, func(n int) bool { return n == 1 })
			if tc.status != "200" {
				if n := backend.Count(); n != 0 {
					t.Errorf("the backend got %d requests", n)
				}
			} else if v := backend.Last(t).Header.Get("x_y"); v != "" {
				t.Errorf("the backend got the header: %q", v)
			}
		})
	}
}

// Connections end in order: after so many requests, after so long, after so much idleness.
func TestHTTP2GoAway(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ field, stat string }{
		"requests": {"max_requests_per_connection: 1", "downstream_cx_max_requests_reached"},
		"idle":     {"idle_timeout: 1s", "downstream_cx_idle_timeout"},
		"age":      {"max_connection_duration: 1s", "downstream_cx_max_duration_reached"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			host, weir, _ := startOptions(t, "common_http_protocol_options: {"+tc.field+"}", "drain_timeout: 1s")
			w := dial2(t, host, "127.0.0.1:8080")
			if err := w.get(1, "/"); err != nil {
				t.Fatal(err)
			}
			if r := w.mustReply(t, 1); r.status() != "200" {
				t.Errorf("got %+v", r)
			}
			if code := w.ended(t); code == nil || *code != http2.ErrCodeNo {
				t.Errorf("the connection ended with %v, want NO_ERROR", code)
			}
			weir.AwaitStat("http.ingress."+tc.stat, func(n int) bool { return n == 1 })
			weir.AwaitStat("http2.goaway_sent", func(n int) bool { return n >= 1 })
		})
	}
}

// max_stream_duration of the connection manager ends streams of HTTP/2.
func TestHTTP2StreamDuration(t *testing.T) {
	t.Parallel()
	host, weir, _ := startOptions(t, "common_http_protocol_options: {max_stream_duration: 0.2s}")
	w := dial2(t, host, "127.0.0.1:8080")
	start := time.Now()
	if err := w.get(1, "/hang"); err != nil {
		t.Fatal(err)
	}
	if r := w.mustReply(t, 1); r.status() != "504" || string(r.body) != "downstream duration timeout" {
		t.Errorf("got %+v", r)
	}
	if took := time.Since(start); took < 200*time.Millisecond || took > harness.Patience {
		t.Errorf("it took %v", took)
	}
	weir.AwaitStat("http.ingress.downstream_rq_max_duration_reached", func(n int) bool { return n == 1 })
}
