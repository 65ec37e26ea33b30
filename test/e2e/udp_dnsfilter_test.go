package e2e

import (
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/weir-proxy/weir/test/harness"
)

// Resolvers of applications ask whatever server they know. weir answers for the names of its table and asks another server for the rest.
// The configuration is that of examples/dns/filter.yaml.
func TestDNSFilter(t *testing.T) {
	t.Parallel()
	harness.NeedInterception(t)
	host, group := harness.NewHost(t), harness.NewCgroup(t)
	server, asked := dnsServer(t, host)
	config, err := os.ReadFile("../../examples/dns/filter.yaml")
	if err != nil {
		t.Fatal(err)
	}
	here := strings.Replace(string(config), "address: 192.0.2.53, port_value: 53", "address: "+server.Addr().String()+", port_value: "+portOf(server), 1)
	if here == string(config) {
		t.Fatal("the example's server is not where it was")
	}
	weir := host.StartWeir(harness.WeirOptions{Config: here, Capture: []*harness.Cgroup{group}})
	for _, nameserver := range []string{"10.99.0.53", "fd00:99::53"} {
		app := host.App().In(group).Resolv("nameserver " + nameserver + "\noptions timeout:5 attempts:1\n")
		for _, tc := range []struct {
			name, want string
			forwarded  bool
		}{
			{"db.mesh.internal", "10.64.0.1 fd00:64::1", false},
			{"a.web.mesh.internal", "10.64.1.1 10.64.1.2", false},
			{"shop.example", "192.0.2.7", true},
		} {
			before := asked.Load()
			for client, got := range map[string]harness.Result{
				"Go":    app.GoLookup(tc.name + "."),
				"glibc": app.Run("getent", "ahosts", tc.name),
			} {
				if found := addressesIn(got.Out); got.Status != 0 || found != tc.want {
					t.Errorf("%s asks %s for %s: %q, want %q; %+v\n%s", client, nameserver, tc.name, found, tc.want, got, weir.Log())
				}
			}
			if asks := asked.Load() != before; asks != tc.forwarded {
				t.Errorf("%s: the other server was asked: %t", tc.name, asks)
			}
		}
	}
	weir.AwaitStat("dns_filter.mesh.local_a_record_answers", func(n int) bool { return n >= 4 })
	weir.AwaitStat("dns_filter.mesh.cluster_a_record_answers", func(n int) bool { return n >= 8 })
	weir.AwaitStat("dns_filter.mesh.external_a_record_answers", func(n int) bool { return n >= 4 })
	weir.AwaitStat("dns_filter.mesh.downstream_rx_invalid_queries", func(n int) bool { return n == 0 })
	answer := strings.Join(strings.Fields(weir.Page("/weir/explain?udp=true&dst=10.99.0.53:53")), " ")
	if !strings.Contains(answer, "answers questions for the names of its table; it asks other servers") {
		t.Errorf("explain: %s", answer)
	}
}

// addressesIn are the different addresses of an answer, sorted.
func addressesIn(out string) string {
	found := slices.DeleteFunc(strings.Fields(out), func(word string) bool {
		_, err := netip.ParseAddr(word)
		return err != nil
	})
	slices.Sort(found)
	return strings.Join(slices.Compact(found), " ")
}
