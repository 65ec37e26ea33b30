// Package pintest lets tests of those who pin look at what is pinned, and see it pinned again after somebody has removed it.
//
// It must not know who pins. It holds no state.
package pintest

import (
	"testing"

	"github.com/weir-proxy/weir/pkg/kernel/pin"
)

// Open opens the store of an instance of the test's own, as the first daemon on this BPF file system.
func Open(t testing.TB, fs string) *pin.Store {
	t.Helper()
	s, err := pin.Open(pin.Options{FS: fs, Instance: "test"})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// State is what is pinned on the BPF file system: the state of one instance, in one version.
func State(t testing.TB, fs string) pin.State {
	t.Helper()
	all, err := pin.List(fs)
	if err != nil || len(all) != 1 || len(all[0].Versions) != 1 {
		t.Fatalf("pinned is %+v (%v), want one version of one instance", all, err)
	}
	return all[0]
}

// Restorer pins again what somebody has removed, and tells how many pins that were.
type Restorer interface {
	Restore() (missing int, err error)
}

// Restore has so many pins found missing, once, after which the state is whole again.
func Restore(t testing.TB, fs string, r Restorer, whole pin.Version, missing int) {
	t.Helper()
	for _, want := range []int{missing, 0} {
		if got, err := r.Restore(); err != nil || got != want {
			t.Fatalf("%d pins were missing (%v), want %d", got, err, want)
		}
	}
	if now := State(t, fs); now.Versions[0] != whole || !now.Owned {
		t.Errorf("pinned is %+v, want %+v, and owned", now, whole)
	}
}
