package stats

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

type thing struct {
	total, failed *Counter
	active, open  *Gauge
	took          *Histogram
	version       *TextReadout
}

func declareThing(f *Fields, t *thing) {
	f.Counter("total", &t.total)
	f.Counter("failed", &t.failed)
	f.Counter("never", nil)
	f.Gauge("active", &t.active)
	f.GaugeIn("breaker.", "open", &t.open)
	f.Histogram("took", Milliseconds, &t.took)
	f.TextReadout("version", &t.version)
}

func allNames(s *Store) (out []string) {
	s.Each(These(CounterKind, GaugeKind, HistogramKind, TextReadoutKind), func(x *Series) bool {
		out = append(out, string(x.Name()))
		return true
	})
	return out
}

func TestLayout(t *testing.T) {
	t.Parallel()
	layout := NewLayout(declareThing)
	s := NewStore()
	a, b := s.Root().Scope("x"), s.Root().Scope("x.")
	var ta, tb thing
	layout.Fill(a, &ta)
	layout.Fill(b, &tb)
	ta.total.Inc()
	tb.total.Inc()
	ta.open.Set(1)
	tb.took.Record(5)
	ta.version.Set("v1")
	if tb.total.Value() != 2 || tb.open.Value() != 1 || !ta.took.Used() || tb.version.Value() != "v1" {
		t.Error("scopes of the same prefix do not share their stats")
	}
	if a.Counter("total") != ta.total || s.Root().Gauge("x.breaker.open") != ta.open {
		t.Error("looking a stat of the set up gives another one")
	}
	if ta.took.Unit() != Milliseconds {
		t.Errorf("unit %v", ta.took.Unit())
	}
	want := []string{"x.active", "x.breaker.open", "x.failed", "x.never", "x.took", "x.total", "x.version"}
	if d := cmp.Diff(want, allNames(s)); d != "" {
		t.Error(d)
	}
	a.Close()
	if d := cmp.Diff(want, allNames(s)); d != "" {
		t.Errorf("after the first close: %s", d)
	}
	b.Close()
	// The root still holds the one that it looked up, and so the set.
	s2 := NewStore()
	c := s2.Root().Scope("y")
	layout.Fill(c, &tb)
	c.Close()
	if got := allNames(s2); got != nil || len(s2.nodes) != 0 {
		t.Errorf("left: %v, %d prefixes", got, len(s2.nodes))
	}
	tb.total.Inc()
	if tb.total.Value() != 1 {
		t.Error("a released counter must keep working")
	}
	layout.Fill(c, &ta)
	if ta.total.Inc(); ta.total.Value() != 1 || allNames(s2) != nil {
		t.Error("a closed scope must give working stats that are not shown")
	}
}

func TestLayoutTakesInWhatIsThere(t *testing.T) {
	t.Parallel()
	layout := NewLayout(declareThing)
	other := NewLayout(func(f *Fields, t *thing) {
		f.Counter("failed", &t.failed)
		f.Counter("more", nil)
	})
	up := NewLayout(func(f *Fields, t *thing) { f.GaugeIn("x.breaker.", "open", &t.open) })
	s := NewStore()
	before := s.Root().Scope("x")
	total, took := before.Counter("total"), before.Scope("a")
	total.Add(3)
	var first, second, above thing
	upper, othr, own := s.Root().Scope(""), s.Root().Scope("x"), s.Root().Scope("x")
	up.Fill(upper, &above)
	other.Fill(othr, &second)
	layout.Fill(own, &first)
	if first.total != total || first.failed != second.failed || first.open != above.open {
		t.Error("a name has two stats")
	}
	want := []string{"x.active", "x.breaker.open", "x.failed", "x.more", "x.never", "x.took", "x.total", "x.version"}
	if d := cmp.Diff(want, allNames(s)); d != "" {
		t.Error(d)
	}
	took.Close()
	before.Close()
	othr.Close()
	upper.Close()
	first.failed.Inc()
	if d := cmp.Diff(want, allNames(s)); d != "" {
		t.Errorf("when the owners of what was taken in are gone: %s", d)
	}
	own.Close()
	if got := allNames(s); got != nil || len(s.nodes) != 0 {
		t.Errorf("left: %v", got)
	}
}

