package listener

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	mathrand "math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/observe/log"
	"github.com/weir-proxy/weir/pkg/observe/stats"
	"github.com/weir-proxy/weir/pkg/proxy/conn/conntest"
	"github.com/weir-proxy/weir/pkg/proxy/filter"
	"github.com/weir-proxy/weir/pkg/proxy/filter/listener/originaldst"
	"github.com/weir-proxy/weir/pkg/proxy/filter/listener/tlsinspector"
	"github.com/weir-proxy/weir/pkg/proxy/streaminfo"
	"github.com/weir-proxy/weir/pkg/proxy/timer"
	"github.com/weir-proxy/weir/test/await"
)

// greeter is a terminal filter that says who serves, then echoes until the client closes or the chain drains.
type greeter struct {
	name   string
	closed chan struct{}
}

func (g *greeter) Serve(ctx context.Context, c *filter.Connection) (rests bool) {
	switch g.name {
	case "panic":
		panic("of the test")
	case "panic elsewhere":
		go func() {
			defer func() { c.Panicked(recover(), debug.Stack()) }()
			panic("of the test")
		}()
		_, _ = io.Copy(io.Discard, struct{ io.Reader }{c.Conn})
		return false
	}
	fmt.Fprintf(c.Conn, "%s %s %s\n", g.name, c.Info.Listener, c.Info.Local)
	c.Drain.Notify(func() { c.Conn.Write([]byte("draining\n")) })
	defer c.Drain.Forget()
	io.Copy(c.Conn, struct{ io.Reader }{c.Conn})
	return false
}

func (g *greeter) Close() error { close(g.closed); return nil }

type fakeDst struct {
	mu  sync.Mutex
	dst netip.AddrPort
}

func (f *fakeDst) set(dst string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.dst = netip.AddrPort{}
	if dst != "" {
		f.dst = netip.MustParseAddrPort(dst)
	}
}

func (f *fakeDst) OriginalDst(_ uint64, _, _ netip.AddrPort) (netip.AddrPort, streaminfo.Cgroup, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.dst, streaminfo.Cgroup{}, f.dst.IsValid()
}

// bed is a manager under test.
type bed struct {
	*Manager
	t     *testing.T
	store *stats.Store
	dst   *fakeDst
	mu    sync.Mutex
	made  map[string][]*greeter
	logs  []streaminfo.Flags
}

func newBed(t *testing.T, change func(*Options)) *bed {
	t.Helper()
	w := timer.New()
	t.Cleanup(w.Close)
	b := &bed{t: t, store: stats.NewStore(), dst: &fakeDst{}, made: map[string][]*greeter{}}
	o := Options{
		Stats: b.store.Root(), Log: log.ForTest(t), Wheel: w, Poller: conntest.Poller(t), OriginalDst: b.dst, DrainStrategy: DrainImmediate,
		NewFilter: func(_ *model.Listener, fc *model.FilterChain, _ *model.NetworkFilter) (filter.Network, error) {
			if fc.Name == "broken" {
				return nil, errors.New("no such thing")
			}
			g := &greeter{name: fc.Name, closed: make(chan struct{})}
			b.mu.Lock()
			defer b.mu.Unlock()
			b.made[fc.Name] = append(b.made[fc.Name], g)
			return g, nil
		},
		AccessLog: func(_ *model.Listener, info *streaminfo.Info) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.logs = append(b.logs, info.Flags)
		},
	}
	if change != nil {
		change(&o)
	}
	b.Manager = New(o)
	t.Cleanup(b.Close)
	return b
}

func (b *bed) apply(listeners ...*model.Listener) []error {
	snap := &model.Snapshot{}
	for _, l := range listeners {
		snap.Listeners = snap.Listeners.With(l.Name, l)
	}
	return b.Apply(snap)
}

func (b *bed) mustApply(listeners ...*model.Listener) {
	b.t.Helper()
	if errs := b.apply(listeners...); len(errs) > 0 {
		b.t.Fatal(errs)
	}
}

func (b *bed) counter(name string) uint64 { return b.store.Root().Counter(name).Value() }

