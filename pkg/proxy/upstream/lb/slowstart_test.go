package lb

import (
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/upstream"
)

// since makes a host one whose slow start began some time ago.
func since(ago time.Duration) func(*upstream.Host) {
	return func(h *upstream.Host) {
		at := time.Now().Add(-ago)
		h.Since = &at
	}
}

// slow is slow start over 100 seconds.
func slow(aggression, least float64) model.SlowStart {
	return model.SlowStart{Window: 100 * time.Second, Aggression: aggression, MinWeight: least}
}

func TestGrown(t *testing.T) {
	runtime := func(a float64) func() (float64, bool) { return func() (float64, bool) { return a, true } }
	for _, tt := range []struct {
		name  string
		slow  model.SlowStart
		asked func() (float64, bool)
		host  func(*upstream.Host)
		want  float64
	}{
		{"half of its window", slow(1, 0.1), nil, since(50 * time.Second), 0.5},
		{"the least", slow(1, 0.1), nil, since(time.Second), 0.1},
		{"another least", slow(1, 0.3), nil, since(20 * time.Second), 0.3},
		{"no least", slow(1, 0), nil, since(time.Second), 0.01},
		{"brand new", slow(1, 0), nil, since(0), 1e-5},
		{"as good as nothing", slow(0.01, 0), nil, since(0), leastShare},
		{"at the end of its window", slow(1, 0.1), nil, since(100 * time.Second), 1},
		{"past it", slow(2, 0.1), nil, since(time.Hour), 1},
		{"aggressive", slow(2, 0.1), nil, since(25 * time.Second), 0.5},
		{"reluctant", slow(0.5, 0.1), nil, since(50 * time.Second), 0.25},
		{"the runtime says another", slow(1, 0.1), runtime(2), since(25 * time.Second), 0.5},
		{"the runtime says nonsense", slow(2, 0.1), runtime(-1), since(25 * time.Second), 0.25},
		{"the runtime says no number", slow(2, 0.1), runtime(math.NaN()), since(25 * time.Second), 0.25},
		{"the runtime says nothing", slow(2, 0.1), func() (float64, bool) { return 0, false }, since(25 * time.Second), 0.5},
		{"never healthy", slow(1, 0.1), nil, func(*upstream.Host) {}, 1},
		{"not healthy now", slow(1, 0.1), nil, func(h *upstream.Host) {
			since(time.Second)(h)
			h.Flags = upstream.FailedActiveHC
		}, 1},
		{"degraded", slow(1, 0.1), nil, func(h *upstream.Host) {
			since(time.Second)(h)
			h.Health = model.HealthDegraded
		}, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				if got := grown(host(1, tt.host), &tt.slow, tt.asked); math.Abs(got-tt.want) > 1e-9 {
					t.Errorf("has %v of its weight, want %v", got, tt.want)
				}
			})
		})
	}
}

func TestSlowStartShares(t *testing.T) {
	const old = time.Hour
	local := &model.Locality{Weight: 1}
	for _, tt := range []struct {
		name  string
		opt   Options
		hosts func() []*upstream.Host
		want  []float64
	}{
		{"one is new", Options{SlowStart: slow(1, 0.1)}, func() []*upstream.Host {
			return []*upstream.Host{host(1, since(old)), host(2, since(old)), host(3, since(0))}
		}, []float64{100 / 2.1, 100 / 2.1, 10 / 2.1}},
		{"weights count", Options{SlowStart: slow(1, 0.1)}, func() []*upstream.Host {
			return []*upstream.Host{host(1, since(old), weight(2)), host(2, since(50*time.Second), weight(4))}
		}, []float64{50, 50}},
		{"all are new", Options{SlowStart: slow(1, 0.1)}, func() []*upstream.Host {
			return []*upstream.Host{host(1, since(0)), host(2, since(0))}
		}, []float64{50, 50}},
		{"alone", Options{SlowStart: slow(1, 0.1)}, func() []*upstream.Host { return []*upstream.Host{host(1, since(0))} }, []float64{100}},
		{"least request", Options{Policy: model.LBLeastRequest, LeastRequest: model.LeastRequest{ActiveRequestBias: 1}, SlowStart: slow(1, 0.1)}, func() []*upstream.Host {
			return []*upstream.Host{host(1, since(old)), host(2, since(25*time.Second))}
		}, []float64{80, 20}},
		{"in a locality", Options{LocalityWeighted: true, SlowStart: slow(1, 0.1)}, func() []*upstream.Host {
			return []*upstream.Host{host(1, in(local), since(old)), host(2, in(local), since(25*time.Second))}
		}, []float64{80, 20}},
		{"not asked for", Options{}, func() []*upstream.Host { return []*upstream.Host{host(1, since(old)), host(2, since(0))} }, []float64{50, 50}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				hosts := tt.hosts()
				tt.opt.Rand = seeded()
				for i, got := range shares(t, New(hosts, tt.opt), hosts, 20000) {
					if math.Abs(got-tt.want[i]) > 0.5 {
						t.Errorf("host %d has %.1f %%, want %.1f", i, got, tt.want[i])
					}
				}
			})
		})
	}
}