func TestDeferred(t *testing.T) {
	t.Parallel()
	layout := NewLayout(declareThing).Deferred()
	s := NewStore(WithDeferred())
	var a, b thing
	layout.Fill(s.Root().Scope("a"), &a)
	layout.Fill(s.Root().Scope("b"), &b)
	metrics := func() (n int) {
		var it MetricIterator
		all := s.Metrics(CounterKind)
		for i := range all {
			it.Each(&all[i], func(*Series, *Labels) bool { n++; return true })
		}
		return n
	}
	if got := allNames(s); got != nil || metrics() != 0 {
		t.Errorf("before the first use: %v", got)
	}
	b.took.Record(1)
	if got := allNames(s); len(got) != 7 || got[0] != "b.active" || metrics() != 3 {
		t.Errorf("after the first use of b: %v", got)
	}
	var c thing
	plain := NewStore()
	layout.Fill(plain.Root().Scope("a"), &c)
	if len(allNames(plain)) != 7 {
		t.Error("a store that does not defer hides a set")
	}
}

func TestMatcherHidesPartsOfSets(t *testing.T) {
	t.Parallel()
	s := NewStore(WithMatcher(func(name string) bool { return !strings.HasSuffix(name, "took") && name != "x.total" }))
	var x thing
	NewLayout(declareThing).Fill(s.Root().Scope("x"), &x)
	x.total.Inc()
	x.took.Record(1)
	if x.took.Used() {
		t.Error("a rejected histogram must record nothing")
	}
	if d := cmp.Diff([]string{"x.active", "x.breaker.open", "x.failed", "x.never", "x.version"}, allNames(s)); d != "" {
		t.Error(d)
	}
	if n := len(s.Metrics(HistogramKind)); n != 0 {
		t.Errorf("%d metrics of rejected histograms", n)
	}
}

// TestOrder compares listings with sorted names, for sets, single stats, and prefixes that lie within each other.
func TestOrder(t *testing.T) {
	t.Parallel()
	layout := NewLayout(declareThing)
	for seed := range uint64(50) {
		r := rand.New(rand.NewPCG(seed, 0))
		s := NewStore()
		tokens := []string{"a", "b", "a-", "a_", "ab", "c", "a|b"}
		want := map[string]bool{}
		for range 40 {
			var parts []string
			for range r.IntN(4) {
				parts = append(parts, tokens[r.IntN(len(tokens))])
			}
			sc := s.Root().Scope(strings.Join(parts, "."))
			switch r.IntN(3) {
			case 0:
				var x thing
				layout.Fill(sc, &x)
				for _, n := range []string{"active", "breaker.open", "failed", "never", "took", "total", "version"} {
					want[sc.Prefix()+n] = true
				}
			case 1:
				sc.Close()
			default:
				sc.Counter("total")
				want[sc.Prefix()+"total"] = true
			}
		}
		var sorted []string
		for n := range want {
			sorted = append(sorted, n)
		}
		slices.Sort(sorted)
		if d := cmp.Diff(sorted, allNames(s)); d != "" {
			t.Fatalf("seed %d: %s", seed, d)
		}
	}
}