// address of a bound listener.
func (b *bed) address(name string) string {
	b.t.Helper()
	for _, s := range b.List() {
		if s.Name == name && !s.Draining {
			return s.Addresses[0]
		}
	}
	b.t.Fatalf("no listener %s", name)
	return ""
}

func plainChain(name string, m model.FilterChainMatch) *model.FilterChain {
	return &model.FilterChain{Name: name, Match: m, Hash: uint64(len(name)), Filters: []*model.NetworkFilter{{Name: "greeter"}}}
}

func bound(name, addr string, chains ...*model.FilterChain) *model.Listener {
	return &model.Listener{Resource: model.Resource{Name: name}, Address: netip.MustParseAddrPort(addr), BindToPort: true, FilterChains: chains}
}

// dial connects; the connection is closed with the test.
func dial(t *testing.T, addr string) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(20 * time.Second))
	return c.(*net.TCPConn)
}

// isReset tells whether a connection to addr is reset, which may be seen by the dial or by the first read.
func isReset(addr string) bool {
	c, err := net.Dial("tcp", addr)
	if err == nil {
		defer c.Close()
		_, err = c.Read(make([]byte, 1))
	}
	return errors.Is(err, syscall.ECONNRESET)
}

// free gives an address with a port that nobody has at any address. It is below those that the kernel gives out by itself
// (net.ipv4.ip_local_port_range), of which somebody else would be given it before the test binds it, here or at 0.0.0.0.
func free(t *testing.T) string {
	t.Helper()
	for range 100 {
		port := 10000 + mathrand.IntN(20000)
		l, err := net.Listen("tcp4", fmt.Sprintf("0.0.0.0:%d", port))
		if errors.Is(err, syscall.EADDRINUSE) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		return fmt.Sprintf("127.0.0.1:%d", port)
	}
	t.Fatal("no port is free")
	return ""
}

// line reads one line.
func line(t *testing.T, c net.Conn) string {
	t.Helper()
	var out []byte
	for b := make([]byte, 1); ; {
		if _, err := c.Read(b); err != nil {
			return string(out) + "!" + err.Error()
		}
		if b[0] == '\n' {
			return string(out)
		}
		out = append(out, b[0])
	}
}

func TestServesAndCounts(t *testing.T) {
	b := newBed(t, nil)
	l := bound("web", "127.0.0.1:0", plainChain("main", model.FilterChainMatch{}))
	l.StatPrefix = "web"
	b.mustApply(l)
	addr := b.address("web")
	c := dial(t, addr)
	if got, want := line(t, c), "main web "+addr; got != want {
		t.Fatalf("got %q, want %q", got, want)
	}
	io.WriteString(c, "hello\n")
	if got := line(t, c); got != "hello" {
		t.Errorf("echo %q", got)
	}
	c.Close()
	await.True(t, "connection counted out", func() bool { return b.counter("listener.web.downstream_cx_destroy") == 1 })
	if b.counter("listener.web.downstream_cx_total") != 1 || b.store.Root().Gauge("listener.web.downstream_cx_active").Value() != 0 {
		t.Error("downstream_cx_total or _active is wrong")
	}
}

func TestApplyErrors(t *testing.T) {
	b := newBed(t, nil)
	busy, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	main, good := plainChain("main", model.FilterChainMatch{}), free(t)
	errs := b.apply(
		bound("a-busy", busy.Addr().String(), main),
		bound("b-dup", "127.0.0.1:0", main, plainChain("twin", model.FilterChainMatch{})),
		bound("c-broken", "127.0.0.1:0", plainChain("broken", model.FilterChainMatch{})),
		bound("d-good", good, main),
	)
	want := []string{
		"listener a-busy: bind " + busy.Addr().String() + ": address already in use",
		`listener b-dup: filter chain "twin" has the same matching rules defined as "main"`,
		`listener c-broken: filter chain 0 ("broken"): network filter greeter: no such thing`,
	}
	if len(errs) != len(want) {
		t.Fatalf("got %v", errs)
	}
	for i := range want {
		if errs[i].Error() != want[i] {
			t.Errorf("got  %s\nwant %s", errs[i], want[i])
		}
	}
	if got := line(t, dial(t, b.address("d-good"))); !strings.HasPrefix(got, "main d-good") {
		t.Errorf("got %q", got)
	}
	errs = b.apply(bound("d-good", good, main), bound("e-second", good, main))
	if len(errs) != 1 || !strings.Contains(errs[0].Error(), "listener d-good has this address") {
		t.Errorf("two listeners at one address: %v", errs)
	}
}

