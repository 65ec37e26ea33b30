package outlier_test

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/observe/stats"
	"github.com/weir-proxy/weir/pkg/proxy/upstream/outlier"
)

// defaults is what an empty configuration means, but that half of the hosts may be out.
func defaults() *model.OutlierDetection {
	return &model.OutlierDetection{
		Consecutive5xx: 5, ConsecutiveGatewayFailure: 5, ConsecutiveLocalOrigin: 5,
		Interval: 10 * time.Second, BaseEjectionTime: 30 * time.Second, MaxEjectionTime: 300 * time.Second, MaxEjectionPercent: 50,
		Enforce:           model.OutlierEnforcement{Consecutive5xx: 100, ConsecutiveLocalOrigin: 100, SuccessRate: 100, LocalOriginSuccessRate: 100},
		SuccessRate:       model.OutlierSuccessRate{MinimumHosts: 5, RequestVolume: 100, Factor: 1900},
		FailurePercentage: model.OutlierFailurePercentage{MinimumHosts: 5, RequestVolume: 50, Threshold: 85},
	}
}

// rig is a detector and what it told.
type rig struct {
	*outlier.Detector
	hosts []*outlier.Host
	store *stats.Store

	mu      sync.Mutex
	changed []int
	events  []outlier.Event
}

func newRig(t *testing.T, cfg *model.OutlierDetection, runtime *model.Runtime, hosts int) *rig {
	t.Helper()
	r := &rig{store: stats.NewStore()}
	r.Detector = outlier.New(cfg, outlier.Options{
		Stats: r.store.Root().Scope("cluster.web"), Runtime: runtime, Rand: func() uint64 { return 50 },
		Changed: func(h *outlier.Host) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.changed = append(r.changed, h.Owner.(int))
		},
		Event: func(e outlier.Event) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.events = append(r.events, e)
		},
	})
	t.Cleanup(r.Close)
	for i := range hosts {
		r.hosts = append(r.hosts, r.Add(i))
	}
	return r
}

func (r *rig) ejected() []int {
	out := []int{}
	for i, h := range r.hosts {
		if h.Ejected() {
			out = append(out, i)
		}
	}
	return out
}

func (r *rig) expect(t *testing.T, hosts ...int) {
	t.Helper()
	if diff := cmp.Diff(append([]int{}, hosts...), r.ejected()); diff != "" {
		t.Errorf("hosts that are out (-want +got):\n%s", diff)
	}
}

func (r *rig) stat(t *testing.T, name string, want uint64) {
	t.Helper()
	full := "cluster.web.outlier_detection." + name
	if got := r.value(full); got != want {
		t.Errorf("%s = %d, want %d", full, got, want)
	}
}

func (r *rig) value(name string) uint64 {
	root := r.store.Root()
	if name == "cluster.web.outlier_detection.ejections_active" {
		return root.Gauge(name).Value()
	}
	return root.Counter(name).Value()
}

func times(n int, f func()) {
	for range n {
		f()
	}
}

