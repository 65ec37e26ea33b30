package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/weir-proxy/weir/test/harness"
)

// The router logs each attempt by itself, and counts for virtual clusters and routes.
func TestRouterLogsAttempts(t *testing.T) {
	t.Parallel()
	host := harness.NewHost(t)
	backend := host.HTTPBackend("backend", "127.0.0.1:0", harness.WithHandler("/", failing(1, 503)),
		harness.WithHandler("/large", failing(9, 503)), harness.WithHandler("/slow", func(w http.ResponseWriter, _ *http.Request) {
			time.Sleep(200 * time.Millisecond) // long enough for entries in between
			fmt.Fprintln(w, "slow")
		}))
	r := startRig(t, host, rigConfig{
		router: `upstream_log: [{name: up, typed_config: {"@type": type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog, ` +
			`log_format: {text_format_source: {inline_string: "attempt %UPSTREAM_REQUEST_ATTEMPT_COUNT% %RESPONSE_CODE% %RESPONSE_FLAGS% %UPSTREAM_HOST% %ACCESS_LOG_TYPE%\n"}}}}], ` +
			`upstream_log_options: {flush_upstream_log_on_upstream_stream: true, upstream_log_flush_interval: 0.05s}`,
		host: "virtual_clusters: [{name: all, headers: [{name: ':path', string_match: {prefix: /}}]}], ",
		routes: []string{
			"{match: {prefix: /large}, per_request_buffer_limit_bytes: 1000, route: {cluster: backend, retry_policy: {retry_on: 5xx}}}",
			"{match: {prefix: /refused}, route: {cluster: refusing}}",
			"{match: {prefix: /}, stat_prefix: own, route: {cluster: backend, retry_policy: {retry_on: 5xx}}}",
		},
		clusters: []string{
			harness.Cluster("backend", harness.To(backend.Addr)), harness.Cluster("refusing", harness.To(host.RefusingAddr("127.0.0.1"))),
		},
	})
	r.want(200, "fine")(r.get("/"))
	for _, line := range []string{
		fmt.Sprintf("attempt 1 0 - %s UpstreamPoolReady", backend.Addr), fmt.Sprintf("attempt 1 503 - %s UpstreamEnd", backend.Addr),
		fmt.Sprintf("attempt 2 0 - %s UpstreamPoolReady", backend.Addr), fmt.Sprintf("attempt 2 200 - %s UpstreamEnd", backend.Addr),
	} {
		r.logged(line)
	}
	if n := strings.Count(r.weir.Stdout(), "UpstreamEnd"); n != 2 {
		t.Errorf("%d attempts were logged, want 2:\n%s", n, r.weir.Stdout())
	}
	r.want(200, "slow")(r.get("/slow"))
	r.logged(fmt.Sprintf("attempt 1 0 - %s UpstreamPeriodic", backend.Addr))
	r.want(503, "")(r.send("POST", "/large", strings.Repeat("x", 2000))) // too large to be kept for a retry
	r.want(503, "")(r.get("/refused"))
	harness.Eventually(t, "the log of the attempt that was refused", func() bool {
		return strings.Contains(r.weir.Stdout(), "attempt 1 0 UF ")
	})
	r.stats(map[string]int{
		"vhost.all.vcluster.all.upstream_rq_200": 2, "vhost.all.vcluster.all.upstream_rq_retry": 1, "vhost.all.vcluster.all.upstream_rq_total": 4,
		"vhost.all.route.own.upstream_rq_200": 2, "vhost.all.route.own.upstream_rq_retry_success": 1,
		"cluster.backend.retry_or_shadow_abandoned": 1,
	})
}
