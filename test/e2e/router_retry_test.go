package e2e

import (
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weir-proxy/weir/test/harness"
)

// failing answers its first requests with a status and headers, and then as usual.
func failing(times int64, status int, headers ...string) http.HandlerFunc {
	var n atomic.Int64
	return func(w http.ResponseWriter, _ *http.Request) {
		if n.Add(1) > times {
			fmt.Fprintln(w, "fine")
			return
		}
		for _, h := range headers {
			k, v, _ := strings.Cut(h, ": ")
			if v == inTwoSeconds {
				v = strconv.FormatInt(time.Now().Unix()+2, 10)
			}
			w.Header().Add(k, v)
		}
		w.WriteHeader(status)
	}
}

// inTwoSeconds as the value of a header stands for the time of the response and two seconds more.
const inTwoSeconds = "in two seconds"

func retryRoute(path, policy string) string {
	return fmt.Sprintf("{match: {prefix: %s}, route: {cluster: backend, timeout: 5s, retry_policy: {%s}}}", path, policy)
}

func TestRouterRetries(t *testing.T) {
	t.Parallel()
	host := harness.NewHost(t)
	backend := host.HTTPBackend("backend", "127.0.0.1:0",
		harness.WithHandler("/limited", failing(1, 429, "x-envoy-ratelimited: true", "retry-after: 1")),
		harness.WithHandler("/until", failing(1, 503, "x-reset: "+inTwoSeconds)),
		harness.WithHandler("/header", failing(1, 200, "x-again: yes")),
		harness.WithHandler("/status", failing(1, 418)),
		harness.WithHandler("/409", failing(1, 409)),
		harness.WithHandler("/asked", failing(2, 503)),
		harness.WithHandler("/only", failing(9, 503)),
		harness.WithHandler("/used-up", failing(9, 503)),
		harness.WithHandler("/slow", func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("X-Envoy-Is-Timeout-Retry") != "true" {
				<-r.Context().Done()
				return
			}
			fmt.Fprintln(w, "count", r.Header.Get("X-Envoy-Attempt-Count"), "left", r.Header.Get("X-Envoy-Expected-Rq-Timeout-Ms"))
		}),
	)
	r := startRig(t, host, rigConfig{
		host: "include_request_attempt_count: true, include_attempt_count_in_response: true, include_is_timeout_retry_header: true, ",
		routes: []string{
			retryRoute("/limited", "retry_on: envoy-ratelimited, rate_limited_retry_back_off: {reset_headers: [{name: Retry-After}], max_interval: 5s}"),
			retryRoute("/until", "retry_on: 5xx, rate_limited_retry_back_off: {reset_headers: [{name: nothing}, {name: x-reset, format: UNIX_TIMESTAMP}]}"),
			retryRoute("/header", "retry_on: retriable-headers, retriable_headers: [{name: x-again, string_match: {exact: 'yes'}}]"),
			retryRoute("/status", "retry_on: retriable-status-codes, retriable_status_codes: [418]"),
			retryRoute("/409", "retry_on: retriable-4xx"),
			retryRoute("/only", "retry_on: 5xx, retriable_request_headers: [{name: x-may, present_match: true}]"),
			retryRoute("/used-up", "retry_on: gateway-error, num_retries: 2"),
			retryRoute("/slow", "retry_on: 'http3-post-connect-failure,reset', per_try_timeout: 1s"),
			"{match: {prefix: /asked}, route: {cluster: backend}}",
		},
		clusters: []string{harness.Cluster("backend", harness.To(backend.Addr))},
	})
	for _, tc := range []struct {
		path     string
		headers  []string
		status   int
		body     string
		attempts string
		atLeast  time.Duration
	}{
		{path: "/limited", status: 200, body: "fine", attempts: "2", atLeast: time.Second},
		{path: "/until", status: 200, body: "fine", attempts: "2"},
		{path: "/header", status: 200, body: "fine", attempts: "2"},
		{path: "/status", status: 200, body: "fine", attempts: "2"},
		{path: "/409", status: 200, body: "fine", attempts: "2"},
		{path: "/asked", status: 200, body: "fine", attempts: "3", headers: []string{"x-envoy-retry-on: 5xx", "x-envoy-max-retries: 4"}},
		{path: "/only", status: 503, attempts: "1"},
		{path: "/only", status: 503, attempts: "2", headers: []string{"x-may: 1"}},
		{path: "/used-up", status: 503, attempts: "3"},
		{path: "/slow", status: 200, body: "count 2 left 1000", attempts: "2", atLeast: time.Second},
	} {
		t.Run(tc.path, func(t *testing.T) {
			start := time.Now()
			resp, body := r.get(tc.path, tc.headers...)
			if resp.StatusCode != tc.status || strings.TrimSpace(body) != tc.body || resp.Header.Get("X-Envoy-Attempt-Count") != tc.attempts {
				t.Errorf("%d %q after %s attempts; want %+v", resp.StatusCode, body, resp.Header.Get("X-Envoy-Attempt-Count"), tc)
			}
			if d := time.Since(start); d < tc.atLeast {
				t.Errorf("after %v, want at least %v", d, tc.atLeast)
			}
		})
	}
	r.logged("/used-up 503 URX via_upstream 3")
	r.stats(map[string]int{
		"cluster.backend.upstream_rq_retry_backoff_ratelimited": 2, "cluster.backend.upstream_rq_retry": 11,
		"cluster.backend.upstream_rq_retry_backoff_exponential": 9, "cluster.backend.upstream_rq_retry_limit_exceeded": 2,
		"cluster.backend.upstream_rq_retry_success": 7, "cluster.backend.upstream_rq_per_try_timeout": 1,
	})
}

