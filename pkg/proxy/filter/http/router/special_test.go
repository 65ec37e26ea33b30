package httprouter

import (
	"testing"
	"time"

	"github.com/weir-proxy/weir/pkg/observe/stats"
	"github.com/weir-proxy/weir/pkg/proxy/filter"
	"github.com/weir-proxy/weir/pkg/proxy/timer"
)

func TestTrack(t *testing.T) {
	names := []string{
		"upstream_rq_headers_size", "upstream_rq_headers_count", "upstream_rq_body_size", "upstream_rs_headers_size", "upstream_rs_headers_count",
		"upstream_rs_body_size", "upstream_rq_timeout_budget_percent_used", "upstream_rq_timeout_budget_per_try_percent_used",
	}
	for _, track := range []bool{true, false} {
		store, wheel := stats.NewStore(), timer.New()
		t.Cleanup(wheel.Close)
		c := newFakeCluster(store)
		c.cfg.TrackSizes, c.cfg.TrackBudgets = track, track
		f, err := (&Config{}).NewHTTP(filter.Deps{Stats: store.Root().Scope("http.test"), Wheel: wheel, Clusters: c})
		if err != nil {
			t.Fatal(err)
		}
		if status := newFakeHost(fakeRoute()).serve(f.(*Filter)); status != 200 {
			t.Fatalf("status %d", status)
		}
		for _, name := range names {
			h := c.stats.Scope().Histogram(name, stats.Unspecified)
			h.Latch()
			if h.Used() != track {
				t.Errorf("tracking is %v, %s has values: %v", track, name, h.Used())
			}
		}
	}
}

func TestPercentOf(t *testing.T) {
	for _, tc := range []struct {
		used, timeout time.Duration
		want          uint64
	}{{time.Second, 4 * time.Second, 25}, {5 * time.Second, 4 * time.Second, 125}, {time.Second, 0, 0}, {0, time.Second, 0}} {
		if got := percentOf(tc.used, tc.timeout); got != tc.want {
			t.Errorf("%v of %v: %d, want %d", tc.used, tc.timeout, got, tc.want)
		}
	}
}
