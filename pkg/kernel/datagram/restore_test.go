package datagram

import (
	"net/netip"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/weir-proxy/weir/pkg/kernel/cgroup"
	"github.com/weir-proxy/weir/pkg/kernel/pin"
	"github.com/weir-proxy/weir/pkg/kernel/steer"
)

// TestRestore has somebody remove all pins under a daemon that runs.
func TestRestore(t *testing.T) {
	fs := t.TempDir()
	b := newBench(t)
	h, err := cgroup.Find()
	if err != nil {
		t.Fatal(err)
	}
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
		if err := unix.Unmount(fs, 0); err != nil {
			t.Error(err)
		}
	})
	plan := &steer.Plan{Cgroups: []string{h.Name(b.dir)}, Rules: []steer.Rule{{
		Prefix: netip.MustParsePrefix("192.0.2.53/32"), Port: 53, Protocol: steer.UDP, Action: steer.Redirect, Listener: "dns",
	}}}
	if err := i.Apply(plan); err != nil {
		t.Fatal(err)
	}
	state := func() pin.State {
		t.Helper()
		all, err := pin.List(fs)
		if err != nil || len(all) != 1 || len(all[0].Versions) != 1 {
			t.Fatalf("pinned is %+v (%v)", all, err)
		}
		return all[0]
	}
	before := state()
	whole := before.Versions[0]
	if err := os.RemoveAll(before.Dir); err != nil {
		t.Fatal(err)
	}
	for try, want := range []int{whole.Maps + whole.Links, 0} {
		if got, err := i.Restore(); err != nil || got != want || want == 0 && try == 0 {
			t.Errorf("look %d: %d pins were missing (%v), want %d", try, got, err, want)
		}
	}
	if now := state(); now.Versions[0] != whole || !now.Owned {
		t.Errorf("pinned is %+v, want %+v, and owned", now, whole)
	}
}
