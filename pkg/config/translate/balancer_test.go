package translate

import (
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
)

func TestLocalityWeighted(t *testing.T) {
	policy := func(name, message, fields string) string {
		return `"load_balancing_policy": {"policies": [{"typed_extension_config": {"name": "p", "typed_config": {
			"@type": "type.googleapis.com/envoy.extensions.load_balancing_policies.` + name + `.v3.` + message + `"` + fields + `}}}]}`
	}
	const weighted = `, "locality_lb_config": {"locality_weighted_lb_config": {}}`
	for _, tc := range []struct {
		name, fields string
		want         bool
	}{
		{"nothing", `"lb_policy": "ROUND_ROBIN"`, false},
		{"common options", `"common_lb_config": {"locality_weighted_lb_config": {}}`, true},
		{"common options beside a policy", `"common_lb_config": {"locality_weighted_lb_config": {}}, ` + policy("random", "Random", ""), false},
		{"round robin", policy("round_robin", "RoundRobin", weighted), true},
		{"round robin without", policy("round_robin", "RoundRobin", ""), false},
		{"least request", policy("least_request", "LeastRequest", weighted), true},
		{"random", policy("random", "Random", weighted), true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c, warnings, err := testTranslator(t).Cluster(parse(t, `{"name": "c", "load_assignment": {"cluster_name": "c"}, `+tc.fields+`}`, &clusterv3.Cluster{}), Meta{})
			if err != nil || len(warnings) > 0 {
				t.Fatalf("error %v, warnings %v", err, warnings)
			}
			if c.LocalityWeighted != tc.want {
				t.Errorf("got %v, want %v", c.LocalityWeighted, tc.want)
			}
		})
	}
}
