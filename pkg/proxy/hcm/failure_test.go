package hcm_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/test/await"
)

func TestRetries(t *testing.T) {
	policy := func(on model.RetryOn, n uint32) *model.RetryPolicy {
		return &model.RetryPolicy{On: on, NumRetries: n, BaseInterval: time.Millisecond, RetriableStatusCodes: []uint32{418}}
	}
	for _, tc := range []struct {
		name     string
		policy   *model.RetryPolicy
		headers  []string
		answers  []int // status by attempt; 0 resets the connection
		status   int
		attempts int32
		log      string
	}{
		{name: "5xx", policy: policy(model.Retry5xx, 2), answers: []int{503, 500, 200}, status: 200, attempts: 3, log: "POST / 200 - via_upstream 4 "},
		{name: "exhausted", policy: policy(model.Retry5xx, 1), answers: []int{503, 502, 200}, status: 502, attempts: 2, log: "POST / 502 URX via_upstream"},
		{name: "reset", policy: policy(model.RetryReset, 1), answers: []int{0, 200}, status: 200, attempts: 2},
		{
			name: "reset exhausted", policy: policy(model.RetryReset, 1), answers: []int{0, 0}, status: 503, attempts: 2,
			log: "POST / 503 UC,URX upstream_reset_before_response_started{connection_termination}",
		},
		{name: "reset without policy", answers: []int{0}, status: 503, attempts: 1, log: "POST / 503 UC upstream_reset"},
		{name: "gateway error only", policy: policy(model.RetryGatewayError, 3), answers: []int{502, 500}, status: 500, attempts: 2},
		{name: "status code list", policy: policy(model.RetryRetriableStatusCodes, 3), answers: []int{418, 200}, status: 200, attempts: 2},
		{name: "external client asks", headers: []string{"x-envoy-retry-on: 5xx"}, answers: []int{503}, status: 503, attempts: 1},
		{
			name: "internal client asks", headers: []string{"x-forwarded-for: 10.0.0.1", "x-envoy-retry-on: 5xx", "x-envoy-max-retries: 3"},
			answers: []int{503, 503, 503, 200}, status: 200, attempts: 4,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var attempts atomic.Int32
			addr := backend(t, func(w http.ResponseWriter, r *http.Request) {
				n := attempts.Add(1)
				body, _ := io.ReadAll(r.Body)
				if string(body) != "body" {
					t.Errorf("attempt %d got body %q", n, body)
				}
				status := tc.answers[n-1]
				if status == 0 {
					panic(http.ErrAbortHandler)
				}
				w.WriteHeader(status)
			})
			r := prefix("/", &model.RouteAction{Cluster: "web", Timeout: requestTimeout, Retry: tc.policy})
			p := start(t, routeConfig(r), options{clusters: map[string]*model.Cluster{"web": static("web", addr)}})
			head := strings.Join(append([]string{"POST / HTTP/1.1", "Host: a", "Content-Length: 4"}, tc.headers...), "\r\n")
			resp, _ := p.do(head + "\r\n\r\nbody")
			if resp.StatusCode != tc.status || attempts.Load() != tc.attempts {
				t.Errorf("status %d after %d attempts, want %d after %d", resp.StatusCode, attempts.Load(), tc.status, tc.attempts)
			}
			if tc.log != "" {
				p.logged(tc.log)
			}
			p.eventually("all places are given back", func() bool {
				return p.counter("cluster.web.upstream_rq_active") == 0 && p.counter("cluster.web.circuit_breakers.default.rq_retry_open") == 0
			})
			if got := p.counter("cluster.web.upstream_rq_retry"); got != uint64(tc.attempts-1) {
				t.Errorf("upstream_rq_retry = %d", got)
			}
		})
	}
}

