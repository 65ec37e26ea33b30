package stats

import (
	"fmt"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func names[S interface{ Name() string }](all []S) []string {
	var out []string
	for _, s := range all {
		out = append(out, s.Name())
	}
	return out
}

func TestNames(t *testing.T) {
	t.Parallel()
	tests := []struct{ prefix, name, want string }{
		{"", "uptime", "uptime"},
		{"server", "uptime", "server.uptime"},
		{"server.", "uptime", "server.uptime"},
		{"listener.[::1]:80", "x", "listener.[__1]_80.x"},
		{"cluster.http://a:/b", "x", "cluster.http_a_b.x"},
		{".a.", ".b:c", "a.b_c"},
		{"a\x00b", "c", "a_b.c"},
		{".", "c", "c"},
	}
	for _, tt := range tests {
		s := NewStore()
		s.Root().Scope(tt.prefix).Counter(tt.name)
		if got := s.Counters()[0].Name(); got != tt.want {
			t.Errorf("scope %q, counter %q: %q, want %q", tt.prefix, tt.name, got, tt.want)
		}
	}
	s := NewStore()
	if got := s.Root().Scope("a").Scope("b.").Prefix(); got != "a.b." {
		t.Errorf("nested prefix %q", got)
	}
}

func TestSharedStatLivesUntilLastScopeCloses(t *testing.T) {
	t.Parallel()
	s := NewStore()
	a, b := s.Root().Scope("cluster.x"), s.Root().Scope("cluster.").Scope("x")
	ca, cb := a.Counter("n"), b.Counter("n")
	if ca != cb || ca != a.Counter("n") {
		t.Fatal("scopes with the same prefix do not share a counter")
	}
	a.Gauge("g").Set(1)
	b.Histogram("h", Milliseconds).Record(1)
	b.TextReadout("t").Set("x")
	a.Counter("only_a")

	a.Close()
	a.Close()
	if diff := cmp.Diff([]string{"cluster.x.n"}, names(s.Counters())); diff != "" {
		t.Errorf("after the first close: %s", diff)
	}
	if got := names(s.Gauges()); got != nil {
		t.Errorf("gauges left: %v", got)
	}
	b.Close()
	if len(s.Counters())+len(s.Histograms())+len(s.TextReadouts()) != 0 {
		t.Errorf("stats left after the last close: %v %v %v", names(s.Counters()), names(s.Histograms()), names(s.TextReadouts()))
	}
	ca.Inc()
	if ca.Value() != 1 {
		t.Error("a released counter must keep working")
	}
	if fresh := s.Root().Scope("cluster.x").Counter("n"); fresh == ca || fresh.Value() != 0 {
		t.Error("a released counter must not come back")
	}
}

func TestCloseReachesScopesBelow(t *testing.T) {
	t.Parallel()
	s := NewStore()
	parent := s.Root().Scope("cluster.x")
	child := parent.Scope("health_check")
	child.Counter("attempt")
	parent.Close()
	if got := names(s.Counters()); got != nil {
		t.Errorf("left: %v", got)
	}
	late := parent.Scope("late").Counter("n")
	late.Inc()
	child.Gauge("g").Inc()
	if len(s.Counters())+len(s.Gauges()) != 0 || late.Value() != 1 {
		t.Error("a closed scope must give working stats that are not shown")
	}
	if n := len(s.root.children); n != 0 {
		t.Errorf("root still holds %d scopes", n)
	}
}

func TestSameStatUnderTwoSpellings(t *testing.T) {
	t.Parallel()
	s := NewStore()
	sc := s.Root().Scope("a")
	if sc.Counter("b:c") != sc.Counter("b_c") {
		t.Fatal("both spellings must give one counter")
	}
	sc.Close()
	if got := names(s.Counters()); got != nil {
		t.Errorf("left: %v", got)
	}
}

func TestMatcher(t *testing.T) {
	t.Parallel()
	s := NewStore(WithMatcher(func(name string) bool { return name == "a.keep" }))
	sc := s.Root().Scope("a")
	sc.Counter("keep")
	drop := sc.Counter("drop")
	drop.Inc()
	if drop != sc.Counter("drop") {
		t.Error("a rejected counter must be made once")
	}
	h := sc.Histogram("h", Bytes)
	h.Record(5)
	if h.Used() {
		t.Error("a rejected histogram must record nothing")
	}
	if diff := cmp.Diff([]string{"a.keep"}, names(s.Counters())); diff != "" || len(s.Histograms()) != 0 {
		t.Errorf("shown: %s %v", diff, names(s.Histograms()))
	}
	sc.Close()
	if len(s.Counters()) != 0 {
		t.Error("close must release the accepted stats only")
	}
}

func TestCounter(t *testing.T) {
	t.Parallel()
	s := NewStore()
	c := s.Root().Counter("c")
	used := func() bool { return s.Counters()[0].Used() }
	latch := func() (delta uint64) {
		s.LatchCounters()
		s.Each(These(CounterKind), func(x *Series) bool { delta = x.Delta(); return true })
		return delta
	}
	if used() {
		t.Error("used before the first increment")
	}
	c.Inc()
	c.Add(4)
	if v, l := c.Value(), latch(); v != 5 || l != 5 {
		t.Errorf("value %d, latch %d", v, l)
	}
	c.Add(2)
	s.ResetCounters()
	if v, l := c.Value(), latch(); v != 0 || l != 2 || !used() {
		t.Errorf("after the reset: value %d, latch %d, used %v", v, l, used())
	}
	c.Inc()
	if v, l := c.Value(), latch(); v != 1 || l != 1 {
		t.Errorf("after the reset and one more: value %d, latch %d", v, l)
	}
}

func TestGauge(t *testing.T) {
	t.Parallel()
	var g Gauge
	if g.Used() || g.Value() != 0 {
		t.Error("fresh gauge is used or not zero")
	}
	g.Dec()
	if g.Value() != 0 || !g.Used() {
		t.Errorf("below zero: %d, used %v", g.Value(), g.Used())
	}
	g.Inc()
	g.Add(5)
	g.Sub(2)
	if g.Value() != 3 {
		t.Errorf("got %d, want 3: a passing dip below zero must not be lost", g.Value())
	}
	g.Set(1<<64 - 1)
	if g.Value() != 1<<63-1 {
		t.Errorf("got %d", g.Value())
	}
}

func TestGaugeOfHashes(t *testing.T) {
	t.Parallel()
	var g Gauge
	for _, v := range []uint64{1<<64 - 1, 1 << 63, 7} {
		if g.SetHash(v); g.Value() != v || !g.Used() {
			t.Errorf("got %d, want %d", g.Value(), v)
		}
	}
}

func TestTextReadout(t *testing.T) {
	t.Parallel()
	var r TextReadout
	if r.Value() != "" || r.Used() {
		t.Error("fresh readout is not empty")
	}
	r.Set("v1")
	if r.Value() != "v1" || !r.Used() {
		t.Error("text lost")
	}
}

func TestConcurrentUse(t *testing.T) {
	t.Parallel()
	s := NewStore()
	keep := s.Root().Scope("keep")
	total := keep.Counter("n")
	h := keep.Histogram("h", Unspecified)
	var wg sync.WaitGroup
	const workers, rounds = 8, 200
	for w := range workers {
		wg.Go(func() {
			for i := range rounds {
				sc := s.Root().Scope("keep")
				sc.Counter("n").Inc()
				sc.Histogram("h", Unspecified).Record(uint64(i))
				own := sc.Scope(fmt.Sprint("w", w))
				own.Gauge("g").Inc()
				own.TextReadout("t").Set("x")
				s.Metrics(CounterKind)
				switch i % 50 {
				case 0:
					s.Counters()
					s.LatchHistograms()
				case 25:
					c := h.Cumulative()
					c.Quantiles([]float64{0.5})
				}
				sc.Close()
			}
		})
	}
	wg.Wait()
	if total.Value() != workers*rounds {
		t.Errorf("counted %d, want %d", total.Value(), workers*rounds)
	}
	if c := h.Cumulative(); c.Count() != workers*rounds {
		t.Errorf("recorded %d, want %d", c.Count(), workers*rounds)
	}
	if len(s.Gauges()) != 0 || len(s.TextReadouts()) != 0 || len(s.root.children) != 1 {
		t.Errorf("left over: %v %v, %d scopes", names(s.Gauges()), names(s.TextReadouts()), len(s.root.children))
	}
}

func TestHotPathDoesNotAllocate(t *testing.T) {
	s := NewStore()
	sc := s.Root().Scope("cluster.web")
	c, g, h := sc.Counter("c"), sc.Gauge("g"), sc.Histogram("h", Milliseconds)
	h.Record(100)
	for name, f := range map[string]func(){
		"counter":   c.Inc,
		"gauge":     func() { g.Add(3); g.Set(7) },
		"histogram": func() { h.Record(123); h.Record(0) },
		"look up":   func() { sc.Counter("c").Inc(); sc.Gauge("g").Inc(); sc.Histogram("h", Milliseconds) },
	} {
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func BenchmarkCounterInc(b *testing.B) {
	c := NewStore().Root().Counter("c")
	b.ReportAllocs()
	for b.Loop() {
		c.Inc()
	}
}

func BenchmarkGaugeInc(b *testing.B) {
	g := NewStore().Root().Gauge("g")
	b.ReportAllocs()
	for b.Loop() {
		g.Inc()
	}
}

func BenchmarkHistogramRecord(b *testing.B) {
	h := NewStore().Root().Histogram("h", Milliseconds)
	b.ReportAllocs()
	var v uint64
	for b.Loop() {
		h.Record(v & 0xffff)
		v += 7
	}
}

func BenchmarkLookUp(b *testing.B) {
	sc := NewStore().Root().Scope("cluster.web")
	b.ReportAllocs()
	for b.Loop() {
		sc.Counter("upstream_rq_200").Inc()
	}
}
