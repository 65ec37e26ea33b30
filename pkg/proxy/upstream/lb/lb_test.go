package lb

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/upstream"
)

// seeded gives each test the same random numbers each time.
func seeded() func() uint64 { return rand.New(rand.NewPCG(1, 2)).Uint64 }

func host(i int, change ...func(*upstream.Host)) *upstream.Host {
	h := upstream.NewHost(netip.MustParseAddrPort(fmt.Sprintf("10.0.%d.%d:80", i/250, i%250+1)))
	for _, c := range change {
		c(h)
	}
	return h
}

func weight(w uint32) func(*upstream.Host) { return func(h *upstream.Host) { h.Weight = w } }
func health(s model.HealthStatus) func(*upstream.Host) {
	return func(h *upstream.Host) { h.Health = s }
}
func prio(p uint32) func(*upstream.Host)        { return func(h *upstream.Host) { h.Priority = p } }
func in(l *model.Locality) func(*upstream.Host) { return func(h *upstream.Host) { h.Locality = l } }

// shares picks n times and returns the share of each host in percent.
func shares(t *testing.T, s *Set, hosts []*upstream.Host, n int) []float64 {
	t.Helper()
	count := make(map[*upstream.Host]int)
	for range n {
		h, _ := s.Pick(&upstream.PickContext{})
		if h == nil {
			t.Fatal("no host")
		}
		count[h]++
	}
	out := make([]float64, len(hosts))
	for i, h := range hosts {
		out[i] = 100 * float64(count[h]) / float64(n)
	}
	return out
}

func TestDistribution(t *testing.T) {
	near, far, closed := &model.Locality{Zone: "near", Weight: 3}, &model.Locality{Zone: "far", Weight: 1}, &model.Locality{Zone: "closed"}
	tests := []struct {
		name  string
		opt   Options
		hosts []*upstream.Host
		want  []float64
	}{
		{"round robin", Options{}, []*upstream.Host{host(1), host(2), host(3), host(4)}, []float64{25, 25, 25, 25}},
		{"round robin weighted", Options{}, []*upstream.Host{host(1, weight(1)), host(2, weight(3)), host(3, weight(6))}, []float64{10, 30, 60}},
		{"random ignores weights", Options{Policy: model.LBRandom}, []*upstream.Host{host(1, weight(1)), host(2, weight(9))}, []float64{50, 50}},
		{"least request without load", Options{Policy: model.LBLeastRequest}, []*upstream.Host{host(1), host(2)}, []float64{50, 50}},
		{
			"least request weighted",
			Options{Policy: model.LBLeastRequest, LeastRequest: model.LeastRequest{ActiveRequestBias: 1}},
			[]*upstream.Host{host(1, weight(1)), host(2, weight(4))},
			[]float64{20, 80},
		},
		{
			"unhealthy and draining get nothing",
			Options{PanicThreshold: 10},
			[]*upstream.Host{host(1), host(2, health(model.HealthUnhealthy)), host(3, health(model.HealthDraining)), host(4, health(model.HealthTimeout))},
			[]float64{100, 0, 0, 0},
		},
		{
			"panic takes all",
			Options{PanicThreshold: 50},
			[]*upstream.Host{host(1), host(2, health(model.HealthUnhealthy)), host(3, health(model.HealthDraining)), host(4, health(model.HealthTimeout))},
			[]float64{25, 25, 25, 25},
		},
		{
			"no panic while another priority is whole",
			Options{PanicThreshold: 50},
			[]*upstream.Host{host(1, health(model.HealthUnhealthy)), host(2, health(model.HealthUnhealthy)), host(3, prio(1)), host(4, prio(1))},
			[]float64{0, 0, 50, 50},
		},
		{
			"half of the first priority spills to the second",
			Options{PanicThreshold: 10},
			[]*upstream.Host{host(1), host(2, health(model.HealthUnhealthy)), host(3, prio(1)), host(4, prio(1))},
			[]float64{70, 0, 15, 15},
		},
		{
			"priorities with gaps",
			Options{PanicThreshold: 50},
			[]*upstream.Host{host(1, prio(3)), host(2, prio(7))},
			[]float64{100, 0},
		},
		{
			"degraded take what the healthy cannot",
			Options{PanicThreshold: 10},
			[]*upstream.Host{host(1), host(2, health(model.HealthDegraded)), host(3, health(model.HealthDegraded)), host(4, health(model.HealthDegraded))},
			[]float64{35, 65. / 3, 65. / 3, 65. / 3},
		},
		{
			"locality weights",
			Options{LocalityWeighted: true},
			[]*upstream.Host{host(1, in(near)), host(2, in(near)), host(3, in(far)), host(4, in(closed))},
			[]float64{37.5, 37.5, 25, 0},
		},
		{
			"locality weights that nobody asked for",
			Options{},
			[]*upstream.Host{host(1, in(near)), host(2, in(near)), host(3, in(far)), host(4, in(closed))},
			[]float64{25, 25, 25, 25},
		},
		{
			"locality weight shrinks with health",
			Options{PanicThreshold: 10, LocalityWeighted: true},
			[]*upstream.Host{host(1, in(near)), host(2, in(near), health(model.HealthUnhealthy)), host(3, in(far)), host(4, in(far))},
			[]float64{100 * 2.1 / 3.1, 0, 50 / 3.1, 50 / 3.1},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.opt.Rand = seeded()
			set := New(tt.hosts, tt.opt)
			got := shares(t, set, tt.hosts, 20_000)
			outlined := outlineShares(set.Outline(), tt.hosts)
			for i := range got {
				if math.Abs(got[i]-tt.want[i]) > 1.5 {
					t.Fatalf("shares %v, want %v", got, tt.want)
				}
				if math.Abs(outlined[i]-tt.want[i]) > 0.01 {
					t.Fatalf("outlined shares %v, want %v", outlined, tt.want)
				}
			}
		})
	}
}

