package listener

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/conn/conntest"
)

func TestDoors(t *testing.T) {
	b := newBed(t, nil)
	want := func(when string, addrs ...netip.AddrPort) {
		t.Helper()
		slices.SortFunc(addrs, netip.AddrPort.Compare)
		if got := b.Doors(); !slices.Equal(got, addrs) {
			t.Errorf("%s: %v, want %v", when, got, addrs)
		}
	}
	want("nothing is open")
	b.mustApply(bound("one", "127.0.0.1:0", plainChain("main", model.FilterChainMatch{})))
	one := netip.MustParseAddrPort(b.address("one"))
	want("a listener", one)
	if err := b.OpenCapture(); err != nil {
		t.Fatal(err)
	}
	v4, v6 := b.CaptureAddrs()
	in := conntest.Namespace(t, true)
	within, err := b.OpenCaptureIn(in)
	if err != nil {
		t.Fatal(err)
	}
	want("capture sockets in two namespaces", append([]netip.AddrPort{one, v4, v6}, within...)...)
	b.CloseCaptureIn(in)
	b.mustApply()
	want("the listener and a namespace have gone", v4, v6)
}
