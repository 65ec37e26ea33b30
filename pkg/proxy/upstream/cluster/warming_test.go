package cluster

import (
	"context"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/test/await"
)

// gated answers for one name only once the gate is open.
type gated struct {
	*names
	name string
	open chan struct{}
}

func (g *gated) LookupNetIP(ctx context.Context, network, name string) ([]netip.Addr, error) {
	if name == g.name {
		select {
		case <-g.open:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return g.names.LookupNetIP(ctx, network, name)
}

// TestUpdatedClusterServesFromOldHosts checks that a changed DNS cluster does not lose its hosts before it knows others.
func TestUpdatedClusterServesFromOldHosts(t *testing.T) {
	for _, tc := range []struct {
		name    string
		from    func(port uint16) *model.Cluster
		resolve string
		want    []string
	}{
		{"same way to connect", func(port uint16) *model.Cluster { return dnsCluster(model.ClusterStrictDNS, "old.test", port) }, "127.0.0.5", []string{"127.0.0.5:80 new.test"}},
		{"other way to connect", func(port uint16) *model.Cluster {
			return static("web", netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port))
		}, "127.0.0.5", []string{"127.0.0.5:80 new.test"}},
		{"the new name does not exist", func(port uint16) *model.Cluster { return dnsCluster(model.ClusterStrictDNS, "old.test", port) }, "", nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := plainBackend(t, nil)
			g := &gated{names: newNames(), name: "new.test", open: make(chan struct{})}
			g.set("old.test", "127.0.0.1")
			if tc.resolve != "" {
				g.set("new.test", tc.resolve)
			}
			h := newHarness(t, func(o *Options) { o.Resolver = g })
			h.Apply(snapshot(tc.from(b.addr.Port())))
			if err := h.WaitReady(t.Context(), "web"); err != nil {
				t.Fatal(err)
			}
			h.mustGet("web")
			changed := dnsCluster(model.ClusterStrictDNS, "new.test", 80)
			h.Apply(snapshot(changed))
			if h.Get("web").Config() != changed {
				t.Error("the new configuration is not in place")
			}
			if got := h.mustGet("web"); got != b.addr.String() {
				t.Errorf("while it warms: got %q", got)
			}
			close(g.open)
			if err := h.WaitReady(t.Context(), "web"); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tc.want, hostNames(h.Get("web"))); d != "" {
				t.Errorf("hosts (-want +got):\n%s", d)
			}
			await.True(t, "the old connections to close", func() bool { return h.gauge("cluster.web.upstream_cx_active") == 0 && b.open.Load() == 0 })
		})
	}
}

// TestWarmingClusterIsReplaced checks what follows upon a cluster that still has its predecessor's hosts.
func TestWarmingClusterIsReplaced(t *testing.T) {
	for _, from := range []string{"same", "other"} {
		t.Run(from, func(t *testing.T) {
			b := plainBackend(t, nil)
			g := &gated{names: newNames(), name: "never.test", open: make(chan struct{})}
			g.set("old.test", "127.0.0.1")
			h := newHarness(t, func(o *Options) { o.Resolver = g })
			first := dnsCluster(model.ClusterStrictDNS, "old.test", b.addr.Port())
			if from == "other" {
				first = static("web", b.addr)
			}
			h.Apply(snapshot(first))
			if err := h.WaitReady(t.Context(), "web"); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				h.Apply(snapshot(dnsCluster(model.ClusterStrictDNS, "never.test", 80)))
				if got := h.mustGet("web"); got != b.addr.String() {
					t.Errorf("got %q", got)
				}
			}
			h.Apply(snapshot(dnsCluster(model.ClusterStrictDNS, "old.test", b.addr.Port())))
			if err := h.WaitReady(t.Context(), "web"); err != nil {
				t.Fatal(err)
			}
			h.mustGet("web")
			h.Apply(snapshot(dnsCluster(model.ClusterStrictDNS, "never.test", 80)))
			h.mustGet("web")
			h.Apply(snapshot())
			await.True(t, "the connections to close", func() bool { return b.open.Load() == 0 })
		})
	}
}