// Busy hosts get less while weights grow, too.
func TestSlowStartLeastRequest(t *testing.T) {
	hosts := []*upstream.Host{host(1, since(time.Hour)), host(2, since(0))}
	hosts[0].Stats.RqActive.Store(4)
	s := New(hosts, Options{Policy: model.LBLeastRequest, LeastRequest: model.LeastRequest{ActiveRequestBias: 1}, SlowStart: slow(1, 0.8), Rand: seeded()})
	if got := shares(t, s, hosts, 10000); math.Abs(got[0]-20) > 0.5 { // a fifth against four fifths
		t.Errorf("the busy host has %.1f %%, want 20", got[0])
	}
}

// When the last window is over the policy is what it is without slow start, with no new set.
func TestSlowStartEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, tt := range []struct {
			policy model.LBPolicy
			want   picker
		}{{model.LBRoundRobin, &roundRobin{}}, {model.LBLeastRequest, &leastPicker{}}} {
			hosts := []*upstream.Host{host(1, since(time.Hour)), host(2, since(0))}
			s := New(hosts, Options{Policy: tt.policy, SlowStart: slow(1, 0.1), Rand: seeded()})
			p, ok := s.priorities[0].healthy.picker.(*slowPicker)
			if !ok {
				t.Fatalf("%v: %T while a host is new", tt.policy, s.priorities[0].healthy.picker)
			}
			time.Sleep(100*time.Second - 1)
			if p.now() != picker(p.growing) {
				t.Errorf("%v: the window ends early", tt.policy)
			}
			time.Sleep(time.Nanosecond)
			if got := shares(t, s, hosts, 10000); math.Abs(got[0]-50) > 2 {
				t.Errorf("%v: %.1f %% after the window, want 50", tt.policy, got[0])
			}
			if !p.over.Load() || p.now() != p.steady {
				t.Errorf("%v: the window does not end", tt.policy)
			}
			if _, slow := New(hosts, Options{Policy: tt.policy, SlowStart: slow(1, 0.1), Rand: seeded()}).priorities[0].healthy.picker.(*slowPicker); slow {
				t.Errorf("%v: a new set grows although nobody is new", tt.policy)
			}
		}
	})
}

// A new host gets its share although the set is made anew all the time, as when many endpoints come.
func TestSlowStartThroughUpdates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var hosts []*upstream.Host
		for i := range 10 {
			hosts = append(hosts, host(i, since(time.Hour)))
		}
		hosts = append(hosts, host(10, since(0)))
		random, picked := seeded(), 0
		const rounds, each = 5000, 4
		for range rounds {
			s := New(hosts, Options{SlowStart: slow(1, 0.2), Rand: random})
			for range each {
				if h, _ := s.Pick(&upstream.PickContext{}); h == hosts[10] {
					picked++
				}
			}
		}
		if got, want := 100*float64(picked)/(rounds*each), 20/10.2; math.Abs(got-want) > 0.4 {
			t.Errorf("the new host has %.2f %%, want %.2f", got, want)
		}
	})
}

func TestSlowStartDoesNotAllocate(t *testing.T) {
	hosts := []*upstream.Host{host(1, since(time.Hour)), host(2, since(0))}
	for name, o := range map[string]Options{
		"round robin": {SlowStart: slow(2, 0.1)},
		"least":       {Policy: model.LBLeastRequest, SlowStart: slow(2, 0.1), LeastRequest: model.LeastRequest{ActiveRequestBias: 2}},
	} {
		s, pc := New(hosts, o), &upstream.PickContext{}
		if n := testing.AllocsPerRun(200, func() { s.Pick(pc) }); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func TestSlowStartPeek(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hosts := []*upstream.Host{host(1, since(time.Hour)), host(2, since(0))}
		s := New(hosts, Options{SlowStart: slow(1, 0.1), Rand: seeded()})
		if s.Peek(0) == nil {
			t.Error("no likely host while weights grow")
		}
		time.Sleep(100 * time.Second)
		for range 5 {
			want := s.Peek(0)
			if got, _ := s.Pick(&upstream.PickContext{}); got != want {
				t.Errorf("picked %v after %v was predicted", got, want)
			}
		}
	})
}

func BenchmarkSlowStart(b *testing.B) {
	for name, ago := range map[string]time.Duration{"growing": 0, "over": time.Hour} {
		b.Run(name, func(b *testing.B) {
			var hosts []*upstream.Host
			for i := range 100 {
				hosts = append(hosts, host(i, since(ago)))
			}
			s := New(hosts, Options{SlowStart: model.SlowStart{Window: 30 * time.Minute, Aggression: 1, MinWeight: 0.1}})
			for b.Loop() {
				s.Pick(&upstream.PickContext{})
			}
		})
	}
}