func TestNoHost(t *testing.T) {
	tests := []struct {
		name  string
		hosts []*upstream.Host
	}{
		{"empty", nil},
		{"all unhealthy and panic off", []*upstream.Host{host(1, health(model.HealthUnhealthy)), host(2, prio(1), health(model.HealthTimeout))}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if h, panicked := New(tt.hosts, Options{}).Pick(&upstream.PickContext{}); h != nil || panicked {
				t.Errorf("picked %v, panicked %v", h, panicked)
			}
		})
	}
}

func TestPriorityLoads(t *testing.T) {
	tests := []struct {
		name      string
		counts    []availability
		threshold float64
		want      []load
	}{
		{"72 percent is whole", []availability{{100, 72, 0}, {100, 100, 0}}, 50, []load{{healthy: 100}, {}}},
		{"71 percent is not", []availability{{100, 71, 0}, {100, 100, 0}}, 50, []load{{healthy: 99}, {healthy: 1}}},
		{"degraded of the first before nobody", []availability{{10, 5, 5}}, 50, []load{{healthy: 70, degraded: 30}}},
		{
			"normalised when nobody is whole",
			[]availability{{100, 20, 0}, {100, 20, 0}},
			50,
			[]load{{healthy: 50, panics: true}, {healthy: 50, panics: true}},
		},
		{"total panic by count", []availability{{3, 0, 0}, {1, 0, 0}}, 50, []load{{healthy: 75, panics: true}, {healthy: 25, panics: true}}},
		{"rounding goes to the first", []availability{{3, 0, 0}, {3, 0, 0}, {3, 0, 0}}, 50, []load{{healthy: 34, panics: true}, {healthy: 33, panics: true}, {healthy: 33, panics: true}}},
		{"nobody", []availability{}, 50, []load{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := distribute(tt.counts, 140, tt.threshold)
			if d := cmp.Diff(tt.want, got, cmp.AllowUnexported(load{})); d != "" {
				t.Errorf("loads (-want +got):\n%s", d)
			}
		})
	}
}

// TestLoadsSumUp is a property: whatever the hosts, all of the traffic goes somewhere.
func TestLoadsSumUp(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 5000 {
		counts, any := make([]availability, 1+r.IntN(4)), false
		for i := range counts {
			total := r.IntN(20)
			healthy := r.IntN(total + 1)
			counts[i] = availability{total, healthy, r.IntN(total - healthy + 1)}
			any = any || total > 0
		}
		sum := uint32(0)
		for _, l := range distribute(counts, 100+uint32(r.IntN(100)), 50) {
			sum += l.healthy + l.degraded
		}
		if any && sum != 100 || !any && sum != 0 {
			t.Fatalf("loads of %v sum up to %d", counts, sum)
		}
	}
}

