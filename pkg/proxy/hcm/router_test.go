package hcm_test

import (
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weir-proxy/weir/pkg/config/model"
	httprouter "github.com/weir-proxy/weir/pkg/proxy/filter/http/router"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
)

// internal makes a request that the connection manager takes for an internal one.
const internal = "x-forwarded-for: 10.0.0.1"

func TestTimeoutHeaders(t *testing.T) {
	const expected = "Seen-X-Envoy-Expected-Rq-Timeout-Ms"
	for _, tc := range []struct {
		name    string
		action  model.RouteAction
		router  httprouter.Config
		headers []string
		want    string
	}{
		{"route", model.RouteAction{Timeout: 3 * time.Second}, httprouter.Config{}, nil, "3000"},
		{"no timeout", model.RouteAction{}, httprouter.Config{}, nil, ""},
		{"header", model.RouteAction{Timeout: time.Second}, httprouter.Config{}, []string{internal, "x-envoy-upstream-rq-timeout-ms: 5000"}, "5000"},
		{"header of a stranger", model.RouteAction{Timeout: time.Second}, httprouter.Config{}, []string{"x-envoy-upstream-rq-timeout-ms: 5000"}, "1000"},
		{"per try", model.RouteAction{Timeout: 3 * time.Second}, httprouter.Config{}, []string{internal, "x-envoy-upstream-rq-per-try-timeout-ms: 700"}, "700"},
		{"per try is too long", model.RouteAction{Timeout: 3 * time.Second}, httprouter.Config{}, []string{internal, "x-envoy-upstream-rq-per-try-timeout-ms: 7000"}, "3000"},
		{"suppressed", model.RouteAction{Timeout: 3 * time.Second}, httprouter.Config{SuppressEnvoyHeaders: true}, nil, ""},
		{"respected", model.RouteAction{Timeout: 3 * time.Second}, httprouter.Config{RespectExpectedTimeout: true}, []string{internal, "x-envoy-expected-rq-timeout-ms: 400"}, "400"},
		{"grpc", model.RouteAction{Timeout: 3 * time.Second, GRPCTimeoutMax: 2 * time.Second}, httprouter.Config{}, []string{"content-type: application/grpc", "grpc-timeout: 9S"}, "2000"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a, r := tc.action, tc.router
			a.Cluster = "web"
			p := start(t, routeConfig(prefix("/", &a)), options{router: &r, clusters: map[string]*model.Cluster{"web": static("web", backend(t, echo))}})
			resp, _ := p.do(get("/", tc.headers...))
			if got := resp.Header.Get(expected); got != tc.want {
				t.Errorf("expected timeout %q, want %q", got, tc.want)
			}
			if (resp.Header.Get("x-envoy-upstream-service-time") == "") != r.SuppressEnvoyHeaders {
				t.Errorf("headers %v", resp.Header)
			}
		})
	}
}

func TestStrictHeaders(t *testing.T) {
	p := start(t, routeConfig(prefix("/", &model.RouteAction{Cluster: "web"})), options{
		router:   &httprouter.Config{StrictCheckHeaders: []message.ID{message.XEnvoyMaxRetries}},
		clusters: map[string]*model.Cluster{"web": static("web", backend(t, echo))},
	})
	resp, body := p.do(get("/", internal, "x-envoy-max-retries: many"))
	if resp.StatusCode != 400 || body != "invalid header 'x-envoy-max-retries' with value 'many'" {
		t.Errorf("%d %q", resp.StatusCode, body)
	}
	p.logged("GET / 400 IH request_headers_failed_strict_check")
}

