package agent

import (
	"bytes"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	adminv3 "github.com/envoyproxy/go-control-plane/envoy/admin/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/weir-proxy/weir/pkg/agent/options"
	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/config/translate"
	"github.com/weir-proxy/weir/pkg/observe/stats"
	"github.com/weir-proxy/weir/pkg/proxy/upstream/metrics"
)

func TestStatsConfig(t *testing.T) {
	prefix := func(s string) []model.StringMatcher {
		return []model.StringMatcher{{Kind: model.MatchPrefix, Value: s}}
	}
	tests := []struct {
		name string
		cfg  translate.StatsConfig
		want []string
	}{
		{"all", translate.StatsConfig{}, []string{"a.x", "b.x", "weir.stats.overflow"}},
		{"reject_all", translate.StatsConfig{RejectAll: true}, nil},
		{"inclusion_list", translate.StatsConfig{HasInclude: true, Include: prefix("a")}, []string{"a.x"}},
		{"exclusion_list", translate.StatsConfig{Exclude: prefix("a")}, []string{"b.x", "weir.stats.overflow"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			store, err := newStats(&options.Options{}, &translate.Static{Stats: tt.cfg}, func(string) {})
			if err != nil {
				t.Fatal(err)
			}
			store.Root().Counter("a.x").Inc()
			store.Root().Counter("b.x").Inc()
			var got []string
			for _, c := range store.Counters() {
				got = append(got, c.Name())
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestStatsTagsAndBuckets(t *testing.T) {
	store, err := newStats(
		&options.Options{StatsTags: []options.StatsTag{{Name: "zone", Value: "eu"}}},
		&translate.Static{Stats: translate.StatsConfig{
			UseAllDefaultTags: true, Tags: []translate.StatsTag{{Name: "x", Regex: `^cluster\.\w+\.((\w+)\.)`}, {Name: "y", Fixed: "z"}},
			Buckets: []translate.StatsBuckets{{Match: model.StringMatcher{Kind: model.MatchSuffix, Value: "_ms"}, Bounds: []float64{1, 2}}},
		}}, func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	store.Root().Histogram("cluster.web.sub.took_ms", stats.Milliseconds).Record(1)
	all := store.Metrics(stats.HistogramKind)
	var it stats.MetricIterator
	it.Each(&all[0], func(s *stats.Series, l *stats.Labels) bool {
		want := []stats.Tag{{Name: "zone", Value: "eu"}, {Name: "y", Value: "z"}, {Name: "x", Value: "sub"}, {Name: "envoy.cluster_name", Value: "web"}}
		got := slices.Clone(l.Tags)
		byName := func(a, b stats.Tag) int { return strings.Compare(a.Name, b.Name) }
		slices.SortFunc(got, byName)
		slices.SortFunc(want, byName)
		if d := cmp.Diff(want, got); d != "" || all[0].Metric.Base != "cluster.took_ms" {
			t.Errorf("%s: %s", all[0].Metric.Base, d)
		}
		if len(s.Bounds()) != 2 {
			t.Errorf("bounds %v", s.Bounds())
		}
		return true
	})
}

func TestDeferredStats(t *testing.T) {
	store, err := newStats(&options.Options{}, &translate.Static{Stats: translate.StatsConfig{Deferred: true}}, func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	m := metrics.NewCluster(store.Root().Scope("cluster.web"))
	has := func(name string) bool {
		return slices.ContainsFunc(store.Counters(), func(c stats.NamedCounter) bool { return c.Name() == name })
	}
	if has("cluster.web.upstream_cx_total") || !has("cluster.web.membership_change") {
		t.Error("before traffic only the state of a cluster is to be shown")
	}
	m.CxTotal.Inc()
	if !has("cluster.web.upstream_cx_total") || !has("cluster.web.upstream_rq_total") {
		t.Error("traffic did not bring its statistics")
	}
}

func TestOverflowIsLoggedOnceAScope(t *testing.T) {
	var out bytes.Buffer
	tell := overflowLog(slog.New(slog.NewTextHandler(&out, nil)))
	for range 3 {
		tell("a.")
		tell("b.")
	}
	for i := range 100 {
		tell(strings.Repeat("x", i+1))
	}
	if n := strings.Count(out.String(), "\n"); n != 16 || strings.Count(out.String(), "below=a.") != 1 {
		t.Errorf("%d lines:\n%s", n, out.String())
	}
}

func TestCertExpiry(t *testing.T) {
	var e certExpiry
	asked := 0
	certs := func(in ...time.Duration) func() *adminv3.Certificates {
		return func() *adminv3.Certificates {
			asked++
			out := &adminv3.Certificates{}
			for _, d := range in {
				out.Certificates = append(out.Certificates, &adminv3.Certificate{
					CertChain: []*adminv3.CertificateDetails{{ExpirationTime: timestamppb.New(time.Now().Add(d))}},
				})
			}
			return out
		}
	}
	const day = 24 * time.Hour
	one := &model.Snapshot{Secrets: model.SetOf(map[string]*model.Secret{"a": {}})}
	endpoints := &model.Snapshot{Secrets: one.Secrets, Endpoints: model.SetOf(map[string]*model.LoadAssignment{"e": {}})}
	secret := &model.Snapshot{Secrets: model.SetOf(map[string]*model.Secret{"a": {}})}
	cluster := &model.Snapshot{Secrets: secret.Secrets, Clusters: model.SetOf(map[string]*model.Cluster{"c": {}})}
	for _, tt := range []struct {
		snap  *model.Snapshot
		certs func() *adminv3.Certificates
		want  uint64
		asked int
	}{
		{one, certs(9*day+time.Hour, 3*day+time.Hour), 3, 1},
		{one, certs(day), 3, 1}, // not looked at again
		{endpoints, certs(day), 3, 1},
		{secret, certs(-day), 0, 2},
		{cluster, certs(), 1<<32 - 1, 3},
	} {
		if got := e.days(tt.snap, tt.certs); got != tt.want || asked != tt.asked {
			t.Errorf("%d days after %d looks, want %d after %d", got, asked, tt.want, tt.asked)
		}
	}
}
