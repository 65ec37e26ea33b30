package e2e

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"golang.org/x/net/http2"

	"github.com/weir-proxy/weir/test/harness"
)

// gate holds requests until it is opened.
type gate chan struct{}

func (g gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	select {
	case <-g:
		fmt.Fprintln(w, "through")
	case <-r.Context().Done():
	}
}

// hold starts n requests and waits until all of them are at the host. release lets them go and wants 200 for each.
func (r *rig) hold(g gate, backend *harness.HTTPBackend, n int, path string, headers ...string) (release func()) {
	r.Helper()
	before := backend.Count()
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			resp, text, err := r.try("GET", path, nil, headers...)
			if err != nil || resp.StatusCode != http.StatusOK {
				r.Errorf("a held request: %v, %q", err, text)
			}
		})
	}
	harness.Eventually(r, "all requests are there", func() bool { return backend.Count() == before+n })
	return func() {
		close(g)
		wg.Wait()
	}
}

// TestUpstreamStreams spreads streams over as many connections as max_concurrent_streams needs.
func TestUpstreamStreams(t *testing.T) {
	t.Parallel()
	host, g := harness.NewHost(t), make(gate)
	backend := host.HTTPBackend("backend", "127.0.0.1:0", harness.WithHTTP2(), harness.WithHandler("/hold", g.ServeHTTP))
	r := startRig(t, host, rigConfig{
		routes:   []string{harness.RouteTo("/", "backend")},
		clusters: []string{harness.Cluster("backend", harness.To(backend.Addr), harness.UpstreamHTTP("explicit_http_config: {http2_protocol_options: {max_concurrent_streams: 2}}"))},
	})
	release := r.hold(g, backend, 5, "/hold")
	r.stats(map[string]int{"cluster.backend.upstream_cx_http2_total": 3, "cluster.backend.upstream_cx_active": 3, "cluster.backend.upstream_rq_active": 5})
	release()
	r.stats(map[string]int{"cluster.backend.upstream_rq_active": 0, "cluster.backend.upstream_rq_pending_active": 0})
	r.want(200, "backend")(r.get("/"))
	r.stats(map[string]int{"cluster.backend.upstream_cx_http2_total": 3})
}

// TestUpstreamPreconnect makes connections before they are needed.
func TestUpstreamPreconnect(t *testing.T) {
	t.Parallel()
	host := harness.NewHost(t)
	a, b := host.HTTPBackend("a", "127.0.0.1:0"), host.HTTPBackend("b", "127.0.0.1:0")
	r := startRig(t, host, rigConfig{
		routes: []string{harness.RouteTo("/own", "own"), harness.RouteTo("/next", "next"), harness.RouteTo("/", "plain")},
		clusters: []string{
			harness.Cluster("own", harness.To(a.Addr), "preconnect_policy: {per_upstream_preconnect_ratio: 2.5}"),
			harness.Cluster("next", harness.To(a.Addr, b.Addr), "preconnect_policy: {predictive_preconnect_ratio: 2}"),
			harness.Cluster("plain", harness.To(a.Addr)),
		},
	})
	for _, path := range []string{"/own", "/next", "/"} {
		r.want(200, "")(r.get(path))
	}
	r.stats(map[string]int{"cluster.own.upstream_cx_active": 3, "cluster.next.upstream_cx_active": 2, "cluster.plain.upstream_cx_active": 1})
	harness.Eventually(t, "b has a connection before its first request", func() bool { return b.Opened() == 1 })
}

// TestUpstreamPoolLimits answers 503 in Envoy's words where a limit is reached.
func TestUpstreamPoolLimits(t *testing.T) {
	t.Parallel()
	host, g := harness.NewHost(t), make(gate)
	ca := harness.NewCA(t)
	backend := host.HTTPBackend("backend", "127.0.0.1:0", harness.WithTLS(ca.Issue("a.test", "b.test").Server("http/1.1")), harness.WithHandler("/hold", g.ServeHTTP))
	tls := harness.UpstreamTLS(ca.Trust()) + ", " + harness.UpstreamHTTP("upstream_http_protocol_options: {auto_sni: true, auto_san_validation: true}, explicit_http_config: {http_protocol_options: {}}")
	r := startRig(t, host, rigConfig{
		routes: []string{harness.RouteTo("/hold", "pools"), harness.RouteTo("/other", "pools"), harness.RouteTo("/perhost", "perhost")},
		clusters: []string{
			harness.Cluster("pools", harness.To(backend.Addr), tls, "circuit_breakers: {thresholds: [{max_connection_pools: 1, track_remaining: true}]}"),
			harness.Cluster("perhost", harness.To(backend.Addr), tls,
				"circuit_breakers: {thresholds: [{max_pending_requests: 0}], per_host_thresholds: [{max_connections: 1}]}"),
		},
	})
	release := r.hold(g, backend, 1, "/hold", "host: a.test")
	r.stats(map[string]int{
		"cluster.pools.circuit_breakers.default.cx_pool_open": 1, "cluster.pools.circuit_breakers.default.remaining_cx_pools": 0,
	})
	r.want(503, "no healthy upstream")(r.get("/other", "host: b.test"))
	r.logged("/other 503 UH no_healthy_upstream 1")
	r.want(503, "upstream connect error or disconnect/reset before headers. reset reason: overflow")(r.get("/perhost", "host: a.test"))
	r.stats(map[string]int{"cluster.pools.upstream_cx_pool_overflow": 1, "cluster.perhost.upstream_rq_pending_overflow": 1})
	release()
	r.want(200, "backend")(r.get("/other", "host: b.test")) // the idle pool makes room
	if name := backend.Last(t).TLS.ServerName; name != "b.test" {
		t.Errorf("server name %q", name)
	}
}

