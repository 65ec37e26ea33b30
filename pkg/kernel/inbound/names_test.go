package inbound

import (
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/weir-proxy/weir/test/await"
)

// greeting is what an application says to a connection from an address and port.
func (b *bench) greeting(t *testing.T, from netip.AddrPort, addr string) string {
	t.Helper()
	var c net.Conn
	must(t, b.Do(func() (err error) {
		d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(from), Timeout: await.Patience}
		c, err = d.Dial("tcp", addr)
		return err
	}))
	defer c.Close()
	c.SetDeadline(time.Now().Add(await.Patience))
	text, err := io.ReadAll(c)
	must(t, err)
	return string(text)
}

// An application is told the client's address by accept() and getpeername(), over IPv4, IPv6 and on a socket for both.
func TestNames(t *testing.T) {
	const client4, client6 = "203.0.113.9:5555", "[2001:db8::9]:5555"
	b := newBench(t)
	server := b.app(t, b.dir)
	plan := everywhere()
	plan.Names = true
	b.start(t, plan)
	both := server.listen("tcp", "[::]:0")
	for _, tt := range []struct{ addr, client string }{
		{server.listen("tcp4", ip4+":0"), client4},
		{server.listen("tcp6", "["+ip6+"]:0"), client6},
		{on(ip4, both), client4},
		{on(ip6, both), client6},
	} {
		must(t, b.Look())
		to, port := netip.MustParseAddrPort(tt.addr), uint16(40100)
		say := func(peer netip.AddrPort, want netip.AddrPort) {
			t.Helper()
			port++
			from := netip.AddrPortFrom(to.Addr(), port)
			if !want.IsValid() {
				want = from
			}
			must(t, b.Own(b.Cookie(), from, to, peer))
			if got := b.greeting(t, from, tt.addr); got != "app "+tt.addr+" "+want.String() {
				t.Errorf("%s: application says %q, want the client %s", tt.addr, got, want)
			}
			b.Disown(b.Cookie(), from, to)
		}
		say(netip.MustParseAddrPort(tt.client), netip.MustParseAddrPort(tt.client))
		say(netip.AddrPort{}, netip.AddrPort{})
		plan.Names = false
		off := *plan
		must(t, b.Apply(&off))
		say(netip.MustParseAddrPort(tt.client), netip.AddrPort{})
		plan.Names = true
		again := *plan
		must(t, b.Apply(&again))
	}
	counters, err := b.Counters()
	must(t, err)
	if counters["named"] != 4 || counters["name_lost"] != 0 {
		t.Errorf("counters %v", counters)
	}
}

// What is asked is answered as it is decided, and nothing is counted.
func TestExplain(t *testing.T) {
	b := newBench(t)
	server := b.app(t, b.dir)
	addr := netip.MustParseAddrPort(server.listen("tcp4", "0.0.0.0:0"))
	at := func(ip string) netip.AddrPort { return netip.AddrPortFrom(netip.MustParseAddr(ip), addr.Port()) }
	plan := everywhere()
	plan.Rules[0].Origin = "a test"
	plan.Excludes = []Rule{{Prefix: netip.MustParsePrefix("10.50.0.2/32"), Origin: "an exclusion"}}
	b.start(t, plan)
	client := netip.MustParseAddrPort("192.0.2.1:1000")
	before, err := b.Counters()
	must(t, err)
	for _, tt := range []struct {
		name   string
		netns  uint64
		to     netip.AddrPort
		reason Reason
		origin string
	}{
		{"captured", b.Cookie(), at(ip4), ReasonCaptured, "a test"},
		{"excluded", b.Cookie(), at("10.50.0.2"), ReasonExcluded, "an exclusion"},
		{"loopback", b.Cookie(), at("127.0.0.1"), ReasonLoopback, ""},
		{"another port", b.Cookie(), netip.AddrPortFrom(at(ip4).Addr(), 1), ReasonNotCaptured, ""},
		{"another family", b.Cookie(), at(ip6), ReasonNotCaptured, ""},
		{"another namespace", b.Cookie() + 1, at(ip4), ReasonNotCaptured, ""},
	} {
		x, err := b.Explain(tt.netns, client, tt.to)
		must(t, err)
		origin := ""
		if x.Rule != nil {
			origin = x.Rule.Origin
		}
		if x.Reason != tt.reason || origin != tt.origin || x.Generation == 0 {
			t.Errorf("%s: %s by %q, want %s by %q", tt.name, x.Reason, origin, tt.reason, tt.origin)
		}
	}
	b.sinks[0].Close()
	if x, err := b.Explain(b.Cookie(), client, at(ip4)); err != nil || x.Reason != ReasonNoSocket {
		t.Errorf("without a socket: %s, %v", x.Reason, err)
	}
	after, err := b.Counters()
	must(t, err)
	for name, n := range after {
		if n != before[name] {
			t.Errorf("asking counted %s", name)
		}
	}
}
