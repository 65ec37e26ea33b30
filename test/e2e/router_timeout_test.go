package e2e

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/weir-proxy/weir/test/harness"
)

func TestRouterTimeouts(t *testing.T) {
	t.Parallel()
	host := harness.NewHost(t)
	backend := host.HTTPBackend("backend", "127.0.0.1:0",
		harness.WithHandler("/echo", func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintf(w, "expected=%s asked=%s%s", r.Header.Get("X-Envoy-Expected-Rq-Timeout-Ms"),
				r.Header.Get("X-Envoy-Upstream-Rq-Timeout-Ms"), r.Header.Get("X-Envoy-Upstream-Alt-Stat-Name"))
		}),
		harness.WithHandler("/hang", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }),
		harness.WithHandler("/drip", func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, "begun")
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		}),
	)
	r := startRig(t, host, rigConfig{
		router: "respect_expected_rq_timeout: true, strict_check_headers: [x-envoy-upstream-rq-timeout-ms]",
		routes: []string{
			"{match: {prefix: /hang, headers: [{name: x-route, string_match: {exact: try}}]}, route: {cluster: backend, timeout: 30s, retry_policy: {per_try_timeout: 0.1s}}}",
			"{match: {prefix: /drip, headers: [{name: x-route, string_match: {exact: idle}}]}, route: {cluster: backend, retry_policy: {per_try_idle_timeout: 1s}}}",
			"{match: {prefix: /echo}, route: {cluster: backend, timeout: 30s}}",
			"{match: {prefix: /}, route: {cluster: backend, timeout: 1s}}",
		},
		clusters: []string{harness.Cluster("backend", harness.To(backend.Addr))},
	})
	r.want(200, "expected=30000 asked=")(r.get("/echo"))
	r.want(200, "expected=70000 asked=")(r.get("/echo", "x-envoy-upstream-rq-timeout-ms: 70000"))
	r.want(200, "expected=50000 asked=")(r.get("/echo", "x-envoy-upstream-rq-timeout-ms: 70000", "x-envoy-upstream-rq-per-try-timeout-ms: 50000"))
	r.want(200, "expected=90000 asked=")(r.get("/echo", "x-envoy-upstream-rq-timeout-ms: 70000", "x-envoy-expected-rq-timeout-ms: 90000"))
	r.want(400, "invalid header 'x-envoy-upstream-rq-timeout-ms' with value 'soon'")(r.get("/echo", "x-envoy-upstream-rq-timeout-ms: soon"))
	r.want(200, "expected=30000 asked=")(r.get("/echo", "x-envoy-upstream-alt-stat-name: other"))
	r.want(504, "upstream request timeout")(r.get("/hang"))
	r.want(204, "")(r.get("/hang", "x-envoy-upstream-rq-timeout-alt-response: 1"))
	r.want(504, "upstream request timeout")(r.get("/hang", "x-route: try"))
	r.want(504, "upstream max stream duration reached")(r.get("/hang", "x-envoy-upstream-stream-duration-ms: 50"))
	if _, body, err := r.try("GET", "/drip", nil, "x-route: idle"); err == nil || body != "begun" {
		t.Errorf("a response that stops: %q, %v", body, err)
	}
	if _, body, err := r.try("GET", "/drip", nil); err == nil || body != "begun" {
		t.Errorf("a response that takes too long: %q, %v", body, err)
	}
	r.logged("/hang 504 UT upstream_response_timeout 1")
	r.logged("/hang 504 UT upstream_per_try_timeout 1")
	r.logged("/hang 504 UMSDR upstream_max_stream_duration_reached 1")
	r.logged("/drip 200 UT upstream_per_try_idle_timeout 1")
	r.logged("/drip 200 UT upstream_response_timeout 1")
	r.stats(map[string]int{
		"cluster.backend.upstream_rq_timeout": 3, "cluster.backend.upstream_rq_per_try_timeout": 1,
		"cluster.backend.upstream_rq_per_try_idle_timeout": 1, "cluster.backend.upstream_rq_max_duration_reached": 1,
		"cluster.backend.other.upstream_rq_200": 1, "cluster.backend.upstream_rq_active": 0,
	})
}