// TestUpstreamServerName takes server names and the names to verify from where the configuration says.
func TestUpstreamServerName(t *testing.T) {
	t.Parallel()
	host, ca := harness.NewHost(t), harness.NewCA(t)
	backend := host.HTTPBackend("backend", "127.0.0.1:0", harness.WithTLS(ca.Issue("good.test").Server("h2", "http/1.1")))
	cluster := func(name, sni string) string {
		return harness.Cluster(name, harness.To(backend.Addr), harness.UpstreamTLS(ca.Trust()), harness.UpstreamHTTP("upstream_http_protocol_options: {"+sni+"}, auto_config: {}"))
	}
	r := startRig(t, host, rigConfig{
		routes: []string{harness.RouteTo("/host", "host"), harness.RouteTo("/header", "header")},
		clusters: []string{
			cluster("host", "auto_sni: true, auto_san_validation: true"),
			cluster("header", "auto_sni: true, auto_san_validation: true, override_auto_sni_header: X-Name"),
		},
	})
	for _, tc := range []struct {
		path, host, header string
		status             int
	}{
		{"/host", "good.test", "", 200},
		{"/host", "good.test:8080", "", 200},
		{"/host", "bad.test", "good.test", 503},
		{"/header", "bad.test", "good.test", 200},
		{"/header", "good.test", "bad.test", 503},
		{"/header", "good.test", "", 200},
	} {
		headers := []string{"host: " + tc.host}
		if tc.header != "" {
			headers = append(headers, "x-name: "+tc.header)
		}
		resp, text := r.get(tc.path, headers...)
		if resp.StatusCode != tc.status {
			t.Errorf("%v: status %d, %s", tc, resp.StatusCode, text)
		}
		if tc.status == 200 && backend.Last(t).TLS.ServerName != "good.test" {
			t.Errorf("%v: server name %q", tc, backend.Last(t).TLS.ServerName)
		}
		if tc.status == 503 && !strings.Contains(text, "reset reason: remote connection failure, transport failure reason: TLS_error") {
			t.Errorf("%v: %q", tc, text)
		}
	}
	r.stats(map[string]int{"cluster.host.upstream_cx_http2_total": 1, "cluster.header.upstream_cx_http2_total": 1})
}

// TestUpstreamALPN speaks what the host chooses, and keeps to it.
func TestUpstreamALPN(t *testing.T) {
	t.Parallel()
	host, ca := harness.NewHost(t), harness.NewCA(t)
	cert := ca.Issue("good.test")
	two := host.HTTPBackend("two", "127.0.0.1:0", harness.WithTLS(cert.Server("h2", "http/1.1")))
	one := host.HTTPBackend("one", "127.0.0.1:0", harness.WithTLS(cert.Server("http/1.1")))
	auto := harness.UpstreamTLS(ca.Trust()) + ", " + harness.UpstreamHTTP("auto_config: {http2_protocol_options: {max_concurrent_streams: 10}}")
	r := startRig(t, host, rigConfig{
		routes:   []string{harness.RouteTo("/two", "two"), harness.RouteTo("/one", "one")},
		clusters: []string{harness.Cluster("two", harness.To(two.Addr), auto), harness.Cluster("one", harness.To(one.Addr), auto)},
	})
	for range 3 {
		r.want(200, "two")(r.get("/two"))
		r.want(200, "one")(r.get("/one"))
	}
	if p := two.Last(t).Proto + " " + one.Last(t).Proto; p != "HTTP/2.0 HTTP/1.1" {
		t.Errorf("spoke %s", p)
	}
	r.stats(map[string]int{
		"cluster.two.upstream_cx_http2_total": 1, "cluster.two.upstream_cx_http1_total": 0,
		"cluster.one.upstream_cx_http2_total": 0, "cluster.one.upstream_cx_http1_total": 1,
	})
}

