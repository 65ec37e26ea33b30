package translate

import (
	"strings"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	"github.com/google/go-cmp/cmp"

	"github.com/weir-proxy/weir/pkg/config/model"
)

func TestConnectionLimits(t *testing.T) {
	c, warnings, err := testTranslator(t).Cluster(parse(t, `{"name": "c", "load_assignment": {"cluster_name": "c"},
		"preconnect_policy": {"per_upstream_preconnect_ratio": 1.5, "predictive_preconnect_ratio": 2},
		"circuit_breakers": {
			"thresholds": [{"max_connection_pools": 7}, {"priority": "HIGH", "max_connections": 3}],
			"per_host_thresholds": [{"max_connections": 4}, {"max_connections": 9}, {"priority": "HIGH", "max_connections": 5, "max_retries": 1}]}}`,
		&clusterv3.Cluster{}), Meta{})
	if err != nil {
		t.Fatal(err)
	}
	if len(warnings) != 1 || warnings[0].Path != "circuit_breakers.per_host_thresholds[2]" {
		t.Errorf("warnings %v", warnings)
	}
	if c.Breakers[0].MaxConnectionPools != 7 || c.Breakers[1].MaxConnectionPools != 0 {
		t.Errorf("pools %d and %d, want 7 and no bound", c.Breakers[0].MaxConnectionPools, c.Breakers[1].MaxConnectionPools)
	}
	if diff := cmp.Diff([2]uint32{4, 5}, c.HostConnections); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(model.Preconnect{PerHost: 1.5, Predictive: 2}, c.Preconnect); diff != "" {
		t.Error(diff)
	}
	c, _, err = testTranslator(t).Cluster(parse(t, `{"name": "c", "load_assignment": {"cluster_name": "c"}}`, &clusterv3.Cluster{}), Meta{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(model.Preconnect{PerHost: 1, Predictive: 1}, c.Preconnect); diff != "" {
		t.Error(diff)
	}
	if _, _, err = testTranslator(t).Cluster(parse(t, `{"name": "c", "load_assignment": {"cluster_name": "c"},
		"preconnect_policy": {"predictive_preconnect_ratio": 3.5}}`, &clusterv3.Cluster{}), Meta{}); err == nil {
		t.Error("a ratio above 3 passes")
	}
}

func TestSourceAddresses(t *testing.T) {
	const four, four2, six = `{"address": "10.0.0.1", "port_value": 0}`, `{"address": "10.0.0.2", "port_value": 0}`, `{"address": "::1", "port_value": 0}`
	for _, tc := range []struct{ fields, bind, other, err string }{
		{`"source_address": ` + four, "10.0.0.1:0", "invalid AddrPort", ""},
		{`"source_address": ` + four + `, "extra_source_addresses": [{"address": ` + six + `}]`, "10.0.0.1:0", "[::1]:0", ""},
		{`"source_address": ` + four + `, "extra_source_addresses": [{"address": ` + four2 + `}]`, "", "", "same IP version"},
		{`"source_address": ` + four + `, "extra_source_addresses": [{"address": ` + six + `}, {"address": ` + six + `}]`, "", "", "more than one extra"},
		{`"extra_source_addresses": [{"address": ` + six + `}]`, "", "", "no source_address"},
	} {
		c, warnings, err := testTranslator(t).Cluster(parse(t, `{"name": "c", "load_assignment": {"cluster_name": "c"}, "upstream_bind_config": {`+tc.fields+`}}`, &clusterv3.Cluster{}), Meta{})
		switch {
		case tc.err != "":
			if err == nil || !strings.Contains(err.Error(), tc.err) {
				t.Errorf("%s: error %v, want %q", tc.fields, err, tc.err)
			}
		case err != nil || len(warnings) > 0:
			t.Errorf("%s: error %v, warnings %v", tc.fields, err, warnings)
		case c.BindAddress.String() != tc.bind || c.BindOther.String() != tc.other:
			t.Errorf("%s: %v and %v", tc.fields, c.BindAddress, c.BindOther)
		}
	}
}
