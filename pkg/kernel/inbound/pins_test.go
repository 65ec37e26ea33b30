package inbound

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/weir-proxy/weir/pkg/kernel/pin"
)

// Somebody removes one pin, then all of them, under a daemon that runs: they are made anew, and what was to outlive it does.
func TestRestore(t *testing.T) {
	fs := t.TempDir()
	t.Cleanup(func() {
		if err := unix.Unmount(fs, 0); err != nil {
			t.Error(err)
		}
	})
	store, err := pin.Open(pin.Options{FS: fs, Instance: "test"})
	if err != nil {
		t.Fatal(err)
	}
	b := newBenchWith(t, Options{Pins: store})
	b.start(t, everywhere())
	state := func() pin.State {
		t.Helper()
		all, err := pin.List(fs)
		if err != nil || len(all) != 1 || len(all[0].Versions) != 1 {
			t.Fatalf("pinned is %+v (%v)", all, err)
		}
		return all[0]
	}
	whole := state().Versions[0]
	restore := func(want int) {
		t.Helper()
		for _, want := range []int{want, 0} {
			if got, err := b.Restore(); err != nil || got != want {
				t.Fatalf("%d pins were missing (%v), want %d", got, err, want)
			}
		}
		if now := state(); now.Versions[0] != whole || !now.Owned {
			t.Errorf("pinned is %+v, want %+v, and owned", now, whole)
		}
	}
	restore(0)
	name := filepath.Join(store.Dir(), whole.Layout, "link_"+pinName(b.Namespace.Cookie()))
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	restore(1)
	if err := os.RemoveAll(store.Dir()); err != nil {
		t.Fatal(err)
	}
	restore(whole.Links)
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	if all, err := pin.List(fs); err != nil || len(all) != 0 {
		t.Errorf("after the end, pinned is %+v (%v)", all, err)
	}
}