// TestWeightedIsEven is a property: in each run of sum(weights) picks, a host gets its weight exactly.
func TestWeightedIsEven(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for range 50 {
		var hosts []*upstream.Host
		sum := 0
		for i := range 2 + r.IntN(6) {
			w := uint32(1 + r.IntN(9))
			sum += int(w)
			hosts = append(hosts, host(i, weight(w)))
		}
		s := New(hosts, Options{Rand: r.Uint64})
		got := shares(t, s, hosts, 100*sum)
		for i, h := range hosts {
			if want := 100 * float64(h.Weight) / float64(sum); math.Abs(got[i]-want) > 1 {
				t.Fatalf("weights %v: host %d has %.2f %%, want %.2f", hosts, i, got[i], want)
			}
		}
	}
}

func TestRandomisedStart(t *testing.T) {
	random := seeded()
	for _, w := range []uint32{1, 2} { // equal and unequal weights
		first := make(map[int]int)
		hosts := []*upstream.Host{host(0, weight(w)), host(1), host(2), host(3)}
		for range 400 {
			h, _ := New(hosts, Options{Rand: random}).Pick(&upstream.PickContext{})
			for i := range hosts {
				if hosts[i] == h {
					first[i]++
				}
			}
		}
		if len(first) < 3 {
			t.Errorf("weight %d: first picks %v are not spread", w, first)
		}
	}
}

func TestLeastRequestAvoidsTheBusy(t *testing.T) {
	for _, tt := range []struct {
		name  string
		first uint32
		max   float64
	}{{"equal weights", 1, 35}, {"unequal weights", 2, 5}} {
		t.Run(tt.name, func(t *testing.T) {
			hosts := []*upstream.Host{host(1, weight(tt.first)), host(2)}
			s := New(hosts, Options{Policy: model.LBLeastRequest, LeastRequest: model.LeastRequest{ActiveRequestBias: 1}, Rand: seeded()})
			hosts[0].Stats.RqActive.Store(100)
			// Two draws out of two hosts hit the busy one twice in a quarter of the cases.
			if got := shares(t, s, hosts, 5000); got[0] > tt.max {
				t.Errorf("the busy host has %.1f %%", got[0])
			}
		})
	}
}

func TestAvoidTried(t *testing.T) {
	hosts := []*upstream.Host{host(1), host(2)}
	s := New(hosts, Options{Rand: seeded()})
	pc := &upstream.PickContext{Tried: hosts[:1], AvoidTried: true, Attempts: 3}
	for range 50 {
		if h, _ := s.Pick(pc); h != hosts[1] {
			t.Fatal("a tried host was picked although another was left")
		}
	}
	pc.Tried = hosts
	if h, _ := s.Pick(pc); h == nil {
		t.Error("no host although attempts were used up")
	}
}

func TestPickDoesNotAllocate(t *testing.T) {
	l := &model.Locality{Weight: 1}
	for name, s := range map[string]*Set{
		"round robin": New([]*upstream.Host{host(1), host(2)}, Options{}),
		"weighted":    New([]*upstream.Host{host(1), host(2, weight(2))}, Options{}),
		"least":       New([]*upstream.Host{host(1), host(2)}, Options{Policy: model.LBLeastRequest}),
		"biased":      New([]*upstream.Host{host(1), host(2, weight(2))}, Options{Policy: model.LBLeastRequest}),
		"locality":    New([]*upstream.Host{host(1, in(l)), host(2, in(l))}, Options{LocalityWeighted: true}),
		"spill":       New([]*upstream.Host{host(1, health(model.HealthUnhealthy)), host(2), host(3, prio(1))}, Options{}),
	} {
		pc := &upstream.PickContext{}
		if n := testing.AllocsPerRun(200, func() { s.Pick(pc) }); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func TestConcurrentPicks(t *testing.T) {
	hosts := []*upstream.Host{host(1), host(2, weight(2)), host(3, weight(3))}
	s := New(hosts, Options{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 2000 {
				if h, _ := s.Pick(&upstream.PickContext{}); h == nil {
					t.Error("no host")
					return
				}
			}
		})
	}
	wg.Wait()
}

func BenchmarkPick(b *testing.B) {
	var hosts []*upstream.Host
	for i := range 100 {
		hosts = append(hosts, host(i, weight(uint32(1+i%3))))
	}
	for name, o := range map[string]Options{"weighted": {}, "least": {Policy: model.LBLeastRequest}, "random": {Policy: model.LBRandom}} {
		b.Run(name, func(b *testing.B) {
			s := New(hosts, o)
			for b.Loop() {
				s.Pick(&upstream.PickContext{})
			}
		})
	}
}
