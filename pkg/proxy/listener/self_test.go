package listener

import (
	"net"
	"net/netip"
	"testing"

	"github.com/weir-proxy/weir/pkg/config/model"
)

func TestSelfAddrs(t *testing.T) {
	host := netip.Addr{}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addrs {
		if ip, ok := netip.AddrFromSlice(a.(*net.IPNet).IP); ok && ip.Unmap().Is4() && !ip.IsLoopback() {
			host = ip.Unmap()
		}
	}
	b := newBed(t, nil)
	all := bound("one", "127.0.0.1:0", plainChain("main", model.FilterChainMatch{}))
	all.UseOriginalDst = true
	b.mustApply(all, bound("other", "127.0.0.1:0", plainChain("other", model.FilterChainMatch{})))
	if b.SelfAddrs(netip.MustParseAddrPort(b.address("other"))) {
		t.Error("a listener without use_original_dst may be connected to")
	}
	one := netip.MustParseAddrPort(b.address("one"))
	// A socket at the wildcard address, without one that others could reach.
	own := map[netip.AddrPort]struct{}{one: {}, netip.MustParseAddrPort("0.0.0.0:7"): {}}
	b.own.Store(&own)
	cases := []struct {
		addr netip.AddrPort
		want bool
	}{
		{one, true},
		{netip.AddrPortFrom(netip.IPv4Unspecified(), one.Port()), true},
		{netip.AddrPortFrom(netip.AddrFrom16(one.Addr().As16()), one.Port()), true},
		{netip.AddrPortFrom(one.Addr(), one.Port()-1), false},
		{netip.MustParseAddrPort("127.0.0.5:7"), true},
		{netip.MustParseAddrPort("[::1]:7"), false},
		{netip.MustParseAddrPort("192.0.2.77:7"), false},
	}
	if host.IsValid() {
		cases = append(cases, struct {
			addr netip.AddrPort
			want bool
		}{netip.AddrPortFrom(host, 7), true})
	}
	for _, tc := range cases {
		if got := b.SelfAddrs(tc.addr); got != tc.want {
			t.Errorf("SelfAddrs(%s) = %v, want %v", tc.addr, got, tc.want)
		}
	}
}
