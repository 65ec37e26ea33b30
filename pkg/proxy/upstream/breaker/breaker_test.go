package breaker

import (
	"sync"
	"testing"

	"github.com/weir-proxy/weir/pkg/observe/stats"
)

func TestLimit(t *testing.T) {
	root := stats.NewStore().Root()
	open, left := root.Gauge("open"), root.Gauge("left")
	b := New(2, open)
	b.Track(left)
	for range 2 {
		if !b.Try() {
			t.Fatal("refused below the limit")
		}
	}
	if b.Try() {
		t.Fatal("took beyond the limit")
	}
	if open.Value() != 1 || left.Value() != 0 || b.Used() != 2 {
		t.Errorf("open %d, left %d, used %d; want 1, 0, 2", open.Value(), left.Value(), b.Used())
	}
	b.Force()
	if b.Used() != 3 || open.Value() != 1 {
		t.Errorf("forced: used %d, open %d; want 3, 1", b.Used(), open.Value())
	}
	b.Release()
	b.Release()
	if open.Value() != 0 || left.Value() != 1 {
		t.Errorf("released: open %d, left %d; want 0, 1", open.Value(), left.Value())
	}
	b.SetLimit(1)
	if open.Value() != 1 || b.Try() {
		t.Error("a lower limit did not open the breaker")
	}
}

func TestGaugeAgreesAfterRaces(t *testing.T) {
	open := stats.NewStore().Root().Gauge("open")
	b := New(3, open)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 20_000 {
				if b.Try() {
					b.Release()
				}
			}
		})
	}
	wg.Wait()
	if b.Used() != 0 || open.Value() != 0 {
		t.Errorf("used %d, open %d; want 0, 0", b.Used(), open.Value())
	}
}

func TestDoesNotAllocate(t *testing.T) {
	b := New(1, stats.NewStore().Root().Gauge("open"))
	if n := testing.AllocsPerRun(100, func() {
		b.Try()
		b.Release()
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
