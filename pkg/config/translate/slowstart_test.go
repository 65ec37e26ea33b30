package translate

import (
	"strings"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	"github.com/google/go-cmp/cmp"

	"github.com/weir-proxy/weir/pkg/config/model"
)

func TestSlowStart(t *testing.T) {
	policy := func(name, message, fields string) string {
		return `"load_balancing_policy": {"policies": [{"typed_extension_config": {"name": "p", "typed_config": {
			"@type": "type.googleapis.com/envoy.extensions.load_balancing_policies.` + name + `.v3.` + message + `"` + fields + `}}}]}`
	}
	const (
		window = `"slow_start_config": {"slow_start_window": "30s"}`
		full   = `"slow_start_config": {"slow_start_window": "30s", "aggression": {"default_value": 2, "runtime_key": "fast"}, "min_weight_percent": {"value": 25}}`
		zero   = `"slow_start_config": {"slow_start_window": "30s", "aggression": {"default_value": 0, "runtime_key": "fast"}, "min_weight_percent": {"value": 0}}`
	)
	plain := model.SlowStart{Window: 30 * time.Second, Aggression: 1, MinWeight: 0.1}
	chosen := model.SlowStart{Window: 30 * time.Second, Aggression: 2, AggressionKey: "fast", MinWeight: 0.25}
	for _, tc := range []struct {
		name, fields string
		want         model.SlowStart
		finding      string
	}{
		{"none", `"round_robin_lb_config": {}`, model.SlowStart{}, ""},
		{"round robin", `"round_robin_lb_config": {` + window + `}`, plain, ""},
		{"round robin with options", `"lb_policy": "ROUND_ROBIN", "round_robin_lb_config": {` + full + `}`, chosen, ""},
		{"least request", `"lb_policy": "LEAST_REQUEST", "least_request_lb_config": {` + full + `}`, chosen, ""},
		{"round robin policy", policy("round_robin", "RoundRobin", ", "+full), chosen, ""},
		{"least request policy", policy("least_request", "LeastRequest", ", "+window), plain, ""},
		{"without a window", `"round_robin_lb_config": {"slow_start_config": {}}`, model.SlowStart{}, ""},
		{"less than a millisecond", `"round_robin_lb_config": {"slow_start_config": {"slow_start_window": "0.0009s"}}`, model.SlowStart{}, ""},
		{
			"no aggression", `"round_robin_lb_config": {` + zero + `}`,
			model.SlowStart{Window: 30 * time.Second, Aggression: 1, AggressionKey: "fast"},
			"aggression.default_value: it is not greater than 0",
		},
		{"of another policy", `"lb_policy": "RANDOM"`, model.SlowStart{}, ""},
		{"negative", `"round_robin_lb_config": {"slow_start_config": {"slow_start_window": "-1s"}}`, model.SlowStart{}, "round_robin_lb_config.slow_start_config.slow_start_window: duration -1s is negative"},
		{"more than all", policy("round_robin", "RoundRobin", `, "slow_start_config": {"slow_start_window": "1s", "min_weight_percent": {"value": 101}}`), model.SlowStart{}, "min_weight_percent"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c, warnings, err := testTranslator(t).Cluster(parse(t, `{"name": "c", "load_assignment": {"cluster_name": "c"}, `+tc.fields+`}`, &clusterv3.Cluster{}), Meta{})
			var findings []string
			for _, w := range warnings {
				findings = append(findings, w.Path+": "+w.Reason)
			}
			for _, e := range FieldErrors(err) {
				findings = append(findings, e.Path+": "+e.Reason)
			}
			if text := strings.Join(findings, "\n"); (text == "") != (tc.finding == "") || !strings.Contains(text, tc.finding) {
				t.Fatalf("findings %q, want %q", text, tc.finding)
			}
			if err != nil {
				return
			}
			if diff := cmp.Diff(tc.want, c.SlowStart); diff != "" {
				t.Error(diff)
			}
		})
	}
}
