package translate

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/weir-proxy/weir/pkg/config/model"
)

func TestClusterResolver(t *testing.T) {
	const server = `{"socket_address": {"address": "10.0.0.1", "port_value": 53}}`
	const cares = `{"name": "cares", "typed_config": {` +
		`"@type": "type.googleapis.com/envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig", "resolvers": [` + server + `],` +
		`"dns_resolver_options": {"use_tcp_for_dns_lookups": true, "no_default_search_domain": true}}}`
	own := []netip.AddrPort{netip.MustParseAddrPort("10.0.0.1:53")}
	for _, tc := range []struct {
		name, fields string
		want         model.DNS
		err          string
	}{
		{"nothing", `"type": "STRICT_DNS"`, model.DNS{}, ""},
		{"servers", `"type": "STRICT_DNS", "dns_resolvers": [` + server + `], "use_tcp_for_dns_lookups": true`, model.DNS{Servers: own, TCP: true}, ""},
		{
			"resolution", `"type": "STRICT_DNS", "dns_resolution_config": {"resolvers": [` + server + `], "dns_resolver_options": {"no_default_search_domain": true}}`,
			model.DNS{Servers: own, NoSearch: true},
			"",
		},
		{"extension", `"type": "STRICT_DNS", "use_tcp_for_dns_lookups": false, "typed_dns_resolver_config": ` + cares, model.DNS{Servers: own, TCP: true, NoSearch: true}, ""},
		{
			"extension of a cluster extension", `"cluster_type": {"name": "envoy.cluster.dns", "typed_config": {
			"@type": "type.googleapis.com/envoy.extensions.clusters.dns.v3.DnsCluster", "dns_jitter": "2s", "typed_dns_resolver_config": ` + cares + `}}`,
			model.DNS{Servers: own, TCP: true, NoSearch: true, Jitter: 2 * time.Second},
			"",
		},
		{"by TTL", `"type": "STRICT_DNS", "respect_dns_ttl": true`, model.DNS{RespectTTL: true}, ""},
		{
			"by TTL in a cluster extension", `"respect_dns_ttl": true, "cluster_type": {"name": "envoy.cluster.dns", "typed_config": {
			"@type": "type.googleapis.com/envoy.extensions.clusters.dns.v3.DnsCluster", "respect_dns_ttl": true, "dns_min_refresh_rate": "3s"}}`,
			model.DNS{RespectTTL: true, MinRefresh: 3 * time.Second},
			"",
		},
		{
			"by TTL beside a cluster extension", `"respect_dns_ttl": true, "cluster_type": {"name": "envoy.cluster.dns", "typed_config": {
			"@type": "type.googleapis.com/envoy.extensions.clusters.dns.v3.DnsCluster"}}`, model.DNS{}, "",
		},
		{
			"too often", `"cluster_type": {"name": "envoy.cluster.dns", "typed_config": {
			"@type": "type.googleapis.com/envoy.extensions.clusters.dns.v3.DnsCluster", "dns_min_refresh_rate": "0.5s"}}`, model.DNS{}, "dns_min_refresh_rate",
		},
		{"the system", `"type": "STRICT_DNS", "typed_dns_resolver_config": {"name": "g", "typed_config": {
			"@type": "type.googleapis.com/envoy.extensions.network.dns_resolver.getaddrinfo.v3.GetAddrInfoDnsResolverConfig"}}`, model.DNS{}, ""},
		{"a name as server", `"type": "STRICT_DNS", "dns_resolvers": [{"socket_address": {"address": "dns.test", "port_value": 53}}]`, model.DNS{}, "dns_resolvers[0].socket_address"},
		{"a pipe as server", `"type": "STRICT_DNS", "dns_resolvers": [{"pipe": {"path": "/x"}}]`, model.DNS{}, "a DNS server needs an IP address"},
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
			if diff := cmp.Diff(tc.want, c.DNS, cmpopts.IgnoreFields(model.DNS{}, "RefreshRate", "Family"), cmpopts.EquateComparable(netip.AddrPort{})); diff != "" {
				t.Error(diff)
			}
		})
	}
}
