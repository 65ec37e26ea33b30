package agent

import (
	"net"
	"testing"
)

func TestLocalAddress(t *testing.T) {
	nets := func(cidrs ...string) []net.Addr {
		var out []net.Addr
		for _, c := range cidrs {
			ip, n, err := net.ParseCIDR(c)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, &net.IPNet{IP: ip, Mask: n.Mask})
		}
		return out
	}
	for _, tc := range []struct {
		name  string
		addrs []net.Addr
		v6    bool
		want  string
	}{
		{"first that is not of the loopback", nets("127.0.0.1/8", "::1/128", "192.0.2.2/24", "198.51.100.1/24"), false, "192.0.2.2"},
		{"of the family", nets("127.0.0.1/8", "192.0.2.2/24", "::1/128", "2001:db8::1/64"), true, "2001:db8::1"},
		{"only IPv6", nets("127.0.0.1/8", "2001:db8::1/64"), false, "127.0.0.1"},
		{"only IPv4", nets("::1/128", "192.0.2.2/24"), true, "::1"},
		{"nothing known", []net.Addr{&net.IPAddr{IP: net.IPv4(192, 0, 2, 3)}}, false, "127.0.0.1"},
		{"no interfaces", nil, true, "::1"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := localAddress(tc.addrs, tc.v6).String(); got != tc.want {
				t.Errorf("got %s, want %s", got, tc.want)
			}
		})
	}
}
