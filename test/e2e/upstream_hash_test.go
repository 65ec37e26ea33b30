package e2e

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/cespare/xxhash/v2"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/upstream"
	"github.com/weir-proxy/weir/pkg/proxy/upstream/lb"
	"github.com/weir-proxy/weir/test/harness"
)

// TestUpstreamHash checks that requests go where the ring or table has the hash of what their route names: which host that
// is follows from Envoy's documentation alone, so that several proxies agree.
func TestUpstreamHash(t *testing.T) {
	t.Parallel()
	host := harness.NewHost(t)
	var addrs []netip.AddrPort
	var hosts []*upstream.Host
	for i := range 4 {
		addr := fmt.Sprintf("127.0.0.1:%d", 9000+i)
		addrs = append(addrs, host.HTTPBackend(addr, addr).Addr)
		hosts = append(hosts, upstream.NewHost(netip.MustParseAddrPort(addr)))
	}
	clusters := map[string]struct {
		yaml string
		set  lb.Options
	}{
		"ring": {"lb_policy: RING_HASH", lb.Options{Policy: model.LBRingHash}},
		"murmur": {
			"lb_policy: RING_HASH, ring_hash_lb_config: {hash_function: MURMUR_HASH_2, minimum_ring_size: 64}",
			lb.Options{Policy: model.LBRingHash, Hash: model.HashBalancer{Murmur: true, MinRing: 64}},
		},
		"maglev": {
			`load_balancing_policy: {policies: [{typed_extension_config: {name: m, typed_config: {"@type": ` +
				`type.googleapis.com/envoy.extensions.load_balancing_policies.maglev.v3.Maglev, table_size: 251}}}]}`,
			lb.Options{Policy: model.LBMaglev, Hash: model.HashBalancer{TableSize: 251}},
		},
	}
	var routes, list []string
	for name, c := range clusters {
		list = append(list, harness.Cluster(name, addrs, c.yaml))
		routes = append(routes, fmt.Sprintf("{match: {prefix: /%s}, route: {cluster: %s, hash_policy: [{header: {header_name: x-user}}]}}", name, name))
	}
	r := startRig(t, host, rigConfig{routes: routes, clusters: list})
	for name, c := range clusters {
		set := lb.New(hosts, c.set)
		used := map[string]bool{}
		for i := range 30 {
			user := fmt.Sprintf("user-%d", i)
			want, _ := set.Pick(&upstream.PickContext{Hash: xxhash.Sum64String(user), HasHash: true})
			_, got := r.get("/"+name, "x-user: "+user)
			if got = strings.TrimSpace(got); got != want.Name() {
				t.Errorf("%s: %s went to %s, want %s", name, user, got, want.Name())
			}
			used[got] = true
		}
		if len(used) != len(hosts) {
			t.Errorf("%s: only %d hosts were used", name, len(used))
		}
	}
	r.stats(map[string]int{"cluster.ring.ring_hash_lb.size": 1024, "cluster.murmur.ring_hash_lb.size": 64, "cluster.maglev.maglev_lb.max_entries_per_host": 63})
}
