package udpproxy

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/observe/log"
	"github.com/weir-proxy/weir/pkg/observe/stats"
	"github.com/weir-proxy/weir/pkg/proxy/conn/conntest"
	"github.com/weir-proxy/weir/pkg/proxy/streaminfo"
	"github.com/weir-proxy/weir/pkg/proxy/timer"
	"github.com/weir-proxy/weir/pkg/proxy/udp"
	"github.com/weir-proxy/weir/pkg/proxy/upstream/cluster"
	"github.com/weir-proxy/weir/test/await"
)

// bed is a listener of datagrams in front of a proxy and real clusters.
type bed struct {
	t        testing.TB
	store    *stats.Store
	clusters *cluster.Manager
	udp      *udp.Manager
	snap     *model.Snapshot

	mu   sync.Mutex
	logs []streaminfo.Info
}

func newBed(t testing.TB) *bed {
	t.Helper()
	b := &bed{t: t, store: stats.NewStore(), snap: &model.Snapshot{}}
	wheel, poller := timer.New(), conntest.Poller(t)
	t.Cleanup(wheel.Close)
	b.clusters = cluster.New(cluster.Options{Stats: b.store.Root(), Log: log.ForTest(t), Wheel: wheel, Poller: poller})
	t.Cleanup(b.clusters.Close)
	b.udp = udp.New(udp.Options{Stats: b.store.Root(), Log: log.ForTest(t), NewHandler: func(l *model.Listener) (udp.Handler, error) {
		return New(l.ListenerFilters[0].Config.(*model.UDPProxy), Deps{
			Stats: b.store.Root(), Log: log.ForTest(t), Wheel: wheel, Listener: l.Name,
			Cluster: func(name string) Cluster {
				if c := b.clusters.Get(name); c != nil {
					return c
				}
				return nil
			},
			SessionLog: func(info *streaminfo.Info, final bool) {
				b.mu.Lock()
				defer b.mu.Unlock()
				if final {
					b.logs = append(b.logs, *info)
				}
			},
		}), nil
	}})
	t.Cleanup(b.udp.Close)
	return b
}

// cluster makes the hosts those of cluster "c".
func (b *bed) cluster(change func(*model.Cluster), hosts ...netip.AddrPort) {
	b.t.Helper()
	local := &model.Locality{}
	for _, h := range hosts {
		local.Endpoints = append(local.Endpoints, &model.Endpoint{Address: h, Weight: 1})
	}
	c := &model.Cluster{Resource: model.Resource{Name: "c"}, Type: model.ClusterStatic, Inline: &model.LoadAssignment{Localities: []*model.Locality{local}}}
	for i := range c.Breakers {
		c.Breakers[i].MaxConnections = 1024
	}
	if change != nil {
		change(c)
	}
	snap := *b.snap
	snap.Clusters = model.SetOf(map[string]*model.Cluster{"c": c})
	b.snap = &snap
	b.clusters.Apply(b.snap)
}

// listen serves cfg at 127.0.0.1 and ::1, and returns the addresses.
func (b *bed) listen(cfg model.UDPProxy, addrs ...string) []netip.AddrPort {
	b.t.Helper()
	if cfg.StatPrefix == "" {
		cfg.StatPrefix = "p"
	}
	if cfg.Upstream.MaxDatagram == 0 {
		cfg.Upstream.MaxDatagram = 1500
	}
	l := &model.Listener{
		Resource: model.Resource{Name: "l"}, StatPrefix: "l", BindToPort: true, UDP: &model.UDPSocket{MaxDatagram: 1500},
		ListenerFilters: []*model.ListenerFilter{{Config: &cfg}},
	}
	if len(addrs) == 0 {
		addrs = []string{"127.0.0.1:0", "[::1]:0"}
	}
	for i, a := range addrs {
		if ap := netip.MustParseAddrPort(a); i == 0 {
			l.Address = ap
		} else {
			l.AdditionalAddresses = append(l.AdditionalAddresses, ap)
		}
	}
	snap := *b.snap
	snap.Listeners = model.SetOf(map[string]*model.Listener{"l": l})
	b.snap = &snap
	for _, err := range b.udp.Apply(b.snap) {
		b.t.Fatal(err)
	}
	return b.udp.List()[0].Addresses
}