func TestAttemptCountAndPreviousHosts(t *testing.T) {
	var failed, served atomic.Int32
	bad := backend(t, func(w http.ResponseWriter, _ *http.Request) {
		failed.Add(1)
		w.WriteHeader(503)
	})
	good := backend(t, func(w http.ResponseWriter, r *http.Request) {
		served.Add(1)
		w.Header().Set("x-attempt", r.Header.Get("X-Envoy-Attempt-Count"))
	})
	routes := routeConfig(prefix("/", &model.RouteAction{Cluster: "web", Retry: &model.RetryPolicy{
		On: model.Retry5xx, NumRetries: 1, BaseInterval: time.Millisecond, AvoidPreviousHosts: true, HostSelectionAttempts: 10,
	}}))
	routes.VirtualHosts[0].IncludeAttemptCount, routes.VirtualHosts[0].IncludeAttemptCountInResponse = true, true
	p := start(t, routes, options{clusters: map[string]*model.Cluster{"web": static("web", bad, good)}})
	for range 6 {
		resp, _ := p.do(get("/"))
		if resp.StatusCode != 200 || resp.Header.Get("x-attempt") != resp.Header.Get("x-envoy-attempt-count") {
			t.Errorf("%d %v", resp.StatusCode, resp.Header)
		}
	}
	if failed.Load() == 0 || served.Load() != 6 {
		t.Errorf("%d attempts failed, %d succeeded", failed.Load(), served.Load())
	}
}

// TestLargeBodies: what fits the buffer is sent again, what does not is sent once.
func TestLargeBodies(t *testing.T) {
	for _, tc := range []struct {
		size, status int
		attempts     int32
	}{{512 << 10, 200, 2}, {3 << 20, 503, 1}} {
		t.Run(strconv.Itoa(tc.size), func(t *testing.T) {
			var attempts atomic.Int32
			addr := backend(t, func(w http.ResponseWriter, r *http.Request) {
				n, err := io.Copy(io.Discard, r.Body)
				if err != nil || n != int64(tc.size) {
					t.Errorf("received %d bytes, %v", n, err)
				}
				if attempts.Add(1) == 1 {
					w.WriteHeader(503)
				}
			})
			p := start(t, routeConfig(prefix("/", &model.RouteAction{Cluster: "web", Retry: &model.RetryPolicy{
				On: model.Retry5xx, NumRetries: 3, BaseInterval: time.Millisecond,
			}})), options{clusters: map[string]*model.Cluster{"web": static("web", addr)}})
			resp, err := http.Post("http://"+p.addr+"/", "text/plain", strings.NewReader(strings.Repeat("x", tc.size)))
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			http.DefaultClient.CloseIdleConnections()
			if resp.StatusCode != tc.status || attempts.Load() != tc.attempts {
				t.Errorf("status %d after %d attempts", resp.StatusCode, attempts.Load())
			}
			if tc.attempts == 1 && p.counter("cluster.web.retry_or_shadow_abandoned") != 1 {
				t.Error("retry_or_shadow_abandoned was not counted")
			}
		})
	}
}

func TestStreaming(t *testing.T) {
	next := make(chan struct{})
	p := start(t, routeConfig(prefix("/", &model.RouteAction{Cluster: "web"})), options{clusters: map[string]*model.Cluster{
		"web": static("web", backend(t, func(w http.ResponseWriter, _ *http.Request) {
			for i := range 3 {
				_, _ = io.WriteString(w, strconv.Itoa(i))
				w.(http.Flusher).Flush()
				<-next
			}
		})),
	}})
	c := p.dial()
	c.send(get("/"))
	resp, err := http.ReadResponse(c.br, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 { // each piece arrives although the next one is not sent yet
		b := make([]byte, 8)
		if n, err := resp.Body.Read(b); err != nil || string(b[:n]) != strconv.Itoa(i) {
			t.Errorf("piece %d: %q, %v", i, b[:n], err)
		}
		next <- struct{}{}
	}
}

func TestAutoHostRewrite(t *testing.T) {
	web := static("web", backend(t, echo))
	web.Inline.Localities[0].Endpoints[0].Hostname = "upstream.example"
	p := start(t, routeConfig(prefix("/", &model.RouteAction{Cluster: "web", AutoHostRewrite: true, AppendXFH: true})),
		options{clusters: map[string]*model.Cluster{"web": web}})
	resp, _ := p.do(get("/"))
	if resp.Header.Get("x-seen-host") != "upstream.example" || resp.Header.Get("Seen-X-Forwarded-Host") != "example.com" {
		t.Errorf("upstream saw %v", resp.Header)
	}
}
