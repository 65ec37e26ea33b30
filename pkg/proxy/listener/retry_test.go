package listener

import (
	"net"
	"testing"

	"github.com/weir-proxy/weir/pkg/config/model"
)

// TestFailedListenerIsNotTriedAllTheTime applies snapshots that change no listener while one cannot be bound, as a stream of
// endpoint updates does.
func TestFailedListenerIsNotTriedAllTheTime(t *testing.T) {
	b := newBed(t, nil)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	l := bound("in", taken.Addr().String(), plainChain("in", model.FilterChainMatch{}))
	snap := &model.Snapshot{}
	snap.Listeners = snap.Listeners.With(l.Name, l)
	if errs := b.Apply(snap); len(errs) != 1 {
		t.Fatalf("errors %v", errs)
	}
	tries := 1
	for range 1000 {
		tries += len(b.Apply(snap))
	}
	if tries < 2 || tries > 20 { // the first retry is at once, the others a second apart
		t.Errorf("tried %d times", tries)
	}
	if err := taken.Close(); err != nil {
		t.Fatal(err)
	}
	next := *snap
	other := bound("other", "127.0.0.1:0", plainChain("other", model.FilterChainMatch{}))
	next.Listeners = next.Listeners.With(other.Name, other)
	if errs := b.Apply(&next); len(errs) != 0 {
		t.Errorf("after the address was free and a listener changed: %v", errs)
	}
	if n := len(b.List()); n != 2 {
		t.Errorf("%d listeners", n)
	}
}
