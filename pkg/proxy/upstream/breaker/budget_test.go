package breaker

import (
	"testing"

	"github.com/weir-proxy/weir/pkg/observe/stats"
)

func TestBudget(t *testing.T) {
	gauge := func(name string) *stats.Gauge { return stats.NewStore().Root().Gauge(name) }
	requests, pending, open := New(100, gauge("a")), New(100, gauge("b")), gauge("c")
	retries := New(1, open)
	retries.SetBudget(&Budget{Percent: 20, Least: 2, Of: []*Breaker{requests, pending}})
	take := func(want int) {
		t.Helper()
		got := 0
		for retries.Try() {
			got++
		}
		if got != want || open.Value() != 1 {
			t.Errorf("%d retries, want %d; open %d", got, want, open.Value())
		}
		for range got {
			retries.Release()
		}
		if open.Value() != 0 {
			t.Error("the breaker stays open")
		}
	}
	take(2) // the least
	for range 12 {
		requests.Force()
		pending.Force()
	}
	take(4) // 20 % of 24
	retries.SetBudget(nil)
	take(1) // the plain limit again
}