// What a host answers, and what happens on the way to it, ejects it as Envoy's counters in a row do.
func TestConsecutive(t *testing.T) {
	fail := func(status int) func(*outlier.Host) { return func(h *outlier.Host) { h.PutStatus(status) } }
	way := func(r outlier.Result) func(*outlier.Host) { return func(h *outlier.Host) { h.Put(r) } }
	split := func(c *model.OutlierDetection) { c.SplitLocalOrigin = true }
	for _, c := range []struct {
		name  string
		with  func(*model.OutlierDetection)
		times int
		put   func(*outlier.Host)
		out   bool
		stat  string
	}{
		{"four answers of 500", nil, 4, fail(500), false, ""},
		{"five answers of 500", nil, 5, fail(500), true, "consecutive_5xx"},
		{"answers of 404", nil, 50, fail(404), false, ""},
		{"gateway errors are not enforced by default, but they are server errors", nil, 5, fail(503), true, "consecutive_5xx"},
		{"gateway errors enforced", func(c *model.OutlierDetection) {
			c.Enforce.ConsecutiveGatewayFailure, c.ConsecutiveGatewayFailure = 100, 3
		}, 3, fail(502), true, "consecutive_gateway_failure"},
		{"500 is no gateway error", func(c *model.OutlierDetection) {
			c.Enforce.ConsecutiveGatewayFailure, c.ConsecutiveGatewayFailure, c.Consecutive5xx = 100, 3, 0
		}, 30, fail(500), false, ""},
		{"0 switches it off", func(c *model.OutlierDetection) { c.Consecutive5xx = 0 }, 50, fail(500), false, ""},
		{"failed connections are 503", nil, 5, way(outlier.ConnectFailed), true, "consecutive_5xx"},
		{"timeouts are 504", nil, 5, way(outlier.TimedOut), true, "consecutive_5xx"},
		{"a timeout that is answered 204", nil, 50, func(h *outlier.Host) { h.PutInstead(outlier.TimedOut, 204) }, false, ""},
		{"failed connections, kept apart", split, 5, way(outlier.ConnectFailed), true, "consecutive_local_origin_failure"},
		{"answers, kept apart", split, 5, fail(500), true, "consecutive_5xx"},
		{"a connection in between", nil, 50, func(h *outlier.Host) { h.Put(outlier.ConnectFailed); h.Put(outlier.ConnectedFinally) }, false, ""},
		{"connections, of which answers are awaited, do not make up for bad ones", nil, 5, func(h *outlier.Host) {
			h.Put(outlier.Connected)
			h.PutStatus(500)
		}, true, "consecutive_5xx"},
		{"a chance of 50 percent, and bad luck", func(c *model.OutlierDetection) { c.Enforce.Consecutive5xx = 51 }, 5, fail(500), true, "consecutive_5xx"},
		{"a chance of 50 percent, and luck", func(c *model.OutlierDetection) { c.Enforce.Consecutive5xx = 50 }, 5, fail(500), false, ""},
		{"many failed at once", nil, 1, func(h *outlier.Host) { h.PutMany(0, 5) }, true, "consecutive_5xx"},
		{"many of which one succeeded", nil, 20, func(h *outlier.Host) { h.PutMany(1, 4) }, false, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := defaults()
			if c.with != nil {
				c.with(cfg)
			}
			r := newRig(t, cfg, nil, 2)
			times(c.times, func() { c.put(r.hosts[1]) })
			if !c.out {
				r.expect(t)
				r.stat(t, "ejections_active", 0)
				return
			}
			r.expect(t, 1)
			r.stat(t, "ejections_active", 1)
			r.stat(t, "ejections_enforced_total", 1)
			r.stat(t, "ejections_detected_"+c.stat, 1)
			r.stat(t, "ejections_enforced_"+c.stat, 1)
			if diff := cmp.Diff([]int{1}, r.changed); diff != "" {
				t.Errorf("told (-want +got):\n%s", diff)
			}
		})
	}
}

// A host is out for longer each time, and forgiven an interval at a time.
func TestHowLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, defaults(), nil, 2)
		eject := func() { times(5, func() { r.hosts[0].PutStatus(500) }) }
		out := func() time.Duration {
			eject()
			r.expect(t, 0)
			since := time.Now()
			for r.hosts[0].Ejected() {
				time.Sleep(time.Second)
				synctest.Wait()
			}
			return time.Since(since)
		}
		for n, want := range []time.Duration{30, 60, 90} {
			// Sweeps come every ten seconds, so that it may be so much longer.
			if got := out(); got < want*time.Second || got > (want+11)*time.Second {
				t.Errorf("ejection %d lasted %v, want %d s", n+1, got, want)
			}
		}
		time.Sleep(5 * time.Minute) // more sweeps without fault than it has been ejected
		synctest.Wait()
		if got := out(); got > 41*time.Second {
			t.Errorf("after a long time without fault an ejection lasted %v", got)
		}
		last := r.events[len(r.events)-1]
		if !last.Back || last.Ejections != 4 || last.Since < 30*time.Second {
			t.Errorf("the last event is %+v", last)
		}
	})
}

