package udp

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/observe/log"
	"github.com/weir-proxy/weir/pkg/observe/stats"
	"github.com/weir-proxy/weir/pkg/proxy/streaminfo"
	"github.com/weir-proxy/weir/test/await"
)

// recorder is a handler that answers and keeps what came.
type recorder struct {
	mu     sync.Mutex
	got    []string
	closed bool
}

func (r *recorder) Handle(d *Datagram) {
	r.mu.Lock()
	r.got = append(r.got, fmt.Sprintf("%s %s", d.Local.Addr(), d.Payload))
	r.mu.Unlock()
	_ = d.Reply.Send(d.Payload, d.Peer)
}
func (r *recorder) Vacate(*streaminfo.Namespace)         {}
func (r *recorder) Close()                               { r.mu.Lock(); r.closed = true; r.mu.Unlock() }
func (r *recorder) Sessions() int                        { return 0 }
func (r *recorder) Unfinished() (awaiting, captured int) { return 0, 0 }

type bed struct {
	*Manager
	t        testing.TB
	handlers []*recorder
	dst      func(client, local netip.AddrPort) (netip.AddrPort, bool)
}

func newBed(t testing.TB) *bed {
	t.Helper()
	b := &bed{t: t}
	b.Manager = New(Options{
		Stats: stats.NewStore().Root(), Log: log.ForTest(t),
		NewHandler: func(*model.Listener) (Handler, error) {
			h := &recorder{}
			b.handlers = append(b.handlers, h)
			return h, nil
		},
		OriginalDst: func(_ *streaminfo.Namespace, client, local netip.AddrPort) (netip.AddrPort, bool) {
			return b.dst(client, local)
		},
	})
	t.Cleanup(b.Close)
	return b
}

func listener(name, addr string, change ...func(*model.Listener)) *model.Listener {
	l := &model.Listener{
		Resource: model.Resource{Name: name}, Address: netip.MustParseAddrPort(addr), BindToPort: true, UDP: &model.UDPSocket{MaxDatagram: 1500},
		ListenerFilters: []*model.ListenerFilter{{Name: name}},
	}
	for _, c := range change {
		c(l)
	}
	return l
}

func snapshot(list ...*model.Listener) *model.Snapshot {
	all := map[string]*model.Listener{}
	for _, l := range list {
		all[l.Name] = l
	}
	return &model.Snapshot{Listeners: model.SetOf(all)}
}

func ask(t testing.TB, to netip.AddrPort, text string) string {
	t.Helper()
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	_ = c.SetReadDeadline(time.Now().Add(await.Patience))
	buf := make([]byte, 2000)
	n, err := c.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	return string(buf[:n])
}

func TestListenersComeAndGo(t *testing.T) {
	b := newBed(t)
	one := listener("one", "127.0.0.1:0")
	if errs := b.Apply(snapshot(one)); errs != nil {
		t.Fatal(errs)
	}
	at := b.List()[0].Addresses[0]
	if got := ask(t, at, "hi"); got != "hi" {
		t.Error(got)
	}
	taken := listener("two", at.String())
	errs := b.Apply(snapshot(one, taken))
	if len(errs) != 1 {
		t.Fatalf("two listeners with one address: %v", errs)
	}
	if errs := b.Apply(snapshot(taken)); errs != nil { // the first gives it up
		t.Fatal(errs)
	}
	if !b.handlers[0].closed {
		t.Error("the handler of a listener that is gone was not closed")
	}
	if got := ask(t, at, "ho"); got != "ho" {
		t.Error(got)
	}
	if b.Bound(at).Name != "two" {
		t.Error("the address is not the second listener's")
	}
	b.Stop(false)
	if n := len(b.List()); n != 0 {
		t.Errorf("%d listeners after Stop", n)
	}
	if errs := b.Apply(snapshot(one)); errs != nil || len(b.List()) != 0 {
		t.Error("a listener came back after Stop")
	}
}

