package filter

import (
	"sync/atomic"
	"testing"
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
