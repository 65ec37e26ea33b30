package timer

import (
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestFiresOnceAtItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := New()
		defer w.Close()
		start := time.Now()
		fired := make(chan time.Duration, 2)
		var tm Timer
		tm.Init(w, func() { fired <- time.Since(start) })
		tm.Arm(1500 * time.Millisecond)
		if got := <-fired; got != 1500*time.Millisecond {
			t.Errorf("fired after %v, want 1.5s", got)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if len(fired) != 0 || tm.Armed() {
			t.Errorf("fired again or still armed")
		}
		tm.Release()
	})
}

func TestRearming(t *testing.T) {
	cases := []struct {
		name string
		arms []time.Duration // each 10 ms after the one before; negative disarms
		want time.Duration   // since the start; 0: never
	}{
		{"later", []time.Duration{time.Second, 5 * time.Second}, 5010 * time.Millisecond},
		{"earlier", []time.Duration{time.Hour, 50 * time.Millisecond}, 60 * time.Millisecond},
		{"disarmed", []time.Duration{time.Second, -1}, 0},
		{"armed again after disarm", []time.Duration{time.Second, -1, time.Second}, 1020 * time.Millisecond},
		{"pushed on and on", []time.Duration{20 * time.Millisecond, 20 * time.Millisecond, 20 * time.Millisecond, 20 * time.Millisecond}, 50 * time.Millisecond},
		{"zero is at once", []time.Duration{0}, time.Nanosecond},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := New()
				defer w.Close()
				start := time.Now()
				var at atomic.Int64
				var tm Timer
				tm.Init(w, func() { at.Store(max(1, int64(time.Since(start)))) })
				defer tm.Release()
				for i, d := range tc.arms {
					if i > 0 {
						time.Sleep(10 * time.Millisecond)
					}
					if d < 0 {
						tm.Disarm()
					} else {
						tm.Arm(d)
					}
				}
				time.Sleep(2 * time.Hour)
				synctest.Wait()
				if got := time.Duration(at.Load()); got < tc.want || got > tc.want+time.Millisecond {
					t.Errorf("fired at %v, want %v", got, tc.want)
				}
			})
		})
	}
}

func TestReleaseWaitsForFire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := New()
		defer w.Close()
		var running, done atomic.Bool
		var tm Timer
		tm.Init(w, func() {
			running.Store(true)
			time.Sleep(time.Second)
			tm.Arm(time.Millisecond)
			done.Store(true)
		})
		tm.Arm(time.Millisecond)
		time.Sleep(2 * time.Millisecond)
		synctest.Wait()
		if !running.Load() || done.Load() {
			t.Fatal("fire is not under way")
		}
		tm.Release()
		if !done.Load() {
			t.Error("Release came back while fire ran")
		}
		done.Store(false)
		time.Sleep(time.Hour)
		if done.Load() {
			t.Error("fired after Release")
		}
		tm.Arm(time.Millisecond) // does nothing
		tm.Release()
	})
}

func TestManyTimersFireInTheirOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := New()
		defer w.Close()
		start := time.Now()
		rnd := rand.New(rand.NewPCG(1, 2))
		type entry struct {
			tm   Timer
			want time.Duration
			got  atomic.Int64
		}
		entries := make([]entry, 500)
		for i := range entries {
			e := &entries[i]
			e.tm.Init(w, func() { e.got.Store(int64(time.Since(start))) })
			for range 3 {
				e.want = time.Duration(1+rnd.IntN(1_000_000)) * time.Microsecond
				e.tm.Arm(e.want)
			}
			if rnd.IntN(4) == 0 {
				e.tm.Disarm()
				e.want = 0
			}
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		for i := range entries {
			e := &entries[i]
			if got := time.Duration(e.got.Load()); got != e.want {
				t.Errorf("timer %d fired at %v, want %v", i, got, e.want)
			}
			e.tm.Release()
		}
		if len(w.heap) != 0 {
			t.Errorf("%d timers left in the heap", len(w.heap))
		}
	})
}

func TestCloseStopsEverything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := New()
		var fired atomic.Bool
		var tm Timer
		tm.Init(w, func() { fired.Store(true) })
		tm.Arm(time.Second)
		w.Close()
		w.Close()
		tm.Arm(time.Millisecond)
		time.Sleep(time.Hour)
		if fired.Load() {
			t.Error("fired after Close")
		}
		tm.Release()
	})
}

func TestConcurrentArmIsNeverLost(t *testing.T) {
	w := New()
	t.Cleanup(w.Close)
	for range 200 {
		fired := make(chan struct{}, 64)
		var tm Timer
		tm.Init(w, func() { fired <- struct{}{} })
		for range 20 {
			tm.Arm(time.Duration(rand.IntN(100)) * time.Microsecond)
		}
		tm.Arm(50 * time.Microsecond)
		select {
		case <-fired:
		case <-time.After(10 * time.Second):
			t.Fatal("an armed timer did not fire")
		}
		tm.Release()
	}
}

func TestArmDoesNotAllocate(t *testing.T) {
	w := New()
	t.Cleanup(w.Close)
	var tm Timer
	tm.Init(w, func() {})
	t.Cleanup(tm.Release)
	if n := testing.AllocsPerRun(1000, func() {
		tm.Arm(time.Minute)
		tm.Disarm()
		tm.Arm(15 * time.Second)
	}); n != 0 {
		t.Errorf("Arm allocates %v times", n)
	}
}

func BenchmarkArm(b *testing.B) {
	w := New()
	b.Cleanup(w.Close)
	var tm Timer
	tm.Init(w, func() {})
	b.Cleanup(tm.Release)
	for b.Loop() {
		tm.Arm(15 * time.Second)
		tm.Disarm()
	}
}
