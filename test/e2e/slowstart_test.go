package e2e

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weir-proxy/weir/test/harness"
)

// A host that comes later gets few requests at first, and its full share in the end.
func TestSlowStart(t *testing.T) {
	t.Parallel()
	for name, policy := range map[string]string{
		"round robin":   "round_robin_lb_config: {%}",
		"least request": "lb_policy: LEAST_REQUEST, least_request_lb_config: {%}",
		"policy": `load_balancing_policy: {policies: [{typed_extension_config: {name: robin, typed_config: ` +
			`{"@type": type.googleapis.com/envoy.extensions.load_balancing_policies.round_robin.v3.RoundRobin, %}}}]}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			testSlowStart(t, policy)
		})
	}
}

func testSlowStart(t *testing.T, policy string) {
	const window = 3 * time.Second
	host := harness.NewHost(t)
	backends := make(map[string]*harness.HTTPBackend)
	for _, name := range []string{"a", "b", "c"} {
		backends[name] = host.HTTPBackend(name, "127.0.0.1:0")
	}
	file := filepath.Join(harness.Dir(t), "eds.yaml")
	write := func(names ...string) {
		text := `{"@type": type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment, cluster_name: shop, endpoints: [{lb_endpoints: [`
		for _, name := range names {
			text += `{endpoint: {address: ` + harness.Address(backends[name].Addr.String()) + `}}, `
		}
		harness.WriteFile(t, file, "resources: ["+text+"]}]}]")
	}
	write("a", "b")
	// With so little aggression a host has the least of its weight until the very end of its window.
	slow := "slow_start_config: {slow_start_window: 3s, aggression: {default_value: 0.05, runtime_key: speed}, min_weight_percent: {value: 5}}"
	r := startRig(t, host, rigConfig{
		routes: []string{harness.RouteTo("/", "shop")},
		clusters: []string{`{name: shop, type: EDS, eds_cluster_config: {eds_config: {path_config_source: {path: ` + file + `}}}, ` +
			strings.Replace(policy, "%", slow, 1) + `}`},
	})
	started := time.Now()
	counts := func(n int) map[string]int {
		got := make(map[string]int)
		for range n {
			_, text := r.get("/")
			got[text]++
		}
		return got
	}
	if got := counts(40); got["a\n"] < 5 || got["b\n"] < 5 { // fewer come once in five million draws
		t.Errorf("while both are new: %v, want as many of each", got)
	}
	harness.Eventually(t, "both are past their windows", func() bool { return time.Since(started) > window })

	came := time.Now()
	write("a", "b", "c")
	r.weir.AwaitStat("cluster.shop.membership_total", func(n int) bool { return n == 3 })
	got := counts(60)
	if soon := time.Since(came) < window/2; soon && got["c\n"] > 10 {
		t.Errorf("the new host has %d of 60 requests, want about 2", got["c\n"])
	}
	write("a", "c")
	r.weir.AwaitStat("cluster.shop.membership_total", func(n int) bool { return n == 2 })
	listed := time.Now()
	harness.Eventually(t, "the new host is past its window", func() bool { return time.Since(listed) > window })
	if got := counts(60); got["c\n"] < 15 {
		t.Errorf("after its window the host has %d of 60 requests, want about 30", got["c\n"])
	}
}