// TestMetricsOfSeveralShapes lists more series of a metric than are read ahead, of groups that are unlike, with what is made of their
// labels, while groups come and go.
func TestMetricsOfSeveralShapes(t *testing.T) {
	t.Parallel()
	s := NewStore()
	l := NewLayout(func(f *Fields, _ *struct{}) {
		f.Counter("upstream_rq_total", nil)
		f.Gauge("upstream_cx_active", nil)
	})
	made := 0
	format := func(to []byte, tags []Tag) []byte {
		made++
		for _, tag := range tags {
			to = append(append(to, tag.Value...), ';')
		}
		return to
	}
	check := func(when string, want []string) {
		t.Helper()
		var it MetricIterator
		var got []string
		all := s.Metrics(CounterKind)
		for i := range all {
			it.EachShown(&all[i], format, func(x *Series, labels string) bool {
				got = append(got, fmt.Sprint(string(x.Name()), " ", labels, " ", x.Value()))
				return true
			})
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s: %s", when, d)
		}
	}
	var want []string
	var scopes []*Scope
	for i := range 3*readAhead + 1 {
		sc := s.Root().Scope(fmt.Sprintf("cluster.c%03d", i))
		if i%3 == 0 { // not of the layout's group: another shape
			sc.Counter("upstream_rq_total").Add(uint64(i))
		} else {
			l.Fill(sc, &struct{}{})
			sc.Counter("upstream_rq_total").Add(uint64(i))
		}
		scopes = append(scopes, sc)
		want = append(want, fmt.Sprintf("cluster.c%03d.upstream_rq_total c%03d; %d", i, i, i))
	}
	check("first", want)
	check("again", want)
	if made != len(want) {
		t.Errorf("made labels %d times, want %d", made, len(want))
	}
	scopes[40].Close()
	check("after one has gone", slices.Delete(slices.Clone(want), 40, 41))
	sc := s.Root().Scope("cluster.c040")
	sc.Counter("upstream_rq_total").Add(40)
	check("after it has come again", want)
	if made != len(want)+1 {
		t.Errorf("made labels %d times, want %d", made, len(want)+1)
	}
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	s := NewStore()
	for i := range 3 {
		sc := s.Root().Scope(fmt.Sprint("cluster.c", i))
		sc.Counter("upstream_rq_200").Inc()
		sc.Counter("upstream_rq_503")
		sc.Counter("upstream_rq_total")
	}
	list := func() map[string][]string {
		got := map[string][]string{}
		var it MetricIterator
		all := s.Metrics(CounterKind)
		for i := range all {
			it.Each(&all[i], func(x *Series, l *Labels) bool {
				got[all[i].Metric.Base] = append(got[all[i].Metric.Base], fmt.Sprint(string(x.Name()), l.Tags))
				return true
			})
		}
		return got
	}
	want := map[string][]string{
		"cluster.upstream_rq": {
			"cluster.c0.upstream_rq_200[{envoy.response_code 200} {envoy.cluster_name c0}]",
			"cluster.c0.upstream_rq_503[{envoy.response_code 503} {envoy.cluster_name c0}]",
			"cluster.c1.upstream_rq_200[{envoy.response_code 200} {envoy.cluster_name c1}]",
			"cluster.c1.upstream_rq_503[{envoy.response_code 503} {envoy.cluster_name c1}]",
			"cluster.c2.upstream_rq_200[{envoy.response_code 200} {envoy.cluster_name c2}]",
			"cluster.c2.upstream_rq_503[{envoy.response_code 503} {envoy.cluster_name c2}]",
		},
		"cluster.upstream_rq_total": {
			"cluster.c0.upstream_rq_total[{envoy.cluster_name c0}]",
			"cluster.c1.upstream_rq_total[{envoy.cluster_name c1}]",
			"cluster.c2.upstream_rq_total[{envoy.cluster_name c2}]",
		},
	}
	if d := cmp.Diff(want, list()); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(want, list()); d != "" {
		t.Errorf("again: %s", d)
	}
}

