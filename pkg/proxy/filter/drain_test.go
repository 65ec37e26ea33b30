package filter

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestDrain(t *testing.T) {
	var told atomic.Int32
	var d Drain
	d.Notify(func() { told.Add(1) })
	d.Begin()
	d.Begin()
	d.Forget()
	if told.Load() != 1 {
		t.Errorf("told %d times, want once", told.Load())
	}
	d.Notify(func() { told.Add(1) })
	d.Forget()
	if told.Load() != 2 {
		t.Error("who comes after the drain began is not told")
	}
	var other Drain
	other.Notify(func() { told.Add(1) })
	other.Forget()
	other.Begin()
	if told.Load() != 2 {
		t.Error("told after Forget")
	}
}

func TestDrainDue(t *testing.T) {
	for _, tc := range []struct {
		name       string
		over, age  time.Duration
		none       bool
		least, max int // of 1000 responses
	}{
		{name: "no drain", none: true},
		{name: "at once", least: 1000, max: 1000},
		{name: "the beginning", over: time.Minute, max: 0},
		{name: "a quarter", over: time.Minute, age: 15 * time.Second, least: 150, max: 350},
		{name: "the end", over: time.Minute, age: time.Minute, least: 1000, max: 1000},
		{name: "long after", over: time.Minute, age: time.Hour, least: 1000, max: 1000},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var d Drain
				if !tc.none {
					d.Within(&Period{Since: time.Now(), Over: tc.over})
				}
				time.Sleep(tc.age)
				due := 0
				for range 1000 {
					if d.Due() {
						due++
					}
				}
				if due < tc.least || due > tc.max {
					t.Errorf("%d of 1000 responses are to be the last one, want %d to %d", due, tc.least, tc.max)
				}
				if n := testing.AllocsPerRun(100, func() { d.Due() }); n != 0 {
					t.Errorf("%v allocations for each response", n)
				}
			})
		})
	}
}