func TestTimeouts(t *testing.T) {
	hang := func(t *testing.T) string {
		return raw(t, func(c net.Conn, _ int) { _, _ = io.Copy(io.Discard, c) })
	}
	for _, tc := range []struct {
		name    string
		action  model.RouteAction
		cfg     func(*model.HTTPConnectionManager)
		request string
		status  int
		body    string
		log     string
		stat    string
	}{
		{
			name: "route", action: model.RouteAction{Timeout: 50 * time.Millisecond}, request: get("/"), status: 504,
			body: "upstream request timeout", log: "GET / 504 UT upstream_response_timeout", stat: "cluster.web.upstream_rq_timeout",
		},
		{
			name: "per try", action: model.RouteAction{Timeout: requestTimeout, Retry: &model.RetryPolicy{
				On: model.Retry5xx, NumRetries: 1, PerTryTimeout: 30 * time.Millisecond, BaseInterval: time.Millisecond,
			}}, request: get("/"),
			status: 504, log: "GET / 504 UT,URX upstream_per_try_timeout", stat: "cluster.web.upstream_rq_per_try_timeout",
		},
		{
			name: "per try idle", action: model.RouteAction{Timeout: requestTimeout, Retry: &model.RetryPolicy{
				On: model.Retry5xx, NumRetries: 1, PerTryIdleTimeout: 30 * time.Millisecond, BaseInterval: time.Millisecond,
			}}, request: get("/"),
			status: 504, log: "GET / 504 UT,URX upstream_per_try_idle_timeout", stat: "cluster.web.upstream_rq_per_try_idle_timeout",
		},
		{
			name: "stream idle", cfg: func(c *model.HTTPConnectionManager) { c.StreamIdleTimeout = 60 * time.Millisecond }, request: get("/"),
			status: 504, body: "stream timeout", log: "GET / 504 SI stream_idle_timeout", stat: "http.test.downstream_rq_idle_timeout",
		},
		{
			name: "request", cfg: func(c *model.HTTPConnectionManager) { c.RequestTimeout = 60 * time.Millisecond },
			request: "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\npart", status: 408, body: "request timeout",
			log: "POST / 408 - request_overall_timeout", stat: "http.test.downstream_rq_timeout",
		},
		{
			name: "stream duration", cfg: func(c *model.HTTPConnectionManager) { c.MaxStreamDuration = 60 * time.Millisecond }, request: get("/"),
			status: 504, log: "GET / 504 DT max_duration_timeout", stat: "http.test.downstream_rq_max_duration_reached",
		},
		{
			name: "stream duration of the route", action: model.RouteAction{MaxStreamDuration: 60 * time.Millisecond, HasMaxStreamDuration: true},
			cfg: func(c *model.HTTPConnectionManager) { c.MaxStreamDuration = time.Hour }, request: get("/"),
			status: 504, log: "GET / 504 DT max_duration_timeout", stat: "http.test.downstream_rq_max_duration_reached",
		},
		{
			name: "grpc-timeout of the stream", action: model.RouteAction{
				Timeout: time.Millisecond, StreamTimeouts: true, GRPCTimeoutMax: time.Hour,
				GRPCTimeoutOffset: 40 * time.Millisecond,
			}, request: get("/", "grpc-timeout: 100m"), status: 504,
			log: "GET / 504 DT max_duration_timeout", stat: "http.test.downstream_rq_max_duration_reached",
		},
		{
			name: "bounded grpc-timeout of the stream", action: model.RouteAction{StreamTimeouts: true, GRPCTimeoutMax: 60 * time.Millisecond},
			request: get("/", "grpc-timeout: 1H"), status: 504, log: "GET / 504 DT max_duration_timeout",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a := tc.action
			a.Cluster = "web"
			p := start(t, routeConfig(prefix("/", &a)), options{cfg: tc.cfg, clusters: map[string]*model.Cluster{"web": static("web", hang(t))}})
			resp, body := p.do(tc.request)
			if resp.StatusCode != tc.status || tc.body != "" && body != tc.body {
				t.Errorf("got %d %q", resp.StatusCode, body)
			}
			p.logged(tc.log)
			if tc.stat != "" && p.counter(tc.stat) == 0 {
				t.Errorf("%s was not counted", tc.stat)
			}
			p.eventually("the exchange ends", func() bool { return p.counter("cluster.web.upstream_rq_active") == 0 })
		})
	}
}

func TestDownstreamGoesAway(t *testing.T) {
	gone := make(chan struct{})
	addr := raw(t, func(c net.Conn, _ int) {
		_, _ = io.Copy(io.Discard, c)
		close(gone)
	})
	p := start(t, routeConfig(prefix("/", &model.RouteAction{Cluster: "web"})), options{clusters: map[string]*model.Cluster{"web": static("web", addr)}})
	c := p.dial()
	c.send(get("/"))
	p.eventually("request is under way", func() bool { return p.counter("cluster.web.upstream_rq_active") == 1 })
	_ = c.Close()
	select {
	case <-gone:
	case <-time.After(await.Patience):
		t.Fatal("the upstream connection was not closed")
	}
	p.logged("GET / 0 DC downstream_remote_disconnect")
}

func TestResponseBreaksOff(t *testing.T) {
	addr := raw(t, func(c net.Conn, _ int) {
		if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart")
		}
	})
	p := start(t, routeConfig(prefix("/", &model.RouteAction{Cluster: "web"})), options{clusters: map[string]*model.Cluster{"web": static("web", addr)}})
	c := p.dial()
	c.send(get("/"))
	resp, err := http.ReadResponse(c.br, nil)
	if err != nil {
		t.Fatal(err)
	}
	if body, err := io.ReadAll(resp.Body); err == nil {
		t.Errorf("the client took %q for a whole response", body)
	}
	p.logged("GET / 200 UC upstream_reset_after_response_started{connection_termination}")
}