// TestForgetsWhatIsGone lists while scopes come and go: nothing of those that are gone stays.
func TestForgetsWhatIsGone(t *testing.T) {
	t.Parallel()
	x, err := NewTagExtractor(false, nil) // each name is a metric of its own
	if err != nil {
		t.Fatal(err)
	}
	s := NewStore(WithTags(x))
	layout := NewLayout(declareThing)
	for i := range 500 {
		sc := s.Root().Scope(fmt.Sprint("x", i))
		var x thing
		layout.Fill(sc, &x)
		sc.Counter(fmt.Sprint("own", i))
		s.Metrics(CounterKind)
		sc.Close()
	}
	s.Metrics(CounterKind)
	if n := len(s.view.byBase) + len(s.view.shapes) + len(s.nodes) + len(s.singles); n > 300 {
		t.Errorf("%d names, %d shapes, %d prefixes, %d single layouts are left", len(s.view.byBase), len(s.view.shapes), len(s.nodes), len(s.singles))
	}
}

func TestOverflow(t *testing.T) {
	t.Parallel()
	told := 0
	s := NewStore(WithOverflow(func(prefix string) {
		if prefix != "x." {
			t.Errorf("prefix %q", prefix)
		}
		told++
	}))
	sc := s.Root().Scope("x")
	for i := range MaxNames {
		sc.Counter(fmt.Sprint("n", i)).Inc()
	}
	sc.Counter("one").Inc()
	sc.Gauge("two").Inc()
	sc.Histogram("three", Bytes).Record(1)
	sc.TextReadout("four").Set("x")
	sc.Counter("n7").Inc()
	if told != 4 || s.overflowed.Value() != 4 {
		t.Errorf("told %d times, counted %d, want 4", told, s.overflowed.Value())
	}
	if n := len(s.Counters()); n != MaxNames+1 || len(s.Gauges())+len(s.Histograms())+len(s.TextReadouts()) != 0 {
		t.Errorf("%d counters are shown", n)
	}
	if sc.Scope("below").Counter("one"); len(s.Counters()) != MaxNames+2 {
		t.Error("the bound of a scope reaches the scopes below")
	}
}

func TestSanitize(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"a:b": "a_b", "http://a:/b": "http_a_b", "a\nserver.live: 0": "a_server.live_ 0", ".a.": "a", "\x00": "_", "ä": "ä",
	} {
		if got := Sanitize(in); got != want {
			t.Errorf("Sanitize(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestFillWhileListing(t *testing.T) {
	t.Parallel()
	layout := NewLayout(declareThing)
	s := NewStore()
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range 100 {
				sc := s.Root().Scope(fmt.Sprint("x", (i+w)%7))
				var x thing
				layout.Fill(sc, &x)
				x.total.Inc()
				x.took.Record(uint64(i))
				switch i % 10 {
				case 3:
					allNames(s)
				case 6:
					var it MetricIterator
					for _, m := range s.Metrics(CounterKind) {
						it.Each(&m, func(x *Series, _ *Labels) bool { x.Value(); x.Used(); return true })
					}
				case 8:
					s.LatchCounters()
					s.ResetCounters()
				}
				sc.Close()
			}
		})
	}
	wg.Wait()
	if len(s.nodes) != 0 {
		t.Errorf("%d prefixes are left", len(s.nodes))
	}
}

func BenchmarkFill(b *testing.B) {
	layout := NewLayout(declareThing)
	root := NewStore().Root()
	b.ReportAllocs()
	for b.Loop() {
		var x thing
		sc := root.Scope("x")
		layout.Fill(sc, &x)
		sc.Close()
	}
}

// BenchmarkAdjacent tells whether counters that lie side by side should be kept apart: two goroutines move the same eight, as
// two requests of a cluster do, or each its own.
func BenchmarkAdjacent(b *testing.B) {
	type padded struct {
		Counter
		_ [56]byte
	}
	var dense [16]Counter
	var apart [16]padded
	for name, at := range map[string]func(i int) *Counter{
		"dense": func(i int) *Counter { return &dense[i] }, "padded": func(i int) *Counter { return &apart[i].Counter },
	} {
		b.Run(name, func(b *testing.B) {
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					for i := range 8 {
						at(i).Inc()
					}
				}
			})
		})
	}
}