// leaving is an HTTP/2 host that says goodbye after the first request of each connection, and serves it nevertheless.
func leaving(conn *net.TCPConn) {
	w := newWire2(conn)
	if _, err := conn.Read(make([]byte, len(http2.ClientPreface))); err != nil || w.WriteSettings() != nil {
		return
	}
	for {
		f, err := w.next()
		if err != nil {
			return
		}
		if h, ok := f.(*http2.HeadersFrame); ok {
			if w.WriteGoAway(h.StreamID, http2.ErrCodeNo, nil) != nil || w.headers(h.StreamID, true, ":status", "204") != nil {
				return
			}
		}
	}
}

// TestUpstreamGoAway moves on to a new connection when the host wants the old one to end, without losing a request.
func TestUpstreamGoAway(t *testing.T) {
	t.Parallel()
	host := harness.NewHost(t)
	backend := host.TCPBackend("127.0.0.1:0", leaving)
	r := startRig(t, host, rigConfig{
		routes:   []string{harness.RouteTo("/", "backend")},
		clusters: []string{harness.Cluster("backend", harness.To(backend.Addr), harness.HTTP2())},
	})
	for range 4 {
		r.want(204, "")(r.get("/"))
	}
	r.stats(map[string]int{"cluster.backend.upstream_cx_total": 4, "cluster.backend.upstream_cx_active": 0, "cluster.backend.upstream_rq_total": 4})
}

// TestUpstreamConnectionLife ends HTTP/2 connections by age, by requests and by idleness.
func TestUpstreamConnectionLife(t *testing.T) {
	t.Parallel()
	host := harness.NewHost(t)
	backend := host.HTTPBackend("backend", "127.0.0.1:0", harness.WithHTTP2())
	var clusters, routes []string
	for name, option := range map[string]string{"age": "max_connection_duration: 0.1s", "requests": "max_requests_per_connection: 2", "idle": "idle_timeout: 0.1s"} {
		clusters = append(clusters, harness.Cluster(name, harness.To(backend.Addr),
			harness.UpstreamHTTP("common_http_protocol_options: {"+option+"}, explicit_http_config: {http2_protocol_options: {}}")))
		routes = append(routes, harness.RouteTo("/"+name, name))
	}
	r := startRig(t, host, rigConfig{routes: routes, clusters: clusters})
	for range 5 {
		r.want(200, "backend")(r.get("/requests"))
	}
	r.stats(map[string]int{"cluster.requests.upstream_cx_total": 3, "cluster.requests.upstream_cx_max_requests": 2})
	for name, stat := range map[string]string{"age": "upstream_cx_max_duration_reached", "idle": "upstream_cx_idle_timeout"} {
		r.want(200, "backend")(r.get("/" + name))
		r.stats(map[string]int{"cluster." + name + "." + stat: 1, "cluster." + name + ".upstream_cx_active": 0})
	}
}

// TestUpstreamTracking keeps the histograms that a cluster asks for.
func TestUpstreamTracking(t *testing.T) {
	t.Parallel()
	host := harness.NewHost(t)
	backend := host.HTTPBackend("backend", "127.0.0.1:0")
	r := startRig(t, host, rigConfig{
		routes: []string{harness.RouteTo("/tracked", "tracked"), harness.RouteTo("/", "plain")},
		clusters: []string{
			harness.Cluster("tracked", harness.To(backend.Addr), "track_cluster_stats: {timeout_budgets: true, request_response_sizes: true}"),
			harness.Cluster("plain", harness.To(backend.Addr)),
		},
	})
	r.want(200, "backend")(r.send("POST", "/tracked", "four"))
	r.want(200, "backend")(r.get("/"))
	page := r.weir.Page("/stats/prometheus?histogram_buckets=cumulative")
	for _, name := range []string{"upstream_rq_headers_size", "upstream_rq_headers_count", "upstream_rs_headers_size", "upstream_rs_headers_count"} {
		wantContains(t, name, page, fmt.Sprintf(`envoy_cluster_%s_count{envoy_cluster_name="tracked"} 1`, name))
		if strings.Contains(page, fmt.Sprintf(`envoy_cluster_%s_count{envoy_cluster_name="plain"}`, name)) {
			t.Errorf("%s is there without being asked for", name)
		}
	}
	for name, sum := range map[string]string{"upstream_rq_body_size": " 4", "upstream_rs_body_size": " 8", "upstream_rq_timeout_budget_percent_used": " "} {
		wantContains(t, name, page, fmt.Sprintf(`envoy_cluster_%s_sum{envoy_cluster_name="tracked"}%s`, name, sum))
	}
}
