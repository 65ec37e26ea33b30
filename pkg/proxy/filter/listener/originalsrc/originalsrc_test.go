package originalsrc

import (
	"net/netip"
	"testing"

	originalsrcv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/original_src/v3"

	"github.com/weir-proxy/weir/pkg/proxy/filter"
	"github.com/weir-proxy/weir/pkg/proxy/streaminfo"
)

func TestSource(t *testing.T) {
	decoded, err := Factory().Decode(&originalsrcv3.OriginalSrc{Mark: 7})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		remote netip.AddrPort
		want   streaminfo.Source
	}{
		{netip.MustParseAddrPort("192.0.2.1:1000"), streaminfo.Source{Addr: netip.MustParseAddrPort("192.0.2.1:0"), Mark: 7}},
		{netip.MustParseAddrPort("[2001:db8::1]:1000"), streaminfo.Source{Addr: netip.MustParseAddrPort("[2001:db8::1]:0"), Mark: 7}},
		{netip.AddrPort{}, streaminfo.Source{}},
	} {
		info := &streaminfo.Connection{Remote: tt.remote}
		verdict, err := decoded.(Filter).Inspect(t.Context(), nil, info)
		if err != nil || verdict != filter.Continue || info.Source != tt.want {
			t.Errorf("%s: source %+v, verdict %v, %v; want %+v", tt.remote, info.Source, verdict, err, tt.want)
		}
	}
	if decoded, err := Factory().Decode(nil); err != nil || decoded.(Filter).Mark != 0 {
		t.Errorf("without configuration: %v, %v", decoded, err)
	}
}