func TestUpdateInPlace(t *testing.T) {
	b := newBed(t, nil)
	stay := plainChain("stay", model.FilterChainMatch{SourcePrefixes: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}})
	change := plainChain("change", model.FilterChainMatch{})
	l := bound("web", "127.0.0.1:0", stay, change)
	b.mustApply(l)
	addr := b.address("web")
	kept := dial(t, addr)
	line(t, kept)
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}
	drained, err := d.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer drained.Close()
	if got := line(t, drained); !strings.HasPrefix(got, "change ") {
		t.Fatalf("got %q", got)
	}
	changed := *change
	changed.Hash++
	next := bound("web", "127.0.0.1:0", stay, &changed)
	next.Message = "as it came, with the changed chain"
	b.mustApply(next)
	if b.address("web") != addr {
		t.Fatal("the socket was not kept")
	}
	if got := line(t, drained); got != "draining" {
		t.Errorf("connection of the changed chain got %q", got)
	}
	io.WriteString(kept, "still\n")
	if got := line(t, kept); got != "still" {
		t.Errorf("connection of the chain that stayed got %q", got)
	}
	if len(b.made["stay"]) != 1 || len(b.made["change"]) != 2 {
		t.Errorf("filters made: stay %d, change %d; want 1 and 2", len(b.made["stay"]), len(b.made["change"]))
	}
	drained.Close()
	<-b.made["change"][0].closed
	if b.counter("listener_manager.listener_in_place_updated") != 1 {
		t.Error("listener_in_place_updated was not counted")
	}
}

func TestRemoveAndHandOverOfTheSocket(t *testing.T) {
	b := newBed(t, func(o *Options) { o.DrainTime = 50 * time.Millisecond })
	addr := free(t)
	b.mustApply(bound("one", addr, plainChain("one", model.FilterChainMatch{})))
	old := dial(t, addr)
	line(t, old)
	two := bound("two", addr, plainChain("two", model.FilterChainMatch{}))
	b.mustApply(two)
	if got := line(t, dial(t, addr)); !strings.HasPrefix(got, "two two ") {
		t.Errorf("got %q", got)
	}
	for got := line(t, old); !strings.Contains(got, "!"); got = line(t, old) {
		if got != "draining" {
			t.Errorf("old connection got %q", got)
		}
	} // ends when the drain time is over
	b.mustApply()
	if _, err := net.Dial("tcp", addr); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("dial after removal: %v", err)
	}
}

