package cluster

import (
	"net/netip"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/upstream"
)

// changes collects what Options.Changed is told.
type changes struct {
	mu    sync.Mutex
	names []string
}

func (c *changes) add(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.names = append(c.names, name)
}

// take returns each name once, in order, and forgets them.
func (c *changes) take() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	slices.Sort(c.names)
	out := slices.Compact(c.names)
	c.names = nil
	return out
}

func addrs(list ...string) []netip.AddrPort {
	out := make([]netip.AddrPort, len(list))
	for i, a := range list {
		out[i] = netip.MustParseAddrPort(a)
	}
	return out
}

func TestChangedNamesClusters(t *testing.T) {
	var told changes
	h := newHarness(t, func(o *Options) { o.Changed = told.add })
	step := func(what string, snap *model.Snapshot, want ...string) {
		t.Helper()
		h.Apply(snap)
		if d := cmp.Diff(want, told.take()); d != "" {
			t.Errorf("%s (-want +got):\n%s", what, d)
		}
	}
	one, two := static("one", addrs("10.0.0.1:1")...), eds("two")
	first := snapshot(one, two)
	step("two come", first, "one", "two")
	second := *first
	second.Endpoints = second.Endpoints.With("two", endpoints(addrs("10.0.0.2:1", "10.0.0.3:1")...))
	step("endpoints", &second, "two")
	if parts := h.Get("two").Outline().Parts; len(parts) != 1 || len(parts[0].Groups[0].Hosts) != 2 {
		t.Errorf("outline of the new endpoints: %+v", parts)
	}
	step("nothing", &second)
	third := second
	third.Clusters = third.Clusters.Without("one")
	step("one goes", &third, "one")
}

func TestDirect(t *testing.T) {
	self := netip.MustParseAddrPort("10.0.0.9:1")
	h := newHarness(t, func(o *Options) { o.Self = func(a netip.AddrPort) bool { return a == self } })
	plain, tls, all := static("plain", self), static("tls", self), static("all", self)
	tls.TLS = &model.UpstreamTLS{}
	all.Type, all.DNS.Family = model.ClusterLogicalDNS, model.DNSAll
	h.Apply(snapshot(plain, tls, all))
	at := func(addr string) *upstream.Host { return upstream.NewHost(netip.MustParseAddrPort(addr)) }
	more := at("10.0.0.1:1")
	more.Endpoint = &model.Endpoint{AdditionalAddresses: addrs("10.0.0.2:1")}
	tests := []struct {
		name, cluster string
		host          *upstream.Host
		want          string
	}{
		{"plain", "plain", at("10.0.0.1:1"), ""},
		{"unix socket", "plain", &upstream.Host{Pipe: "/run/x"}, "is a unix socket"},
		{"weir itself", "plain", at("10.0.0.9:1"), "is weir itself"},
		{"zone", "plain", at("[fe80::1%eth0]:1"), "has an address that needs a zone"},
		{"tls", "tls", at("10.0.0.1:1"), "is reached over TLS"},
		{"more addresses", "plain", more, "has additional_addresses, which are tried in turn"},
		{"all addresses of a name", "all", at("10.0.0.1:1"), "may have more than one address (dns_lookup_family ALL), which are tried in turn"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := h.Get(tt.cluster).Direct(tt.host); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestMaxConnectionsOfDial(t *testing.T) {
	h := newHarness(t)
	few, many := static("few"), static("many")
	few.Breakers[0] = model.CircuitBreaker{MaxConnections: 7, MaxPendingRequests: 1024, MaxRequests: 9, MaxRetries: 3}
	many.Breakers[0] = model.CircuitBreaker{MaxConnections: 7, MaxPendingRequests: 1024, MaxRequests: 5, MaxRetries: 3}
	h.Apply(snapshot(static("default"), few, many))
	for name, want := range map[string]uint32{"default": 1024, "few": 7, "many": 5} {
		if got := h.Get(name).MaxConnections(); got != want {
			t.Errorf("%s: %d connections, want %d", name, got, want)
		}
	}
}
