package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/weir-proxy/weir/test/harness"
)

func TestFilterHealthCheck(t *testing.T) {
	t.Parallel()
	host := harness.NewHost(t)
	var status atomic.Int32
	status.Store(http.StatusServiceUnavailable)
	backend := host.HTTPBackend("backend", "127.0.0.1:0", harness.WithHandler("/cached", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(int(status.Load())) }))
	check := func(name, path, fields string) string {
		return harness.HTTPFilter(name, harness.HTTPFilterConfig("health_check.v3.HealthCheck", fields, `headers: [{name: ":path", string_match: {exact: `+path+`}}]`))
	}
	manager := harness.HTTPFilters([]string{
		check("here", "/here", "pass_through_mode: false"),
		check("clusters", "/clusters", "pass_through_mode: false, cluster_min_healthy_percentages: {backend: {value: 50}, empty: {value: 0}}"),
		check("missing", "/missing", "pass_through_mode: false, cluster_min_healthy_percentages: {nowhere: {value: 50}}"),
		check("cached", "/cached", "pass_through_mode: true, cache_time: 3600s"),
		check("through", "/through", "pass_through_mode: true"),
	}, "route_config: "+harness.RouteConfig("r", harness.RouteTo("/", "backend")))
	manager = strings.Replace(manager, "access_log: [{name: log,", "access_log: [{name: log, filter: {not_health_check_filter: {}},", 1)
	weir := host.StartWeir(harness.WeirOptions{Config: harness.Bootstrap{
		Listeners: []string{harness.Listener{Name: "main", Address: "127.0.0.1:8080", Chains: []string{harness.Chain(manager)}}.YAML()},
		Clusters:  []string{harness.Cluster("backend", harness.To(backend.Addr)), harness.Cluster("empty", nil)},
		More:      "node: {id: me, cluster: fleet}",
	}.YAML()})
	app := host.App()
	ask := func(path, want string) {
		t.Helper()
		got := app.Curl("-o", "/dev/null", "-w", "%{http_code} %header{x-envoy-upstream-healthchecked-cluster} %header{x-envoy-immediate-health-check-fail}", "http://127.0.0.1:8080"+path)
		if out := strings.TrimSpace(got.Out); out != want {
			t.Errorf("%s: %q, want %q", path, out, want)
		}
	}
	ask("/here", "200 fleet")
	ask("/clusters", "200 fleet")
	ask("/missing", "503 fleet")
	ask("/cached", "503 fleet")
	status.Store(http.StatusOK)
	ask("/cached", "503 fleet")
	ask("/through", "200 fleet")
	if n := backend.Count(); n != 2 {
		t.Errorf("the backend was asked %d times, want 2", n)
	}
	if n := weir.Stat("http.ingress.downstream_rq_completed"); n != 0 {
		t.Errorf("health checks count as %d requests", n)
	}
	ask("/other", "200")

	t.Log("the process is told to fail")
	if status, body := weir.Post("/healthcheck/fail"); status != http.StatusOK {
		t.Fatal(status, body)
	}
	ask("/here", "503 fleet")
	ask("/through", "503 fleet true") // says the filter before it
	ask("/other", "200  true")
	drained := weir.Stat("http.ingress.downstream_cx_drain_close")
	got := app.Curl("-o", "/dev/null", "-w", "%{num_connects} %header{connection};", "http://127.0.0.1:8080/other", "-o", "/dev/null", "http://127.0.0.1:8080/other")
	if got.Out != "1 close;1 close;" {
		t.Errorf("connections of a process that fails: %q", got.Out)
	}
	if n := weir.Stat("http.ingress.downstream_cx_drain_close"); n != drained+2 {
		t.Errorf("%d connections were drained, want 2", n-drained)
	}
	if status, body := weir.Post("/healthcheck/ok"); status != http.StatusOK {
		t.Fatal(status, body)
	}
	ask("/here", "200 fleet")
	ask("/other", "200")
	wantLog(t, weir, "200 - via_upstream /other")
	harness.EventuallyNil(t, "the access log", func() error {
		if out := weir.Stdout(); strings.Count(out, "\n") != 5 {
			return fmt.Errorf("health checks are logged:\n%s", out)
		}
		return nil
	})
}
