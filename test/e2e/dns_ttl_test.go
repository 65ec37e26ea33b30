package e2e

import (
	"fmt"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/weir-proxy/weir/test/harness"
)

// A name is asked for again when its answer is no longer good, and at the rate of the cluster where the answer says nothing of that.
func TestDNSByTTL(t *testing.T) {
	t.Parallel()
	host := harness.NewHost(t)
	host.HTTPBackend("one", "127.0.0.2:80")
	host.HTTPBackend("two", "127.0.0.3:80")
	var moved atomic.Bool
	server, _ := dnsServerOf(t, host, func(name string) ([4]byte, uint32) {
		addr, ttl := [4]byte{127, 0, 0, 2}, uint32(1)
		if moved.Load() {
			addr[3] = 3
		}
		if strings.HasPrefix(name, "zero.") {
			ttl = 0
		}
		return addr, ttl
	})
	var routes, clusters []string
	for _, c := range dnsByTTL(server) {
		routes = append(routes, harness.RouteTo("/"+c.name, c.name))
		clusters = append(clusters, fmt.Sprintf(`{name: %s, %s, max_requests_per_connection: 1, load_assignment: {cluster_name: %s, endpoints: [{lb_endpoints: [`+
			`{endpoint: {address: {socket_address: {address: %s.test., port_value: 80}}}}]}]}}`, c.name, c.fields, c.name, c.name))
	}
	r := startRig(t, host, rigConfig{routes: routes, clusters: clusters})
	for _, c := range dnsByTTL(server) {
		r.want(200, "one")(r.get("/" + c.name))
	}
	moved.Store(true)
	for _, c := range dnsByTTL(server) {
		if c.follows {
			harness.Eventually(t, c.name+" follows", func() bool {
				_, text := r.get("/" + c.name)
				return text == "two\n"
			})
		}
	}
	for _, c := range dnsByTTL(server) {
		if !c.follows {
			r.want(200, "one")(r.get("/" + c.name))
			r.stats(map[string]int{"cluster." + c.name + ".update_attempt": 1})
		}
	}
}

// ttlCluster is a cluster that asks once an hour unless the TTL counts, and whether it follows a name whose TTL is a second.
type ttlCluster struct {
	name, fields string
	follows      bool
}

func dnsByTTL(server netip.AddrPort) []ttlCluster {
	const hourly, by = "dns_refresh_rate: 3600s, dns_lookup_family: V4_ONLY", ", respect_dns_ttl: true"
	resolver := `, typed_dns_resolver_config: {name: cares, typed_config: {"@type": type.googleapis.com/envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig, ` +
		`resolvers: [` + harness.Address(server.String()) + `]}}`
	extension := func(more string) string {
		return `cluster_type: {name: envoy.cluster.dns, typed_config: {"@type": type.googleapis.com/envoy.extensions.clusters.dns.v3.DnsCluster, ` + hourly + resolver + more + `}}`
	}
	return []ttlCluster{
		{"strict", "type: STRICT_DNS, " + hourly + resolver + by, true},
		{"logical", "type: LOGICAL_DNS, " + hourly + resolver + by, true},
		{"extension", extension(by), true},
		{"single", extension(by + ", all_addresses_in_single_endpoint: true"), true},
		{"rate", "type: STRICT_DNS, " + hourly + resolver, false},
		{"zero", "type: STRICT_DNS, " + hourly + resolver + by, false},
		{"least", extension(by + ", dns_min_refresh_rate: 3600s"), false},
	}
}