// Captured datagrams reach the listener of their original destination, and are answered from the address that they came to.
func TestCaptured(t *testing.T) {
	b := newBed(t)
	dsts := map[netip.Addr]netip.AddrPort{
		netip.MustParseAddr("127.1.0.0"): netip.MustParseAddrPort("10.0.0.1:53"),
		netip.MustParseAddr("127.1.0.1"): netip.MustParseAddrPort("10.0.0.2:53"),
		netip.MustParseAddr("127.1.0.2"): netip.MustParseAddrPort("10.0.0.2:54"),
		netip.MustParseAddr("::1"):       netip.MustParseAddrPort("[fd00::1]:53"),
	}
	b.dst = func(_, local netip.AddrPort) (netip.AddrPort, bool) { dst, ok := dsts[local.Addr()]; return dst, ok }
	virtual := func(l *model.Listener) { l.BindToPort = false }
	all := func(l *model.Listener) { l.BindToPort, l.UseOriginalDst = false, true }
	if errs := b.Apply(snapshot(listener("exact", "10.0.0.1:53", virtual), listener("any", "0.0.0.0:53", virtual), listener("rest", "0.0.0.0:1", all))); errs != nil {
		t.Fatal(errs)
	}
	at, err := b.OpenCapture(nil)
	if err != nil || len(at.IPv6) != IPv6Slots {
		t.Fatal(at, err)
	}
	for ip := range dsts {
		port := at.IPv4
		if ip.Is6() {
			port = at.IPv6[3]
		}
		if got := ask(t, netip.AddrPortFrom(ip, port), "x"); got != "x" {
			t.Errorf("%s: %q", ip, got)
		}
	}
	names := map[string]int{}
	for _, dst := range dsts {
		names[b.Route(dst).Name]++
	}
	if names["exact"] != 1 || names["any"] != 1 || names["rest"] != 2 {
		t.Errorf("listeners: %v", names)
	}
}

// The segments of a message that GRO put together are what was sent, and none is longer than a listener takes.
func TestSegments(t *testing.T) {
	for range 200 {
		size, last, n := 1+rand.IntN(100), 1+rand.IntN(100), rand.IntN(5)
		last = min(last, size)
		payload := make([]byte, n*size+last)
		h := &recorder{}
		a := &active{cfg: listener("l", "127.0.0.1:1"), handler: h, dropped: stats.NewStore().Root().Counter("dropped")}
		a.cfg.UDP.MaxDatagram = 50
		a.handle(&Message{Payload: payload, Segment: size}, &Datagram{Reply: newPath(nowhere(t), netip.Addr{}, false), Peer: netip.MustParseAddrPort("127.0.0.1:9")})
		want := 0
		for range n {
			if size <= 50 {
				want++
			}
		}
		if last <= 50 {
			want++
		}
		if len(h.got) != want || int(a.dropped.Value()) != n+1-want {
			t.Fatalf("%d datagrams of %d, the last of %d: %d handled, %d dropped", n+1, size, last, len(h.got), a.dropped.Value())
		}
	}
}

func nowhere(t *testing.T) *net.UDPConn {
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// What is remembered of flows is never more than allowed, and never another flow's answer.
func TestFlows(t *testing.T) {
	var f flows
	f.init()
	addr := func(n int) netip.AddrPort {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, byte(n >> 16), byte(n >> 8), byte(n)}), 1)
	}
	asked := 0
	o := &Options{
		OriginalDst: func(_ *streaminfo.Namespace, _, local netip.AddrPort) (netip.AddrPort, bool) {
			asked++
			return local, true
		},
	}
	for n := range 2*maxFlows + 10 {
		if got, _, ok := f.find(flow{nil, addr(0), addr(n)}, o); !ok || got != addr(n) {
			t.Fatalf("%d: %s", n, got)
		}
		if len(f.known) > maxFlows {
			t.Fatalf("%d flows", len(f.known))
		}
	}
	before := asked
	if n := testing.AllocsPerRun(100, func() { f.find(flow{nil, addr(0), addr(2*maxFlows + 9)}, o) }); n != 0 || asked != before {
		t.Errorf("%v allocations, asked %d times", n, asked-before)
	}
	o.OriginalDst = func(_ *streaminfo.Namespace, _, _ netip.AddrPort) (netip.AddrPort, bool) {
		return netip.AddrPort{}, false
	}
	if _, _, ok := f.find(flow{nil, addr(1), addr(1)}, o); ok {
		t.Error("an unknown flow has a destination")
	}
}

