package translate

import (
	"strings"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	"github.com/google/go-cmp/cmp"

	"github.com/weir-proxy/weir/pkg/config/model"
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

func TestHashBalancers(t *testing.T) {
	policy := func(name, message, fields string) string {
		return `"load_balancing_policy": {"policies": [{"typed_extension_config": {"name": "p", "typed_config": {
			"@type": "type.googleapis.com/envoy.extensions.load_balancing_policies.` + name + `.v3.` + message + `"` + fields + `}}}]}`
	}
	ring := model.HashBalancer{MinRing: 1024, MaxRing: 8388608}
	sized := model.HashBalancer{MinRing: 10, MaxRing: 20, Murmur: true, UseHostname: true, BalanceFactor: 120}
	table := model.HashBalancer{TableSize: 65537}
	seven := model.HashBalancer{TableSize: 7, UseHostname: true, BalanceFactor: 150}
	const common = `{"use_hostname_for_hashing": true, "hash_balance_factor": `
	for _, tc := range []struct {
		name, fields string
		lb           model.LBPolicy
		want         model.HashBalancer
		err          string
	}{
		{"ring", `"lb_policy": "RING_HASH"`, model.LBRingHash, ring, ""},
		{"ring with options", `"lb_policy": "RING_HASH", "ring_hash_lb_config": {"minimum_ring_size": 10, "maximum_ring_size": 20, "hash_function": "MURMUR_HASH_2"},
			"common_lb_config": {"consistent_hashing_lb_config": ` + common + `120}}`, model.LBRingHash, sized, ""},
		{"ring policy", policy("ring_hash", "RingHash", ""), model.LBRingHash, ring, ""},
		{"ring policy with options", policy("ring_hash", "RingHash", `, "minimum_ring_size": 10, "maximum_ring_size": 20, "hash_function": "MURMUR_HASH_2",
			"consistent_hashing_lb_config": `+common+`120}`), model.LBRingHash, sized, ""},
		{"ring policy with deprecated options", policy("ring_hash", "RingHash", `, "minimum_ring_size": 10, "maximum_ring_size": 20, "hash_function": "MURMUR_HASH_2",
			"use_hostname_for_hashing": true, "hash_balance_factor": 120`), model.LBRingHash, sized, ""},
		{"maglev", `"lb_policy": "MAGLEV"`, model.LBMaglev, table, ""},
		{"maglev with options", `"lb_policy": "MAGLEV", "maglev_lb_config": {"table_size": 7},
			"common_lb_config": {"consistent_hashing_lb_config": ` + common + `150}}`, model.LBMaglev, seven, ""},
		{"maglev policy", policy("maglev", "Maglev", ""), model.LBMaglev, table, ""},
		{"maglev policy with options", policy("maglev", "Maglev", `, "table_size": 7, "consistent_hashing_lb_config": `+common+`150}`), model.LBMaglev, seven, ""},
		{
			"a ring with its bounds crossed", `"lb_policy": "RING_HASH", "ring_hash_lb_config": {"minimum_ring_size": 20, "maximum_ring_size": 10}`,
			0, ring, "ring_hash_lb_config: ring hash: minimum_ring_size (20) > maximum_ring_size (10)",
		},
		{"a ring below the default bound", policy("ring_hash", "RingHash", `, "maximum_ring_size": 10`), 0, ring, "minimum_ring_size (1024) > maximum_ring_size (10)"},
		{"a ring that is too large", `"lb_policy": "RING_HASH", "ring_hash_lb_config": {"minimum_ring_size": 8388609}`, 0, ring, "less than or equal to 8388608"},
		{"a table that is not prime", `"lb_policy": "MAGLEV", "maglev_lb_config": {"table_size": 8}`, 0, table, "maglev_lb_config.table_size: The table size of maglev must be prime number"},
		{"a table that is empty", `"lb_policy": "MAGLEV", "maglev_lb_config": {"table_size": 0}`, 0, table, "must be prime number"},
		{"a table that is too large", policy("maglev", "Maglev", `, "table_size": 5000077`), 0, table, "5000011"},
		{"a balance factor that is too low", policy("maglev", "Maglev", `, "consistent_hashing_lb_config": `+common+`99}`), 0, table, "100"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c, warnings, err := testTranslator(t).Cluster(parse(t, `{"name": "c", "load_assignment": {"cluster_name": "c"}, `+tc.fields+`}`, &clusterv3.Cluster{}), Meta{})
			if tc.err != "" {
				if err == nil || !strings.Contains(err.Error(), tc.err) {
					t.Fatalf("error %v, want %q", err, tc.err)
				}
				return
			}
			if err != nil || len(warnings) > 0 {
				t.Fatalf("error %v, warnings %v", err, warnings)
			}
			if diff := cmp.Diff(tc.want, c.HashLB); c.LB != tc.lb || diff != "" {
				t.Errorf("policy %d, options differ (-want +got):\n%s", c.LB, diff)
			}
		})
	}
}