// A gRPC client's deadline bounds the request as the route says, and the server is told.
func TestRouterGRPCTimeouts(t *testing.T) {
	t.Parallel()
	host := harness.NewHost(t)
	told, release := make(chan string, 10), make(chan struct{})
	l := host.Listen("127.0.0.1:0")
	server := grpc.NewServer(grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
		d, _ := stream.Context().Deadline()
		md, _ := metadata.FromIncomingContext(stream.Context())
		told <- fmt.Sprint(time.Until(d).Truncate(time.Second)+time.Second, " ", strings.Join(md.Get("x-envoy-expected-rq-timeout-ms"), ","))
		if method, _ := grpc.MethodFromServerStream(stream); method == "/retry/Unavailable" {
			return status.Error(codes.Unavailable, "no")
		}
		<-release // not at the deadline: weir's own timeout is to end the call
		return nil
	}))
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() {
		close(release)
		server.Stop()
	})
	r := startRig(t, host, rigConfig{
		router: "suppress_grpc_request_failure_code_stats: true",
		routes: []string{
			"{match: {prefix: /max}, route: {cluster: backend, max_grpc_timeout: 3s}}",
			"{match: {prefix: /short}, route: {cluster: backend, max_grpc_timeout: 0.8s}}",
			"{match: {prefix: /stream}, route: {cluster: backend, max_stream_duration: {grpc_timeout_header_max: 1s}}}",
			"{match: {prefix: /retry}, route: {cluster: backend, retry_policy: {retry_on: unavailable, num_retries: 2}}}",
		},
		clusters: []string{harness.Cluster("backend", harness.To(l.Addr().(*net.TCPAddr).AddrPort()), harness.HTTP2())},
	})
	conn, err := grpc.NewClient("passthrough:///127.0.0.1:8080", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) { return host.Dial(ctx, "tcp", addr) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	call := func(method string, d time.Duration) error {
		ctx, cancel := context.WithTimeout(t.Context(), d)
		defer cancel()
		return conn.Invoke(ctx, method, &grpc_health_v1.HealthCheckRequest{}, &grpc_health_v1.HealthCheckResponse{})
	}
	heard := func() string {
		select {
		case s := <-told:
			return s
		case <-time.After(harness.Patience):
			return "nothing at all"
		}
	}
	for _, tc := range []struct {
		method string
		d      time.Duration
		code   codes.Code
		text   string
		told   []string
	}{
		{"/short/Method", time.Minute, codes.Unavailable, "upstream ", []string{"1s 800"}},
		{"/stream/Method", time.Minute, codes.DeadlineExceeded, "downstream duration timeout", []string{"1m0s "}},
		{"/retry/Unavailable", time.Minute, codes.Unavailable, "no", []string{"1m0s 15000", "1m0s 15000", "1m0s 15000"}},
	} {
		err := call(tc.method, tc.d)
		if status.Code(err) != tc.code || !strings.Contains(fmt.Sprint(err), tc.text) {
			t.Errorf("%s: %v, want %v %q", tc.method, err, tc.code, tc.text)
		}
		for i, want := range tc.told {
			got := heard()
			if i > 0 { // some of the time is over
				got, want = got[:5], want[:5]
			}
			if got != want {
				t.Errorf("%s: the server was told %q, want %q", tc.method, got, want)
			}
		}
	}
	if err := call("/max/Method", 3500*time.Millisecond); status.Code(err) != codes.Unavailable {
		t.Errorf("bounded by the route: %v", err)
	}
	if got := heard(); got != "3s 3000" {
		t.Errorf("the server was told %q", got)
	}
	r.stats(map[string]int{"cluster.backend.upstream_rq_retry": 2, "cluster.backend.upstream_rq_active": 0})
	if page := r.weir.Page("/stats"); strings.Contains(page, "cluster.backend.upstream_rq_504") {
		t.Error("codes of gRPC requests were counted")
	}
}