func (b *bed) want(want map[string]uint64) {
	b.t.Helper()
	got := maps.Clone(want)
	await.Nil(b.t, "statistics", func() error {
		for _, c := range b.store.Counters() {
			if _, ok := want[c.Name()]; ok {
				got[c.Name()] = c.Value()
			}
		}
		for _, g := range b.store.Gauges() {
			if _, ok := want[g.Name()]; ok {
				got[g.Name()] = g.Value()
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			return errors.New(diff)
		}
		return nil
	})
}

// echo answers each datagram with the name in front.
func echo(t testing.TB, name string) netip.AddrPort {
	t.Helper()
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf, out := make([]byte, 65536), make([]byte, 0, 65536)
		for {
			n, from, err := c.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			out = append(append(out[:0], name...), buf[:n]...)
			_, _ = c.WriteToUDPAddrPort(out, from)
		}
	}()
	t.Cleanup(func() { c.Close(); <-done })
	return c.LocalAddr().(*net.UDPAddr).AddrPort()
}

func dial(t testing.TB, to netip.AddrPort) *net.UDPConn {
	t.Helper()
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// ask sends and gives the answer.
func ask(t testing.TB, c *net.UDPConn, text string) string {
	t.Helper()
	if _, err := c.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	_ = c.SetReadDeadline(time.Now().Add(await.Patience))
	buf := make([]byte, 65536)
	n, err := c.Read(buf)
	if err != nil {
		t.Fatalf("answer to %q: %v", text, err)
	}
	return string(buf[:n])
}

func TestSessions(t *testing.T) {
	b := newBed(t)
	b.cluster(nil, echo(t, "a"))
	addrs := b.listen(model.UDPProxy{Cluster: "c", IdleTimeout: time.Minute})
	for _, addr := range addrs {
		c := dial(t, addr)
		for i := range 3 {
			if got, want := ask(t, c, fmt.Sprint("hello", i)), fmt.Sprint("ahello", i); got != want {
				t.Errorf("at %s: %q, want %q", addr, got, want)
			}
		}
	}
	b.want(map[string]uint64{
		"udp.p.downstream_sess_total": 2, "udp.p.downstream_sess_active": 2, "udp.p.downstream_sess_rx_datagrams": 6,
		"udp.p.downstream_sess_rx_bytes": 36, "udp.p.downstream_sess_tx_datagrams": 6, "udp.p.downstream_sess_tx_bytes": 42,
		"udp.p.downstream_sess_no_route": 0, "cluster.c.udp.sess_tx_datagrams": 6, "cluster.c.udp.sess_rx_datagrams": 6,
		"cluster.c.upstream_cx_rx_bytes_total": 42, "cluster.c.upstream_cx_tx_bytes_total": 36,
		"listener_manager.total_listeners_active": 1, "listener_manager.listener_added": 1,
	})
}

// A client that talks to a wildcard listener gets its answer from the address that it asked.
func TestAnswersFromTheAddressAsked(t *testing.T) {
	b := newBed(t)
	b.cluster(nil, echo(t, "a"))
	port := b.listen(model.UDPProxy{Cluster: "c"}, "0.0.0.0:0")[0].Port()
	for _, ip := range []string{"127.0.0.1", "127.1.2.3"} {
		if got := ask(t, dial(t, netip.AddrPortFrom(netip.MustParseAddr(ip), port)), "x"); got != "ax" { // a connected socket takes no other answer
			t.Errorf("%s: %q", ip, got)
		}
	}
}

func TestIdleTimeout(t *testing.T) {
	b := newBed(t)
	b.cluster(nil, echo(t, "a"))
	c := dial(t, b.listen(model.UDPProxy{Cluster: "c", IdleTimeout: 50 * time.Millisecond})[0])
	ask(t, c, "x")
	b.want(map[string]uint64{"udp.p.downstream_sess_active": 0, "udp.p.idle_timeout": 1})
	ask(t, c, "y")
	b.want(map[string]uint64{"udp.p.downstream_sess_active": 0, "udp.p.idle_timeout": 2, "udp.p.downstream_sess_total": 2})
	b.mu.Lock()
	defer b.mu.Unlock()
	got := b.logs[0].Dynamic["udp.proxy.session"]
	want := map[string]any{
		"cluster_name": "c", "bytes_received": 1.0, "bytes_sent": 2.0, "datagrams_received": 1.0, "datagrams_sent": 1.0, "errors_sent": 0.0,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestHostThatLeaves(t *testing.T) {
	b := newBed(t)
	first, second := echo(t, "a"), echo(t, "b")
	b.cluster(nil, first)
	c := dial(t, b.listen(model.UDPProxy{Cluster: "c", IdleTimeout: time.Minute})[0])
	if got := ask(t, c, "x"); got != "ax" {
		t.Fatal(got)
	}
	b.cluster(nil, second)
	b.want(map[string]uint64{"udp.p.downstream_sess_active": 0})
	if got := ask(t, c, "x"); got != "bx" {
		t.Fatal(got)
	}
}

func TestNowhereToGo(t *testing.T) {
	for _, tc := range []struct {
		name  string
		proxy model.UDPProxy
		setUp func(*bed)
		want  map[string]uint64
	}{
		{"no cluster", model.UDPProxy{Cluster: "c"}, func(*bed) {}, map[string]uint64{"udp.p.downstream_sess_no_route": 1}},
		{"no host", model.UDPProxy{Cluster: "c"}, func(b *bed) { b.cluster(nil) }, map[string]uint64{"cluster.c.upstream_cx_none_healthy": 1}},
		{"circuit breaker", model.UDPProxy{Cluster: "c"}, func(b *bed) {
			b.cluster(func(c *model.Cluster) { c.Breakers[0].MaxConnections = 1 }, echo(b.t, "a"))
			b.clusters.Get("c").TryConnection()
		}, map[string]uint64{"cluster.c.upstream_cx_overflow": 1, "udp.p.downstream_sess_total": 0}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := newBed(t)
			tc.setUp(b)
			if _, err := dial(t, b.listen(tc.proxy)[0]).Write([]byte("x")); err != nil {
				t.Fatal(err)
			}
			b.want(tc.want)
		})
	}
}

func TestTooLong(t *testing.T) {
	b := newBed(t)
	b.cluster(nil, echo(t, "a"))
	proxy := model.UDPProxy{Cluster: "c", Upstream: model.UDPSocket{MaxDatagram: 1000}}
	c := dial(t, b.listen(proxy)[0])
	if _, err := c.Write(make([]byte, 1501)); err != nil {
		t.Fatal(err)
	}
	b.want(map[string]uint64{"listener.l.udp.downstream_rx_datagram_dropped": 1, "udp.p.downstream_sess_total": 0})
	if _, err := c.Write(make([]byte, 1000)); err != nil { // the answer has a byte more
		t.Fatal(err)
	}
	b.want(map[string]uint64{"cluster.c.udp.sess_rx_datagrams_dropped": 1, "udp.p.downstream_sess_tx_datagrams": 0})
}

func TestPerPacket(t *testing.T) {
	b := newBed(t)
	b.cluster(nil, echo(t, "a"), echo(t, "b"))
	c := dial(t, b.listen(model.UDPProxy{Cluster: "c", PerPacket: true})[0])
	var got []string
	for range 4 {
		got = append(got, ask(t, c, ""))
	}
	slices.Sort(got)
	if diff := cmp.Diff([]string{"a", "a", "b", "b"}, got); diff != "" {
		t.Error(diff)
	}
	b.want(map[string]uint64{"udp.p.downstream_sess_total": 2, "udp.p.downstream_sess_active": 2})
}

// An update of the listener that changes how datagrams are received, and not how they are handled, leaves sessions alone.
func TestUpdateKeepsSessions(t *testing.T) {
	b := newBed(t)
	b.cluster(nil, echo(t, "a"))
	addr := b.listen(model.UDPProxy{Cluster: "c", IdleTimeout: time.Minute}, "127.0.0.1:0")[0]
	c := dial(t, addr)
	ask(t, c, "x")
	b.listen(model.UDPProxy{Cluster: "c", IdleTimeout: time.Minute}, addr.String())
	ask(t, c, "x")
	b.want(map[string]uint64{"udp.p.downstream_sess_total": 1, "udp.p.downstream_sess_active": 1, "listener_manager.listener_modified": 1})
	b.listen(model.UDPProxy{Cluster: "c", IdleTimeout: time.Hour}, addr.String())
	ask(t, c, "x")
	b.want(map[string]uint64{"udp.p.downstream_sess_total": 2, "udp.p.downstream_sess_active": 1})
}

// A host that nobody listens at any more answers with ICMP, which is an error of the session and not its end.
func TestRefused(t *testing.T) {
	b := newBed(t)
	gone, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	b.cluster(nil, gone.LocalAddr().(*net.UDPAddr).AddrPort())
	gone.Close()
	c := dial(t, b.listen(model.UDPProxy{Cluster: "c", IdleTimeout: time.Minute})[0])
	for range 2 {
		if _, err := c.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	b.want(map[string]uint64{"udp.p.downstream_sess_active": 1, "udp.p.downstream_sess_rx_datagrams": 2})
}