// endpoints are hosts with metadata and priorities.
func endpoint(addr netip.AddrPort, metadata string) string {
	return fmt.Sprintf("{endpoint: {address: %s}, metadata: {filter_metadata: {envoy.lb: {%s}}}}", harness.Address(addr.String()), metadata)
}

// Retries keep away from hosts and priorities as the policy says.
func TestRouterRetryPlacement(t *testing.T) {
	t.Parallel()
	host := harness.NewHost(t)
	var backends []*harness.HTTPBackend
	for i := range 4 {
		name, status := fmt.Sprintf("b%d", i), 503
		if i == 3 {
			status = 200
		}
		handler := harness.WithHandler("/", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) })
		backends = append(backends, host.HTTPBackend(name, "127.0.0.1:0", handler))
	}
	bad, bad2, canary, good := backends[0].Addr, backends[1].Addr, backends[2].Addr, backends[3].Addr
	cluster := func(name, endpoints string) string {
		return fmt.Sprintf("{name: %s, type: STATIC, load_assignment: {cluster_name: %s, endpoints: [%s]}}", name, name, endpoints)
	}
	route := func(name, policy string) string {
		return fmt.Sprintf("{match: {prefix: /, headers: [{name: x-cluster, string_match: {exact: %s}}]}, route: {cluster: %s, "+
			"retry_policy: {retry_on: 5xx, num_retries: 1, host_selection_retry_max_attempts: 50, %s}}}", name, name, policy)
	}
	const extension = "type.googleapis.com/envoy.extensions.retry."
	r := startRig(t, host, rigConfig{
		routes: []string{
			route("previous", `retry_host_predicate: [{name: p, typed_config: {"@type": `+extension+`host.previous_hosts.v3.PreviousHostsPredicate}}]`),
			route("canary", `retry_host_predicate: [{name: p, typed_config: {"@type": `+extension+`host.omit_canary_hosts.v3.OmitCanaryHostsPredicate}}]`),
			route("metadata", `retry_host_predicate: [{name: p, typed_config: {"@type": `+extension+`host.omit_host_metadata.v3.OmitHostMetadataConfig, `+
				`metadata_match: {filter_metadata: {envoy.lb: {stage: old}}}}}]`),
			route("priority", `retry_priority: {name: p, typed_config: {"@type": `+extension+`priority.previous_priorities.v3.PreviousPrioritiesConfig, update_frequency: 1}}`),
		},
		clusters: []string{
			harness.Cluster("previous", harness.To(bad, good)),
			cluster("canary", "{lb_endpoints: ["+endpoint(canary, "canary: true")+", "+endpoint(good, "canary: false")+"]}"),
			cluster("metadata", "{lb_endpoints: ["+endpoint(bad2, "stage: old, other: 1")+", "+endpoint(good, "stage: new")+"]}"),
			cluster("priority", "{lb_endpoints: ["+endpoint(bad, "a: b")+"]}, {priority: 1, lb_endpoints: ["+endpoint(good, "a: b")+"]}"),
		},
	})
	for _, name := range []string{"previous", "canary", "metadata", "priority"} {
		for i := range 12 {
			if resp, _ := r.get("/", "x-cluster: "+name); resp.StatusCode != 200 {
				t.Errorf("%s: request %d: status %d", name, i, resp.StatusCode)
			}
		}
	}
	if n := r.weir.Stat("cluster.priority.upstream_rq_retry"); n != 12 {
		t.Errorf("%d retries of the priority cluster, want 12", n)
	}
}

