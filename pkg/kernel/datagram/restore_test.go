package datagram

import (
	"net/netip"
	"os"
	"testing"

	"github.com/weir-proxy/weir/pkg/kernel/kerneltest"
	"github.com/weir-proxy/weir/pkg/kernel/pin"
	"github.com/weir-proxy/weir/pkg/kernel/pin/pintest"
	"github.com/weir-proxy/weir/pkg/kernel/steer"
)

// TestRestore has somebody remove all pins under a daemon that runs.
func TestRestore(t *testing.T) {
	fs := kerneltest.BPFFS(t)
	b := newBench(t)
	h := kerneltest.Hierarchy(t)
	i, err := New(Options{ProxyMark: testMark, Hierarchy: h, OpenCapture: b.open, OpenPins: func() (*pin.Store, error) {
		return pin.Open(pin.Options{FS: fs, Instance: "test"})
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := i.Close(); err != nil {
			t.Error(err)
		}
	})
	plan := &steer.Plan{Cgroups: []string{h.Name(b.dir)}, Rules: []steer.Rule{{
		Prefix: netip.MustParsePrefix("192.0.2.53/32"), Port: 53, Protocol: steer.UDP, Action: steer.Redirect, Listener: "dns",
	}}}
	if err := i.Apply(plan); err != nil {
		t.Fatal(err)
	}
	before := pintest.State(t, fs)
	whole := before.Versions[0]
	if err := os.RemoveAll(before.Dir); err != nil {
		t.Fatal(err)
	}
	if whole.Maps+whole.Links == 0 {
		t.Error("nothing was pinned")
	}
	pintest.Restore(t, fs, i, whole, whole.Maps+whole.Links)
}
