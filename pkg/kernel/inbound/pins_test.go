package inbound

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/weir-proxy/weir/pkg/kernel/kerneltest"
	"github.com/weir-proxy/weir/pkg/kernel/pin"
	"github.com/weir-proxy/weir/pkg/kernel/pin/pintest"
)

// Somebody removes one pin, then all of them, under a daemon that runs: they are made anew, and what was to outlive it does.
func TestRestore(t *testing.T) {
	fs := kerneltest.BPFFS(t)
	store := pintest.Open(t, fs)
	b := newBenchWith(t, Options{Pins: store})
	b.start(t, everywhere())
	whole := pintest.State(t, fs).Versions[0]
	pintest.Restore(t, fs, b, whole, 0)
	name := filepath.Join(store.Dir(), whole.Layout, "link_"+pinName(b.Namespace.Cookie()))
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	pintest.Restore(t, fs, b, whole, 1)
	if err := os.RemoveAll(store.Dir()); err != nil {
		t.Fatal(err)
	}
	pintest.Restore(t, fs, b, whole, whole.Links)
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	if all, err := pin.List(fs); err != nil || len(all) != 0 {
		t.Errorf("after the end, pinned is %+v (%v)", all, err)
	}
}
