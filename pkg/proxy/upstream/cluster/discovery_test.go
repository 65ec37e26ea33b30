package cluster

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
	"github.com/weir-proxy/weir/pkg/proxy/upstream"
	"github.com/weir-proxy/weir/test/await"
)

// names is a resolver; names without addresses do not exist.
type names struct {
	mu    sync.Mutex
	addrs map[string][]netip.Addr
	block chan struct{} // lookups wait for it when not nil
}

func (n *names) LookupNetIP(ctx context.Context, _, name string) ([]netip.Addr, error) {
	if n.block != nil {
		select {
		case <-n.block:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.addrs[name]) == 0 {
		return nil, &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
	}
	return n.addrs[name], nil
}

func (n *names) set(name string, addrs ...string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.addrs[name] = nil
	for _, a := range addrs {
		n.addrs[name] = append(n.addrs[name], netip.MustParseAddr(a))
	}
}

func newNames() *names { return &names{addrs: make(map[string][]netip.Addr)} }

func dnsCluster(kind model.ClusterType, name string, port uint16) *model.Cluster {
	c := static("web")
	c.Type = kind
	c.DNS = model.DNS{Family: model.DNSV4Only, RefreshRate: 5 * time.Millisecond}
	c.Inline.Localities[0].Endpoints = []*model.Endpoint{{Host: name, Port: port, Weight: 1}}
	return c
}

func hostNames(c *Cluster) (out []string) {
	for _, h := range c.Hosts() {
		out = append(out, h.Name()+" "+h.Hostname)
	}
	return out
}

func TestStrictDNS(t *testing.T) {
	n := newNames()
	n.set("web.test", "127.0.0.1", "127.0.0.2")
	h := newHarness(t, func(o *Options) { o.Resolver = n })
	cfg := dnsCluster(model.ClusterStrictDNS, "web.test", 80)
	cfg.Inline.Localities[0].Endpoints = append(cfg.Inline.Localities[0].Endpoints,
		&model.Endpoint{Address: netip.MustParseAddrPort("10.1.1.1:81"), Hostname: "literal"})
	h.Apply(snapshot(cfg))
	if err := h.WaitReady(t.Context(), "web", "unknown"); err != nil {
		t.Fatal(err)
	}
	want := []string{"127.0.0.1:80 web.test", "127.0.0.2:80 web.test", "10.1.1.1:81 literal"}
	if d := cmp.Diff(want, hostNames(h.Get("web"))); d != "" {
		t.Errorf("hosts (-want +got):\n%s", d)
	}
	host, unchanged := h.Get("web").Hosts()[0], h.counter("cluster.web.update_no_rebuild")
	n.set("web.test", "127.0.0.2", "127.0.0.1")
	await.True(t, "a rotated answer", func() bool { return h.counter("cluster.web.update_no_rebuild") > unchanged+2 })
	if h.Get("web").Hosts()[0] != host {
		t.Error("a rotated answer rebuilt the hosts")
	}
	n.set("web.test", "127.0.0.3")
	await.True(t, "the new address", func() bool { return len(h.Get("web").Hosts()) == 2 })
	n.set("web.test")
	before := h.counter("cluster.web.update_empty")
	await.True(t, "an empty answer", func() bool { return h.counter("cluster.web.update_empty") > before })
	if got := hostNames(h.Get("web")); got[0] != "127.0.0.3:80 web.test" {
		t.Errorf("the last good set was not kept: %v", got)
	}

	if asked := h.counter("dns.cares.resolve_total"); asked <= unchanged+2 {
		t.Errorf("dns.cares.resolve_total is %d after more than %d answers", asked, unchanged+2)
	}

	was := h.Get("web")
	changed := dnsCluster(model.ClusterStrictDNS, "web.test", 80)
	changed.ConnectTimeout = time.Second
	h.Apply(snapshot(changed))
	if got := hostNames(h.Get("web")); len(got) != 1 || got[0] != "127.0.0.3:80 web.test" || h.Get("web") == was {
		t.Errorf("a changed cluster starts with hosts %v, want the known ones", got)
	}
}

func TestWaitReadyGivesUp(t *testing.T) {
	n := newNames()
	n.block = make(chan struct{})
	h := newHarness(t, func(o *Options) { o.Resolver = n })
	h.Apply(snapshot(dnsCluster(model.ClusterStrictDNS, "web.test", 80)))
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
	defer cancel()
	if err := h.WaitReady(ctx, "web"); err == nil {
		t.Error("ready before the first answer")
	}
	close(n.block)
	if err := h.WaitReady(t.Context(), "web"); err != nil {
		t.Errorf("not ready after a name that does not exist: %v", err)
	}
}

func TestLogicalDNSKeepsConnections(t *testing.T) {
	b := plainBackend(t, nil)
	n := newNames()
	n.set("web.test", "127.0.0.1", "127.0.0.9")
	h := newHarness(t, func(o *Options) { o.Resolver = n })
	h.Apply(snapshot(dnsCluster(model.ClusterLogicalDNS, "web.test", b.addr.Port())))
	if err := h.WaitReady(t.Context(), "web"); err != nil {
		t.Fatal(err)
	}
	h.mustGet("web")
	n.set("web.test", "127.0.0.3")
	want := fmt.Sprintf("127.0.0.3:%d web.test", b.addr.Port())
	await.True(t, "the new address", func() bool { return hostNames(h.Get("web"))[0] == want })
	h.mustGet("web")
	if n := b.conns.Load(); n != 1 {
		t.Errorf("%d connections, want the old one to serve on", n)
	}
	if got := hostNames(h.Get("web")); len(got) != 1 {
		t.Errorf("hosts %v, want one", got)
	}
}

func TestOriginalDst(t *testing.T) {
	b := plainBackend(t, nil)
	self := netip.MustParseAddrPort("127.0.0.1:9")
	h := newHarness(t, func(o *Options) { o.Self = func(a netip.AddrPort) bool { return a == self } })
	cfg := static("web")
	cfg.Inline, cfg.Type, cfg.LB, cfg.CleanupInterval = nil, model.ClusterOriginalDst, model.LBClusterProvided, 10*time.Millisecond
	cfg.IdleTimeout = 5 * time.Millisecond
	h.Apply(snapshot(cfg))
	c := h.Get("web")
	if _, err := c.Pick(&upstream.PickContext{}); !isKind(err, upstream.KindNoHost) {
		t.Errorf("no destination gives %v", err)
	}
	if _, err := c.Pick(&upstream.PickContext{OriginalDst: self}); !isKind(err, upstream.KindSelf) {
		t.Errorf("weir itself as destination gives %v", err)
	}
	mapped := netip.AddrPortFrom(netip.AddrFrom16(b.addr.Addr().As16()), b.addr.Port())
	host, err := c.Pick(&upstream.PickContext{OriginalDst: mapped})
	if err != nil || host.Address != b.addr {
		t.Fatalf("picked %v, %v", host, err)
	}
	s, err := c.Connect(t.Context(), host, message.HTTP11, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Hosts()) != 1 {
		t.Errorf("hosts %v, want one", c.Hosts())
	}
	if body, err := exchange(s); err != nil || body != b.addr.String() {
		t.Errorf("answer %q, %v", body, err)
	}
	await.True(t, "the unused host to be swept", func() bool { return len(c.Hosts()) == 0 })
	h.want("gauge", h.gauge, map[string]uint64{"cluster.web.membership_total": 0, "cluster.web.upstream_cx_active": 0})

	changed := *cfg
	changed.OriginalDst.PortOverride = 8080
	h.Apply(snapshot(&changed))
	if host, err := h.Get("web").Pick(&upstream.PickContext{OriginalDst: b.addr}); err != nil || host.Address.Port() != 8080 {
		t.Errorf("port override: picked %v, %v", host, err)
	}
	if host, err := c.Pick(&upstream.PickContext{OriginalDst: b.addr}); err != nil || host == nil {
		t.Errorf("the replaced cluster does not serve on: %v", err)
	}
	pc := &upstream.PickContext{OriginalDst: b.addr}
	if n := testing.AllocsPerRun(100, func() { _, _ = h.Get("web").Pick(pc) }); n != 0 {
		t.Errorf("a known destination costs %v allocations", n)
	}
}