func TestHandOff(t *testing.T) {
	unbound := func(name, addr string) *model.Listener {
		l := bound(name, addr, plainChain(name, model.FilterChainMatch{}))
		l.BindToPort = false
		return l
	}
	outbound := bound("outbound", "127.0.0.1:0", plainChain("outbound", model.FilterChainMatch{}))
	outbound.UseOriginalDst = true
	outbound.ListenerFilters = []*model.ListenerFilter{{Name: "envoy.filters.listener.original_dst", Config: originaldst.Filter{}}}
	b := newBed(t, nil)
	if err := b.OpenCapture(); err != nil {
		t.Fatal(err)
	}
	without := []*model.Listener{
		unbound("exact", "10.0.0.1:80"), unbound("any", "0.0.0.0:80"), unbound("exact6", "[fd00::1]:80"), unbound("any6", "[::]:81"),
	}
	b.mustApply(append(without, outbound)...)
	v4, v6 := b.CaptureAddrs()
	if !b.SelfAddrs(v4) || !b.SelfAddrs(v6) {
		t.Error("SelfAddrs does not know the capture sockets")
	}
	cases := []struct{ name, dst, want string }{
		{"exact address", "10.0.0.1:80", "exact"},
		{"any address", "10.0.0.2:80", "any"},
		{"catch-all", "10.0.0.2:81", "outbound"},
		{"mapped", "[::ffff:10.0.0.1]:80", "exact"},
		{"ipv6 exact", "[fd00::1]:80", "exact6"},
		{"ipv6 any", "[fd00::2]:81", "any6"},
		{"ipv6 is not for 0.0.0.0", "[fd00::2]:80", "outbound"},
	}
	for _, tc := range cases {
		for how, addr := range map[string]string{"captured": v4.String(), "captured at ::1": v6.String(), "use_original_dst": b.address("outbound")} {
			b.dst.set(tc.dst)
			dst := netip.MustParseAddrPort(tc.dst)
			dst = netip.AddrPortFrom(dst.Addr().Unmap(), dst.Port())
			if got, want := line(t, dial(t, addr)), fmt.Sprintf("%s %s %s", tc.want, tc.want, dst); got != want {
				t.Errorf("%s, %s: got %q, want %q", tc.name, how, got, want)
			}
		}
	}
	b.dst.set("")
	if got := line(t, dial(t, b.address("outbound"))); !strings.HasPrefix(got, "outbound outbound 127.0.0.1:") {
		t.Errorf("without original destination: %q", got)
	}
	if !isReset(v4.String()) {
		t.Error("captured without original destination: no reset")
	}
	b.mustApply(without...)
	b.dst.set("10.9.9.9:99")
	if !isReset(v4.String()) {
		t.Error("captured without listener: no reset")
	}
	if b.counter("weir.listener.captured_without_original_dst") != 1 || b.counter("weir.listener.captured_without_listener") != 1 {
		t.Error("the reasons were not counted")
	}
}

func serverCertificate(t *testing.T) *tls.Certificate {
	t.Helper()
	key, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"a.test"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func TestTLSByServerName(t *testing.T) {
	secure := plainChain("secure", model.FilterChainMatch{ServerNames: []string{"a.test"}})
	secure.TLS = &model.DownstreamTLS{TLSParams: model.TLSParams{Certificates: []model.CertificateRef{{Inline: serverCertificate(t)}}}}
	secure.TransportSocketConnectTimeout = 50 * time.Millisecond
	plain := plainChain("plain", model.FilterChainMatch{TransportProtocol: "raw_buffer"})
	l := bound("web", "127.0.0.1:0", secure, plain)
	l.StatPrefix = "web"
	l.AccessLogs = []*model.AccessLog{{}}
	l.ListenerFilters = []*model.ListenerFilter{{Name: "tls", Config: tlsinspector.New(false)}}
	l.ListenerFiltersTimeout = 5 * time.Second
	b := newBed(t, nil)
	b.mustApply(l)
	addr := b.address("web")
	c := tls.Client(dial(t, addr), &tls.Config{ServerName: "a.test", InsecureSkipVerify: true})
	if got := line(t, c); !strings.HasPrefix(got, "secure web ") {
		t.Errorf("got %q", got)
	}
	c.Close()
	raw := dial(t, addr)
	io.WriteString(raw, "GET /\n")
	if got := line(t, raw); !strings.HasPrefix(got, "plain web ") {
		t.Errorf("got %q", got)
	}
	raw.Close()
	other := tls.Client(dial(t, addr), &tls.Config{ServerName: "b.test", InsecureSkipVerify: true})
	if err := other.Handshake(); err == nil {
		t.Error("an unknown name was served")
	}
	await.True(t, "no_filter_chain_match", func() bool { return b.counter("listener.web.no_filter_chain_match") == 1 })
	await.True(t, "access log", func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		return len(b.logs) == 3 && b.logs[0]|b.logs[1]|b.logs[2] == streaminfo.NoRouteFound
	})
	for name, want := range map[string]uint64{"listener.web.ssl.handshake": 1, "tls_inspector.tls_found": 2, "tls_inspector.tls_not_found": 1} {
		if got := b.counter(name); got != want {
			t.Errorf("%s = %d, want %d", name, got, want)
		}
	}
	hello := dial(t, addr)
	tls.Client(&helloOnly{hello}, &tls.Config{ServerName: "a.test", InsecureSkipVerify: true}).Handshake()
	await.True(t, "handshake timeout", func() bool {
		return b.counter("listener.web.downstream_cx_transport_socket_connect_timeout") == 1
	})
}