// The client of a captured flow is whom it would be without weir, for as long as its destination is remembered.
func TestFlowsSource(t *testing.T) {
	const capture, capture6 = "127.0.0.5:9", "[::1]:9"
	for _, tc := range []struct{ name, client, local, dst, want string }{
		{"route", "127.0.0.1:1000", capture, "10.99.0.1:53", "192.0.2.1:1000"},
		{"no route", "127.0.0.1:1000", capture, "10.99.0.2:53", "127.0.0.1:1000"},
		{"IPv6", "[::1]:1000", capture6, "[fd00:99::1]:53", "[2001:db8::1]:1000"},
		{"bound", "192.0.2.9:1000", capture, "10.99.0.1:53", "192.0.2.9:1000"},
		{"bound to loopback", "127.0.0.9:1000", capture, "10.99.0.1:53", "127.0.0.9:1000"},
		{"to loopback", "127.0.0.1:1000", capture, "127.0.0.53:53", "127.0.0.1:1000"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			known := map[string]string{"10.99.0.1:53": "192.0.2.1", "[fd00:99::1]:53": "2001:db8::1", "127.0.0.53:53": "192.0.2.1"}
			asked := 0
			o := &Options{
				OriginalDst: func(*streaminfo.Namespace, netip.AddrPort, netip.AddrPort) (netip.AddrPort, bool) {
					return netip.MustParseAddrPort(tc.dst), true
				},
				SourceAddr: func(_ *streaminfo.Namespace, dst netip.AddrPort, _ time.Time) (netip.Addr, bool) {
					asked++
					src, err := netip.ParseAddr(known[dst.String()])
					return src, err == nil
				},
			}
			var f flows
			f.init()
			client := netip.MustParseAddrPort(tc.client)
			for range 2 {
				_, source, ok := f.find(flow{nil, client, netip.MustParseAddrPort(tc.local)}, o)
				d := Datagram{Peer: client, Source: source}
				if c := d.Connection(); !ok || c.Remote.String() != tc.want || c.DirectRemote != c.Remote {
					t.Errorf("%s, %s, want %s", c.Remote, c.DirectRemote, tc.want)
				}
			}
			if asked > 1 {
				t.Errorf("asked %d times", asked)
			}
		})
	}
}

// Receiving and answering allocate nothing.
func TestReceiveAllocates(t *testing.T) {
	s, err := open(t.Context(), spec{addr: netip.MustParseAddrPort("127.0.0.1:0"), room: 4, size: 1500})
	if err != nil {
		t.Fatal(err)
	}
	defer s.shut()
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(s.bound))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	payload, path := []byte("hello"), Path{}
	var m Message
	round := func(fd uintptr) bool {
		if n, err := s.batch.Receive(fd); err != nil || n != 1 {
			t.Fatalf("%d, %v", n, err)
		}
		m = s.batch.Message(0)
		path = newPath(s.conn, m.To, false)
		return true
	}
	if n := testing.AllocsPerRun(200, func() {
		_, _ = c.Write(payload)
		_ = s.raw.Read(round)
		_ = path.Send(m.Payload, m.From)
	}); n != 0 {
		t.Errorf("%v allocations a datagram", n)
	}
	if !bytes.Equal(m.Payload, payload) || m.To != netip.MustParseAddr("127.0.0.1") {
		t.Errorf("%+v", m)
	}
}

// FuzzControl reads control messages that make no sense.
func FuzzControl(f *testing.F) {
	f.Add(unix.PktInfo4(&unix.Inet4Pktinfo{Addr: [4]byte{127, 0, 0, 1}}))
	f.Add(unix.PktInfo6(&unix.Inet6Pktinfo{Addr: [16]byte{15: 1}}))
	f.Add(slices.Concat(unix.PktInfo4(&unix.Inet4Pktinfo{}), binary.NativeEndian.AppendUint64(nil, 1<<63)))
	f.Fuzz(func(t *testing.T, data []byte) {
		var m Message
		m.control(data)
	})
}

// Listeners of traffic direction INBOUND have no part in what leaves applications.
func TestInboundListenersTakeNothingThatLeaves(t *testing.T) {
	b := newBed(t)
	virtual := func(name, addr string, direction model.TrafficDirection) *model.Listener {
		return &model.Listener{
			Resource: model.Resource{Name: name}, Address: netip.MustParseAddrPort(addr), TrafficDirection: direction, UDP: &model.UDPSocket{MaxDatagram: 1500},
			UseOriginalDst: direction == model.TrafficInbound,
		}
	}
	if errs := b.Apply(&model.Snapshot{Listeners: model.SetOf(map[string]*model.Listener{
		"in": virtual("in", "0.0.0.0:53", model.TrafficInbound), "out": virtual("out", "10.0.0.1:54", model.TrafficOutbound),
	})}); len(errs) > 0 {
		t.Fatal(errs)
	}
	for dst, want := range map[string]bool{"10.0.0.1:53": false, "10.0.0.9:99": false, "10.0.0.1:54": true} {
		if got := b.routes.Load().find(netip.MustParseAddrPort(dst)) != nil; got != want {
			t.Errorf("to %s: captured %t, want %t", dst, got, want)
		}
	}
}