func TestMaxEjectionTimeAndJitter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := defaults()
		cfg.MaxEjectionTime, cfg.Interval, cfg.MaxEjectionJitter = 45*time.Second, time.Second, 100*time.Nanosecond
		r := newRig(t, cfg, nil, 2)
		for range 5 {
			times(5, func() { r.hosts[0].PutStatus(500) })
			since := time.Now()
			for r.hosts[0].Ejected() {
				time.Sleep(time.Second / 2)
				synctest.Wait()
			}
			if got := time.Since(since); got > 47*time.Second {
				t.Fatalf("was out for %v, at most 45 s are allowed", got)
			}
		}
	})
}

func TestHowMany(t *testing.T) {
	for _, c := range []struct {
		name    string
		percent uint32
		one     bool
		hosts   int
		want    []int
	}{
		{"a tenth of nine is nobody", 10, false, 9, nil},
		{"a tenth of nine, but one always", 10, true, 9, []int{0}},
		{"a tenth of ten", 10, false, 10, []int{0}},
		{"half of four", 50, false, 4, []int{0, 1}},
		{"all", 100, false, 3, []int{0, 1, 2}},
		{"none, but one always", 0, true, 3, []int{0}},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := defaults()
			cfg.MaxEjectionPercent, cfg.AlwaysEjectOne = c.percent, c.one
			r := newRig(t, cfg, nil, c.hosts)
			for _, h := range r.hosts {
				times(5, func() { h.PutStatus(500) })
			}
			r.expect(t, c.want...)
			r.stat(t, "ejections_overflow", uint64(c.hosts-len(c.want)))
			r.stat(t, "ejections_detected_consecutive_5xx", uint64(c.hosts))
		})
	}
}

// traffic has a host answer so many requests of an interval, some of them badly but never five in a row.
func traffic(h *outlier.Host, total, failed int) {
	for i := range total {
		if i*failed/total != (i+1)*failed/total {
			h.PutStatus(500)
		} else {
			h.PutStatus(200)
		}
	}
}

func TestRates(t *testing.T) {
	failure := func(c *model.OutlierDetection) {
		c.Enforce.FailurePercentage, c.Enforce.SuccessRate, c.FailurePercentage.Threshold = 100, 0, 60
	}
	for _, c := range []struct {
		name   string
		with   func(*model.OutlierDetection)
		total  int
		failed []int // by host
		want   []int
		stat   string
	}{
		{"one is far worse", nil, 100, []int{1, 1, 1, 1, 1, 60}, []int{5}, "success_rate"},
		{"all are as bad", nil, 100, []int{60, 60, 60, 60, 60, 60}, nil, ""},
		{"too few hosts", nil, 100, []int{1, 1, 1, 60}, nil, ""},
		{"too few requests", nil, 99, []int{1, 1, 1, 1, 1, 60}, nil, ""},
		{"failure percentage", failure, 50, []int{1, 1, 1, 1, 30, 32}, []int{4, 5}, "failure_percentage"},
		{"failure percentage, too few requests", failure, 49, []int{1, 1, 1, 1, 30, 32}, nil, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cfg := defaults()
				cfg.Consecutive5xx = 0
				if c.with != nil {
					c.with(cfg)
				}
				r := newRig(t, cfg, nil, len(c.failed))
				for i, h := range r.hosts {
					traffic(h, c.total, c.failed[i])
				}
				time.Sleep(10 * time.Second)
				synctest.Wait()
				r.expect(t, c.want...)
				if c.stat != "" {
					r.stat(t, "ejections_enforced_"+c.stat, uint64(len(c.want)))
				}
			})
		})
	}
}