// A retry budget bounds retries by the requests under way.
func TestRouterRetryBudget(t *testing.T) {
	t.Parallel()
	host := harness.NewHost(t)
	backend := host.HTTPBackend("backend", "127.0.0.1:0", harness.WithHandler("/", failing(1000, 503)))
	const breakers = "circuit_breakers: {thresholds: [{retry_budget: {budget_percent: {value: 50}, min_retry_concurrency: 0}}]}"
	r := startRig(t, host, rigConfig{
		routes:   []string{"{match: {prefix: /}, route: {cluster: backend, retry_policy: {retry_on: 5xx}}}"},
		clusters: []string{harness.Cluster("backend", harness.To(backend.Addr), breakers)},
	})
	r.want(503, "")(r.get("/")) // half of one request is none
	r.logged("/ 503 UO via_upstream 1")
	r.stats(map[string]int{"cluster.backend.upstream_rq_retry_overflow": 1, "cluster.backend.upstream_rq_retry": 0})
}

// With hedging the attempt that has timed out goes on, and may still be the one that answers.
func TestRouterHedging(t *testing.T) {
	t.Parallel()
	host := harness.NewHost(t)
	release := make(chan struct{})
	var first atomic.Bool
	backend := host.HTTPBackend("backend", "127.0.0.1:0",
		harness.WithHandler("/second", func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			if first.CompareAndSwap(false, true) {
				<-r.Context().Done() // ended when the other has won
				close(release)
				return
			}
			fmt.Fprintf(w, "second got %s\n", body)
		}),
		harness.WithHandler("/first", func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("X-Envoy-Attempt-Count") == "1" {
				time.Sleep(3 * time.Second) // the response comes after the per-try timeout
				fmt.Fprintln(w, "first")
				return
			}
			<-r.Context().Done()
		}),
		harness.WithHandler("/never", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }),
	)
	const policy = "retry_policy: {retry_on: 5xx, num_retries: 1, per_try_timeout: 1s}, hedge_policy: {hedge_on_per_try_timeout: true}"
	r := startRig(t, host, rigConfig{
		host: "include_request_attempt_count: true, ",
		routes: []string{
			"{match: {prefix: /never}, route: {cluster: backend, timeout: 4s, " + policy + "}}",
			"{match: {prefix: /asked}, route: {cluster: backend}}",
			"{match: {prefix: /}, route: {cluster: backend, timeout: 30s, " + policy + "}}",
		},
		clusters: []string{harness.Cluster("backend", harness.To(backend.Addr))},
	})
	r.want(200, "second got payload")(r.send("POST", "/second", "payload"))
	select {
	case <-release:
	case <-time.After(harness.Patience):
		t.Fatal("the attempt that lost goes on")
	}
	r.want(200, "first")(r.get("/first"))
	r.want(504, "upstream request timeout")(r.get("/never"))
	r.logged("/second 200 - via_upstream 2")
	r.logged("/never 504 UT,URX upstream_response_timeout 2")
	r.stats(map[string]int{
		"cluster.backend.upstream_rq_per_try_timeout": 5, "cluster.backend.upstream_rq_retry": 3,
		"cluster.backend.upstream_rq_active": 0, "cluster.backend.upstream_rq_timeout": 1,
		"cluster.backend.upstream_rq_total": 6,
	})
}
