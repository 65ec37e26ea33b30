package cluster

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/weir-proxy/weir/pkg/config/model"
)

func TestAddressesInTurn(t *testing.T) {
	for _, tc := range []struct {
		in    string
		first model.FirstFamily
		count int
		want  string
	}{
		{"4a 4b 4c 6a 6b", model.FirstAsGiven, 0, "4a 6a 4b 6b 4c"},
		{"6a 4a 4b", model.FirstAsGiven, 1, "6a 4a 4b"},
		{"4a 4b 6a 6b", model.FirstV6, 1, "6a 4a 6b 4b"},
		{"6a 6b 6c 4a 4b", model.FirstV6, 2, "6a 6b 4a 6c 4b"},
		{"4a 4b", model.FirstV6, 1, "4a 4b"},
		{"6a 4a", model.FirstV4, 9, "4a 6a"},
		{"4a", model.FirstAsGiven, 1, "4a"},
	} {
		var addrs []netip.AddrPort
		for _, name := range strings.Fields(tc.in) {
			host := map[byte]string{'4': "10.0.0.", '6': "[fd00::"}[name[0]] + string('0'+name[1]-'a')
			if name[0] == '6' {
				host += "]"
			}
			addrs = append(addrs, netip.MustParseAddrPort(host+":80"))
		}
		var got []string
		for _, a := range inTurn(addrs, model.HappyEyeballs{First: tc.first, FirstCount: tc.count}) {
			b := a.Addr().AsSlice()
			family := "6"
			if a.Addr().Is4() {
				family = "4"
			}
			got = append(got, family+string('a'+b[len(b)-1]))
		}
		if s := strings.Join(got, " "); s != tc.want {
			t.Errorf("%s with family %d first, %d of it: %s, want %s", tc.in, tc.first, tc.count, s, tc.want)
		}
	}
}
