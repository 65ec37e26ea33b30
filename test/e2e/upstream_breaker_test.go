package e2e

import (
	"net/http"
	"sync"
	"testing"

	"github.com/weir-proxy/weir/test/harness"
)

const overflowText = "upstream connect error or disconnect/reset before headers. reset reason: overflow"

// TestUpstreamRequestsThatWait has as many requests as connections and again as many that wait for them: those that wait take no
// places of max_requests.
func TestUpstreamRequestsThatWait(t *testing.T) {
	t.Parallel()
	host, g := harness.NewHost(t), make(gate)
	backend := host.HTTPBackend("backend", "127.0.0.1:0", harness.WithHandler("/hold", g.ServeHTTP))
	r := startRig(t, host, rigConfig{
		routes:   []string{harness.RouteTo("/", "backend")},
		clusters: []string{harness.Cluster("backend", harness.To(backend.Addr), "circuit_breakers: {thresholds: [{max_connections: 7, max_requests: 8, track_remaining: true}]}")},
	})
	var wg sync.WaitGroup
	for range 14 {
		wg.Go(func() {
			if resp, text, err := r.try("GET", "/hold", nil); err != nil || resp.StatusCode != http.StatusOK {
				t.Errorf("a request of fourteen: %v, %v, %q", resp, err, text)
			}
		})
	}
	r.stats(map[string]int{
		"cluster.backend.upstream_rq_active": 7, "cluster.backend.upstream_rq_pending_active": 7, "cluster.backend.upstream_cx_active": 7,
		"cluster.backend.circuit_breakers.default.remaining_rq": 1, "cluster.backend.circuit_breakers.default.rq_open": 0,
	})
	close(g)
	wg.Wait()
	r.stats(map[string]int{
		"cluster.backend.upstream_rq_total": 14, "cluster.backend.upstream_rq_pending_overflow": 0, "cluster.backend.upstream_rq_active": 0,
		"cluster.backend.upstream_rq_pending_active": 0, "cluster.backend.circuit_breakers.default.remaining_rq": 8,
	})
}

// TestUpstreamRequestLimit answers a request that finds its connection and no place at once, in Envoy's words.
func TestUpstreamRequestLimit(t *testing.T) {
	t.Parallel()
	host, g := harness.NewHost(t), make(gate)
	backend := host.HTTPBackend("backend", "127.0.0.1:0", harness.WithHTTP2(), harness.WithHandler("/hold", g.ServeHTTP))
	r := startRig(t, host, rigConfig{
		routes: []string{"{match: {prefix: /}, route: {cluster: backend, retry_policy: {retry_on: 'reset,5xx,connect-failure'}}}"},
		clusters: []string{harness.Cluster("backend", harness.To(backend.Addr), harness.UpstreamHTTP("explicit_http_config: {http2_protocol_options: {}}"),
			"circuit_breakers: {thresholds: [{max_requests: 1, track_remaining: true}]}")},
	})
	release := r.hold(g, backend, 1, "/hold")
	r.stats(map[string]int{"cluster.backend.circuit_breakers.default.rq_open": 1, "cluster.backend.circuit_breakers.default.remaining_rq": 0})
	resp, text := r.get("/more")
	r.want(503, overflowText)(resp, text)
	if resp.Header.Get("x-envoy-overloaded") != "true" {
		t.Error("no x-envoy-overloaded")
	}
	r.logged("/more 503 UO upstream_reset_before_response_started{overflow} 1")
	r.stats(map[string]int{
		"cluster.backend.upstream_rq_pending_overflow": 1, "cluster.backend.upstream_rq_pending_total": 1, "cluster.backend.upstream_rq_retry": 0,
		"cluster.backend.upstream_rq_active": 1, "cluster.backend.upstream_rq_total": 1, "cluster.backend.upstream_cx_total": 1,
		"cluster.backend.upstream_rq_503": 1,
	})
	release()
	r.stats(map[string]int{"cluster.backend.circuit_breakers.default.rq_open": 0, "cluster.backend.circuit_breakers.default.remaining_rq": 1})
	r.want(200, "backend")(r.get("/again"))
	r.stats(map[string]int{"cluster.backend.upstream_cx_total": 1, "cluster.backend.upstream_rq_pending_overflow": 1})
}
