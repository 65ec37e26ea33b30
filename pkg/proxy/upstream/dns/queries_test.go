package dns

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"testing"

	"github.com/weir-proxy/weir/pkg/observe/stats"
)

// answers is a resolver that gives one answer.
type answers struct {
	addrs []netip.Addr
	err   error
	asked func()
}

func (a answers) LookupNetIP(context.Context, string, string) ([]netip.Addr, error) {
	a.asked()
	return a.addrs, a.err
}

func TestQueriesAreCounted(t *testing.T) {
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	for _, tc := range []struct {
		name string
		ctx  context.Context
		err  error
		want string // the counter beside resolve_total
	}{
		{"found", t.Context(), nil, ""},
		{"no such name", t.Context(), &net.DNSError{IsNotFound: true}, "not_found"},
		{"no address of the family", t.Context(), &net.AddrError{Err: "no suitable address found"}, "not_found"},
		{"no answer", t.Context(), &net.DNSError{IsTimeout: true}, "timeout"},
		{"bad answer", t.Context(), &net.DNSError{Err: "server misbehaving"}, "get_addr_failure"},
		{"another failure", t.Context(), errors.New("no route"), "get_addr_failure"},
		{"given up", gone, &net.DNSError{Err: "operation was canceled"}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			root := stats.NewStore().Root()
			pending := root.Gauge("dns.cares.pending_resolutions")
			r := NewQueries(root).Of(answers{[]netip.Addr{netip.MustParseAddr("192.0.2.1")}, tc.err, func() {
				if n := pending.Value(); n != 1 {
					t.Errorf("%d are pending during a query", n)
				}
			}})
			_, _ = r.LookupNetIP(tc.ctx, "ip4", "a.test")
			_, _, _ = asker(r, true)(tc.ctx, "ip4", "a.test")
			for _, name := range []string{"not_found", "timeout", "get_addr_failure"} {
				want := uint64(0)
				if name == tc.want {
					want = 2
				}
				if got := root.Counter("dns.cares." + name).Value(); got != want {
					t.Errorf("%s is %d, want %d", name, got, want)
				}
			}
			if n := root.Counter("dns.cares.resolve_total").Value(); n != 2 || pending.Value() != 0 {
				t.Errorf("resolve_total is %d, pending_resolutions %d", n, pending.Value())
			}
		})
	}
}