// The rates that hosts are judged by are there to be seen, for an interval.
func TestRatesShown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := defaults()
		cfg.MaxEjectionPercent = 0
		r := newRig(t, cfg, nil, 5)
		for i, h := range r.hosts {
			traffic(h, 100, 10*i)
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		answers, way := r.Rates()
		if answers.Mean != 80 || answers.Threshold < 53 || answers.Threshold > 53.2 || way != (outlier.Rates{Mean: -1, Threshold: -1}) {
			t.Errorf("rates are %+v and %+v", answers, way)
		}
		if rate, local := r.hosts[3].SuccessRates(); rate != 70 || local != -1 {
			t.Errorf("host 3 has rates of %v and %v", rate, local)
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if rate, _ := r.hosts[3].SuccessRates(); rate != -1 {
			t.Errorf("host 3 has a rate of %v after an interval without requests", rate)
		}
	})
}

// A successful active check lets a host back, unless that is configured away; nothing lets a removed one back.
func TestPassed(t *testing.T) {
	cfg := defaults()
	r := newRig(t, cfg, nil, 2)
	out := func() { times(5, func() { r.hosts[0].PutStatus(500) }) }
	out()
	r.hosts[0].Passed()
	r.expect(t)
	times(4, func() { r.hosts[0].PutStatus(500) })
	r.expect(t)
	keep := *cfg
	keep.KeepOnHealthCheck = true
	r.Configure(&keep)
	out()
	r.hosts[0].Passed()
	r.expect(t, 0)
	r.hosts[0].Remove()
	r.stat(t, "ejections_active", 0)
	r.Configure(cfg)
	r.hosts[0].Passed()
	if len(r.changed) != 3 {
		t.Errorf("told of %v", r.changed)
	}
}

// A new configuration is in force at once: limits below what was counted already, and a shorter interval.
func TestConfigure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := defaults()
		cfg.Consecutive5xx, cfg.Interval = 10, time.Hour
		r := newRig(t, cfg, nil, 2)
		times(6, func() { r.hosts[0].PutStatus(500) })
		next := *defaults()
		next.Consecutive5xx, next.Interval = 3, time.Second
		r.Configure(&next)
		times(2, func() { r.hosts[0].PutStatus(500) })
		same := next
		r.Configure(&same) // changes nothing, so that nothing is forgotten
		r.hosts[0].PutStatus(500)
		r.expect(t, 0)
		time.Sleep(31 * time.Second)
		synctest.Wait()
		r.expect(t)
	})
}

func TestRuntime(t *testing.T) {
	r := newRig(t, defaults(), model.RuntimeOf(map[string]uint64{
		"outlier_detection.consecutive_5xx": 2, "outlier_detection.max_ejection_percent": 0,
	}), 2)
	times(2, func() { r.hosts[0].PutStatus(500) })
	r.expect(t)
	r.stat(t, "ejections_overflow", 1)
}

// Results that are good, and those of a host that is not watched, cost no memory.
func TestAllocations(t *testing.T) {
	r := newRig(t, defaults(), nil, 1)
	var nobody *outlier.Host
	if n := testing.AllocsPerRun(100, func() {
		r.hosts[0].Put(outlier.Connected)
		r.hosts[0].PutStatus(200)
		nobody.PutStatus(500)
		nobody.Put(outlier.ConnectFailed)
		nobody.Passed()
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestConcurrently(t *testing.T) {
	cfg := defaults()
	cfg.Interval, cfg.BaseEjectionTime, cfg.MaxEjectionTime, cfg.MaxEjectionPercent = time.Millisecond, time.Millisecond, time.Millisecond, 100
	r := newRig(t, cfg, nil, 4)
	var work sync.WaitGroup
	for n := range 8 {
		work.Go(func() {
			for i := range 5000 {
				h := r.hosts[(n+i)%4]
				h.PutStatus(200 + i%2*300)
				h.Put(outlier.ConnectFailed)
				h.Passed()
			}
		})
	}
	work.Wait()
	for _, h := range r.hosts {
		h.Remove()
	}
	r.stat(t, "ejections_active", 0)
}