// TestSilentResponse: the head has come, but the rest does not.
func TestSilentResponse(t *testing.T) {
	addr := raw(t, func(c net.Conn, _ int) {
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart")
		_, _ = io.Copy(io.Discard, c)
	})
	p := start(t, routeConfig(prefix("/", &model.RouteAction{Cluster: "web", Retry: &model.RetryPolicy{PerTryIdleTimeout: 30 * time.Millisecond}})),
		options{clusters: map[string]*model.Cluster{"web": static("web", addr)}})
	c := p.dial()
	c.send(get("/"))
	resp, err := http.ReadResponse(c.br, nil)
	if err != nil {
		t.Fatal(err)
	}
	if body, err := io.ReadAll(resp.Body); err == nil {
		t.Errorf("the client took %q for a whole response", body)
	}
	p.logged("GET / 200 UT upstream_per_try_idle_timeout")
}

// TestPerTryTimeoutWaitsForRequest: the time that the client takes to send its request does not count.
func TestPerTryTimeoutWaitsForRequest(t *testing.T) {
	p := start(t, routeConfig(prefix("/", &model.RouteAction{Cluster: "web", Retry: &model.RetryPolicy{PerTryTimeout: 500 * time.Millisecond}})),
		options{clusters: map[string]*model.Cluster{"web": static("web", backend(t, echo))}})
	c := p.dial()
	c.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbo")
	time.Sleep(700 * time.Millisecond) // what is tested is that nothing happens meanwhile
	c.send("dy")
	if resp, body := c.read("POST"); resp.StatusCode != 200 || body != "echo:body" {
		t.Errorf("got %d %q", resp.StatusCode, body)
	}
}

func TestDropOverload(t *testing.T) {
	web := static("web", "127.0.0.1:1")
	web.Inline.DropOverloads = []model.DropOverload{{Category: "all", Percent: 100}}
	p := start(t, routeConfig(prefix("/", &model.RouteAction{Cluster: "web"})), options{clusters: map[string]*model.Cluster{"web": web}})
	resp, body := p.do(get("/"))
	if resp.StatusCode != 503 || body != "drop overload" || resp.Header.Get("x-envoy-drop-overload") != "true" {
		t.Errorf("got %d %q %v", resp.StatusCode, body, resp.Header)
	}
	p.logged("GET / 503 DO drop_overload 0 13 web")
	for _, name := range []string{"upstream_rq_drop_overload", "upstream_rq_503", "upstream_rq_completed"} {
		if p.counter("cluster.web."+name) != 1 {
			t.Errorf("%s was not counted", name)
		}
	}
}

// TestEarlyResponse: the upstream answers before the client has sent its request.
func TestEarlyResponse(t *testing.T) {
	addr := raw(t, func(c net.Conn, _ int) {
		if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
			_, _ = io.WriteString(c, "HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno")
		}
		_, _ = io.Copy(io.Discard, c)
	})
	p := start(t, routeConfig(prefix("/", &model.RouteAction{Cluster: "web"})), options{clusters: map[string]*model.Cluster{"web": static("web", addr)}})
	c := p.dial()
	c.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\npart")
	resp, body := c.read("POST")
	if resp.StatusCode != 413 || body != "no" {
		t.Errorf("got %d %q", resp.StatusCode, body)
	}
	_ = c.Close()
	p.eventually("the exchange ends", func() bool {
		return p.counter("cluster.web.upstream_rq_active") == 0 && p.counter("http.test.downstream_cx_active") == 0
	})
}

func TestOverflow(t *testing.T) {
	addr := raw(t, func(c net.Conn, _ int) { _, _ = io.Copy(io.Discard, c) })
	web := static("web", addr)
	web.Breakers[0].MaxRequests = 1
	p := start(t, routeConfig(prefix("/", &model.RouteAction{Cluster: "web"})), options{clusters: map[string]*model.Cluster{"web": web}})
	first := p.dial()
	first.send(get("/"))
	p.eventually("request is under way", func() bool { return p.counter("cluster.web.upstream_rq_active") == 1 })
	resp, body := p.do(get("/second"))
	if resp.StatusCode != 503 || resp.Header.Get("x-envoy-overloaded") != "true" ||
		body != "upstream connect error or disconnect/reset before headers. reset reason: overflow" {
		t.Errorf("got %d %q %v", resp.StatusCode, body, resp.Header)
	}
	p.logged("GET /second 503 UO upstream_reset_before_response_started{overflow}")
}
