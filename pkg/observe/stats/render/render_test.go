package render

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/weir-proxy/weir/pkg/observe/stats"
	"github.com/weir-proxy/weir/test/golden"
)

// sampleStore has a bit of everything, made out of order.
func sampleStore() *stats.Store {
	s := stats.NewStore()
	web, api := s.Root().Scope("cluster.web"), s.Root().Scope("cluster.api.v1")
	web.Counter("upstream_rq_total").Add(7)
	web.Counter("upstream_rq_2xx").Add(6)
	web.Counter("upstream_rq_503").Inc()
	web.Counter("upstream_cx_overflow")
	web.Gauge("upstream_cx_active").Set(3)
	web.TextReadout("version_text").Set(`v"1\` + "\n")
	api.Counter("upstream_rq_total").Add(2)
	s.Root().Scope("listener.127.0.0.1:80").Counter("downstream_cx_total").Add(9)
	s.Root().Scope("http.ingress").Counter("downstream_rq_2xx").Add(8)
	s.Root().Scope("server").Gauge("live").Set(1)
	s.Root().Scope("server").Gauge("state")
	s.Root().Scope("wasmcustom").Counter("my.metric").Inc()
	s.Root().Scope("wasmcustom").Counter("4ever").Inc()

	h := web.Histogram("upstream_rq_time", stats.Milliseconds)
	for _, v := range []uint64{50, 20, 30, 70} {
		h.Record(v)
	}
	s.LatchHistograms()
	for _, v := range []uint64{100, 5000, 200, 0} {
		h.Record(v)
	}
	s.LatchHistograms()
	api.Histogram("upstream_rq_time", stats.Milliseconds)
	s.Root().Histogram("budget", stats.Percent).Record(stats.PercentScale / 2)
	return s
}

type format func(io.Writer, *stats.Store, Options) error

func TestGolden(t *testing.T) {
	t.Parallel()
	tests := []struct {
		file    string
		print   format
		options Options
	}{
		{"all.txt", Text, Options{}},
		{"used.txt", Text, Options{UsedOnly: true}},
		{"filter.txt", Text, Options{Filter: regexp.MustCompile(`^cluster\.web.*rq`)}},
		{"gauges.txt", Text, Options{Type: Gauges}},
		{"cumulative.txt", Text, Options{Type: Histograms, Buckets: Cumulative}},
		{"disjoint.txt", Text, Options{Type: Histograms, Buckets: Disjoint}},
		{"detailed.txt", Text, Options{Type: Histograms, Buckets: Detailed}},
		{"all.json", JSON, Options{}},
		{"counters.json", JSON, Options{Type: Counters, UsedOnly: true}},
		{"cumulative.json", JSON, Options{Type: Histograms, Buckets: Cumulative}},
		{"disjoint.json", JSON, Options{Type: Histograms, Buckets: Disjoint, UsedOnly: true}},
		{"detailed.json", JSON, Options{Type: Histograms, Buckets: Detailed}},
		{"all.prom", Prometheus, Options{Namespaces: []string{"wasmcustom"}}},
		{"used_texts.prom", Prometheus, Options{UsedOnly: true, TextReadouts: true, Filter: regexp.MustCompile("web")}},
		{"all.om", OpenMetrics, Options{Namespaces: []string{"wasmcustom"}, TextReadouts: true}},
		{"summary.om", OpenMetrics, Options{Type: Histograms, Buckets: Summary}},
		{"hidden.txt", Text, Options{Hidden: HiddenOnly}},
		{"summary.prom", Prometheus, Options{Type: Histograms, Buckets: Summary}},
	}
	for _, tt := range tests {
		t.Run(tt.file, func(t *testing.T) {
			var buf bytes.Buffer
			if err := tt.print(&buf, sampleStore(), tt.options); err != nil {
				t.Fatal(err)
			}
			out := buf.Bytes()
			if strings.HasSuffix(tt.file, ".json") {
				var pretty bytes.Buffer
				if err := json.Indent(&pretty, out, "", " "); err != nil {
					t.Fatalf("not JSON: %v\n%s", err, out)
				}
				out = append(pretty.Bytes(), '\n')
			}
			golden.Check(t, "testdata/"+tt.file, out)
		})
	}
}

func TestEmptyStore(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		print format
		want  string
	}{"text": {Text, ""}, "json": {JSON, `{"stats":[]}`}, "prometheus": {Prometheus, ""}} {
		var buf bytes.Buffer
		if err := tt.print(&buf, stats.NewStore(), Options{}); err != nil || buf.String() != tt.want {
			t.Errorf("%s: %q, %v", name, buf.String(), err)
		}
	}
}

func TestParameters(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]Type{
		"": All, "All": All, "Counters": Counters, "Gauges": Gauges, "Histograms": Histograms, "TextReadouts": TextReadouts,
	} {
		if got, err := ParseType(s); got != want || err != nil {
			t.Errorf("type %q: %v, %v", s, got, err)
		}
	}
	for s, want := range map[string]BucketMode{
		"": Unset, "none": Unset, "summary": Summary, "cumulative": Cumulative, "disjoint": Disjoint, "detailed": Detailed,
	} {
		if got, err := ParseBucketMode(s); got != want || err != nil {
			t.Errorf("histogram_buckets %q: %v, %v", s, got, err)
		}
	}
	for s, want := range map[string]Hidden{"": HiddenExclude, "exclude": HiddenExclude, "include": HiddenInclude, "showonly": HiddenOnly} {
		if got, err := ParseHidden(s); got != want || err != nil {
			t.Errorf("hidden %q: %v, %v", s, got, err)
		}
	}
	if _, err := ParseHidden("x"); err == nil {
		t.Error("unknown value of hidden accepted")
	}
	if _, err := ParseType("counters"); err == nil {
		t.Error("unknown type accepted")
	}
	if _, err := ParseBucketMode("x"); err == nil {
		t.Error("unknown bucket mode accepted")
	}
	if err := Prometheus(io.Discard, stats.NewStore(), Options{Buckets: Disjoint}); err == nil {
		t.Error("disjoint prometheus buckets accepted")
	}
}

type brokenWriter struct{}

var errBroken = errors.New("broken")

func (brokenWriter) Write([]byte) (int, error) { return 0, errBroken }

func TestWriterErrors(t *testing.T) {
	t.Parallel()
	for name, print := range map[string]format{"text": Text, "json": JSON, "prometheus": Prometheus} {
		if err := print(brokenWriter{}, sampleStore(), Options{}); !errors.Is(err, errBroken) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzPrometheus(f *testing.F) {
	for _, s := range []string{"cluster.a.b", "http.ä.x", "a\n\"b\\c", "x{y}", "cluster.\xff.z", ".."} {
		f.Add(s, s)
	}
	metric := regexp.MustCompile(`^[a-zA-Z_:][a-zA-Z0-9_:]*$`)
	line := regexp.MustCompile(`^([a-zA-Z_][a-zA-Z0-9_]*)\{(?:[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*",?)*\} \d+$`)
	f.Fuzz(func(t *testing.T, name, text string) {
		if m := MetricName(name, nil); !metric.MatchString(m) {
			t.Fatalf("MetricName(%q) = %q", name, m)
		}
		s := stats.NewStore()
		s.Root().Counter(name).Inc()
		s.Root().TextReadout(name).Set(text)
		var prom, js bytes.Buffer
		if err := Prometheus(&prom, s, Options{TextReadouts: true}); err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(strings.TrimSuffix(prom.String(), "\n"), "\n")
		if len(lines) != 4 || !line.MatchString(lines[1]) || !line.MatchString(lines[3]) {
			t.Fatalf("%q, %q gives\n%s", name, text, prom.String())
		}
		if err := JSON(&js, s, Options{}); err != nil || !json.Valid(js.Bytes()) {
			t.Fatalf("%q, %q gives %v %s", name, text, err, js.String())
		}
	})
}

func manyStats(n int) *stats.Store {
	s := stats.NewStore()
	for i := range n / 100 {
		sc := s.Root().Scope(fmt.Sprintf("cluster.outbound|80||svc%d_default_svc_cluster_local", i))
		for j := range 50 {
			sc.Counter(fmt.Sprintf("upstream_counter_number_%d", j)).Inc()
			sc.Gauge(fmt.Sprintf("upstream_gauge_number_%d", j)).Inc()
		}
	}
	return s
}

// TestScrapeIsFast holds the worst case, the first scrape, which also extracts the tags, to a bound
// that a loaded machine keeps; the benchmark gives the real number.
func TestScrapeIsFast(t *testing.T) {
	s := manyStats(100_000)
	start := time.Now()
	if err := Prometheus(io.Discard, s, Options{}); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("first scrape of 100,000 stats took %v", took)
	}
}

// TestScrapeMakesNoGarbage: reading statistics every second must not be what makes collections frequent. What a page takes is the piece
// that is written, whatever the number of stats, those with recorded histograms included.
func TestScrapeMakesNoGarbage(t *testing.T) {
	s := manyStats(20_000)
	for i := range 500 {
		h := s.Root().Scope(fmt.Sprintf("cluster.outbound|80||svc%d_default_svc_cluster_local", i)).Histogram("upstream_rq_time", stats.Milliseconds)
		for v := range uint64(300) {
			h.Record(v * v)
		}
	}
	for name, f := range map[string]format{"Prometheus": Prometheus, "OpenMetrics": OpenMetrics} {
		list := func() {
			if err := f(io.Discard, s, Options{}); err != nil {
				t.Fatal(err)
			}
		}
		if allocs := testing.AllocsPerRun(5, list); allocs > 200 {
			t.Errorf("%s: %v allocations", name, allocs)
		}
	}
}

func BenchmarkPrometheus100k(b *testing.B) {
	s := manyStats(100_000)
	for b.Loop() {
		if err := Prometheus(io.Discard, s, Options{}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkPrometheus100kFirst(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		s := manyStats(100_000)
		b.StartTimer()
		if err := Prometheus(io.Discard, s, Options{}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkText100k(b *testing.B) {
	s := manyStats(100_000)
	for b.Loop() {
		if err := Text(io.Discard, s, Options{}); err != nil {
			b.Fatal(err)
		}
	}
}