// helloOnly lets the first write out and then reads nothing.
type helloOnly struct{ net.Conn }

func (h *helloOnly) Read([]byte) (int, error) { return 0, io.EOF }

// Close leaves the connection open.
func (h *helloOnly) Close() error { return nil }

func (h *helloOnly) Write(p []byte) (int, error) {
	if p[0] != 22 { // not the alert that follows
		return len(p), nil
	}
	return h.Conn.Write(p)
}

func TestPanicIsContained(t *testing.T) {
	b := newBed(t, func(o *Options) { o.Log = log.Discard() })
	for i, name := range []string{"panic", "panic elsewhere"} {
		b.mustApply(bound("web", "127.0.0.1:0", plainChain(name, model.FilterChainMatch{})))
		if !isReset(b.address("web")) {
			t.Errorf("%s: no reset", name)
		}
		await.True(t, name, func() bool { return b.counter("weir.listener.filter_panic") == uint64(i+1) })
	}
}

func TestUnixSocketAndLimits(t *testing.T) {
	path := filepath.Join(t.TempDir(), "weir.sock")
	if err := os.WriteFile(path, nil, 0o600); err != nil { // what an earlier run left behind
		t.Fatal(err)
	}
	l := &model.Listener{
		Resource: model.Resource{Name: "u"}, Pipe: path, PipeMode: 0o620, BindToPort: true, StatPrefix: "u",
		FilterChains: []*model.FilterChain{plainChain("main", model.FilterChainMatch{})},
	}
	limits := model.RuntimeOf(map[string]uint64{"envoy.resource_limits.listener.u.connection_limit": 1})
	b := newBed(t, func(o *Options) { o.Runtime = limits })
	b.mustApply(l)
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o620 {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
	first, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	if got := line(t, first); !strings.HasPrefix(got, "main u ") {
		t.Errorf("got %q", got)
	}
	second, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	if _, err := second.Read(make([]byte, 1)); err == nil {
		t.Error("a connection over the limit was served")
	}
	if b.counter("listener.u.downstream_cx_overflow") != 1 {
		t.Error("overflow was not counted")
	}
	limits.Set(model.RuntimeOf(map[string]uint64{"overload.global_downstream_max_connections": 1}).All())
	third, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer third.Close()
	if _, err := third.Read(make([]byte, 1)); err == nil {
		t.Error("a connection over the limit of all listeners was served")
	}
	if b.counter("listener.u.downstream_global_cx_overflow") != 1 {
		t.Error("overflow of all listeners was not counted")
	}
	free := *l
	free.IgnoreGlobalLimit, free.Hash = true, 7
	b.mustApply(&free)
	fourth, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer fourth.Close()
	if got := line(t, fourth); !strings.HasPrefix(got, "main u ") {
		t.Errorf("a listener that ignores the limit of all answers %q", got)
	}
}

func TestStopping(t *testing.T) {
	b := newBed(t, nil)
	in := bound("in", "127.0.0.1:0", plainChain("in", model.FilterChainMatch{}))
	in.TrafficDirection = model.TrafficInbound
	b.mustApply(in, bound("out", "127.0.0.1:0", plainChain("out", model.FilterChainMatch{})))
	inAddr, outAddr := b.address("in"), b.address("out")
	c, other := dial(t, inAddr), dial(t, outAddr)
	line(t, c)
	line(t, other)
	b.Drain(false, true, false)
	if got := line(t, c); got != "draining" {
		t.Errorf("got %q", got)
	}
	if _, err := net.Dial("tcp", inAddr); err == nil {
		t.Error("the inbound listener still accepts")
	}
	dial(t, outAddr).Close()
	b.StopAccepting()
	if _, err := net.Dial("tcp", outAddr); err == nil {
		t.Error("still accepting")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := b.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Wait = %v", err)
	}
	if err := b.Wait(t.Context()); err != nil {
		t.Errorf("Wait with nothing left = %v", err)
	}
	if errs := b.apply(in); len(errs) == 0 {
		t.Error("Apply after StopAccepting succeeded")
	}
}
