package originaldst

import (
	"net/netip"
	"testing"

	"github.com/weir-proxy/weir/pkg/config/extension"
	"github.com/weir-proxy/weir/pkg/proxy/filter"
	"github.com/weir-proxy/weir/pkg/proxy/streaminfo"
)

func TestInspect(t *testing.T) {
	local, dst := netip.MustParseAddrPort("127.0.0.1:15001"), netip.MustParseAddrPort("10.0.0.1:80")
	for _, tc := range []struct {
		name      string
		dst, want netip.AddrPort
	}{{"restored", dst, dst}, {"not restored", netip.AddrPort{}, local}} {
		t.Run(tc.name, func(t *testing.T) {
			info := &streaminfo.Connection{Local: local, OriginalDst: tc.dst}
			if v, err := (Filter{}).Inspect(t.Context(), nil, info); v != filter.Continue || err != nil {
				t.Fatal(v, err)
			}
			if info.Local != tc.want {
				t.Errorf("Local = %s, want %s", info.Local, tc.want)
			}
		})
	}
}

func TestFactory(t *testing.T) {
	if _, err := extension.NewRegistry(Factory()); err != nil {
		t.Fatal(err)
	}
	if v, err := Factory().Decode(nil); v != (Filter{}) || err != nil {
		t.Errorf("Decode = %v, %v", v, err)
	}
}
