package agent

import (
	"fmt"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/weir-proxy/weir/pkg/lifecycle/handover"
	"github.com/weir-proxy/weir/pkg/observe/stats"
)

// TestImports names, of each kind of gauge, one that Envoy accumulates and one that it never imports.
func TestImports(t *testing.T) {
	for name, want := range map[string]bool{
		"cluster.a.upstream_cx_active": true, "cluster.a.membership_total": false, "cluster.a.circuit_breakers.default.cx_open": true,
		"cluster.a.outlier_detection.ejections_active": true, "cluster.a.version": false, "cluster.version.upstream_rq_active": true,
		"listener.0.0.0.0_80.downstream_cx_active": true, "listener_manager.total_listeners_active": false, "http.in.downstream_rq_active": true,
		"http.in.rds.web.version": false, "http.in.rds.web.update_time": false, "cluster_manager.active_clusters": false,
		"control_plane.connected_state": false, "control_plane.pending_requests": true, "runtime.num_keys": false, "server.live": false,
		"server.memory_allocated": false, "filesystem.write_total_buffered": true,
	} {
		if got := importsGauge(name); got != want {
			t.Errorf("gauge %s: %t, want %t", name, got, want)
		}
	}
	for name, want := range map[string]bool{
		"cluster.a.upstream_cx_total": true, "server.static_unknown_fields": false, "weir.config.unsupported_fields": false,
	} {
		if got := importsCounter(name); got != want {
			t.Errorf("counter %s: %t, want %t", name, got, want)
		}
	}
}

// TestCountersOfTheKernel are taken over unless this process reads them where the one before did.
func TestCountersOfTheKernel(t *testing.T) {
	for _, shared := range []bool{true, false} {
		store := stats.NewStore()
		own := store.Root().Counter("weir.interception.captured")
		known := false
		p := &parentStats{heir: store.Heir(), log: slog.New(slog.DiscardHandler), shares: func() bool { return known && shared }}
		p.Series(&handover.Series{Counter: true, Name: "weir.interception.captured", Value: 7})
		p.Round(handover.Summary{}) // whether the kernel's part is shared shows when this process serves
		known = true
		p.serving.Store(true)
		p.Round(handover.Summary{})
		if want := map[bool]uint64{true: 0, false: 7}[shared]; own.Value() != want {
			t.Errorf("shared %t: %d, want %d", shared, own.Value(), want)
		}
	}
}

// elder is a process that has statistics and nothing else.
type elder struct{ store *stats.Store }

func (elder) Begin(int) error               { return nil }
func (elder) Origin() handover.Origin       { return handover.Origin{Start: time.Now(), Generation: 1} }
func (elder) Sockets() []handover.Socket    { return nil }
func (elder) Done(time.Duration)            {}
func (elder) Abort()                        {}
func (e elder) Statistics() handover.Rounds { return elderRounds{e.store.Giver()} }

type elderRounds struct{ giver *stats.Giver }

func (r elderRounds) Round(give func(*handover.Series) error) (handover.Summary, error) {
	return handover.Summary{Connections: 1}, r.giver.Round(true, func(c *stats.Change) error {
		return give(&handover.Series{Counter: c.Kind == stats.CounterKind, Name: c.Prefix + c.Name, Value: c.Value, Unshipped: c.Unshipped})
	})
}

// clusterLike is a set of as many stats as a cluster has, all of which have moved.
type clusterLike struct{ all [100]*stats.Counter }

var clusterLikeLayout = stats.NewLayout(func(f *stats.Fields, t *clusterLike) {
	for i := range t.all {
		f.Counter(fmt.Sprintf("upstream_counter_number_%d", i), &t.all[i])
	}
})

// TestParentStatsAtScale takes 200,000 counters over through a real channel.
func TestParentStatsAtScale(t *testing.T) {
	const clusters = 2000
	var stores [2]*stats.Store
	var last clusterLike
	for n := range stores {
		stores[n] = stats.NewStore()
		for i := range clusters {
			clusterLikeLayout.Fill(stores[n].Root().Scope(fmt.Sprintf("cluster.outbound|%d||web.default.svc", i)), &last)
			for _, c := range last.all {
				c.Add(uint64(1 + n))
			}
		}
	}
	name := fmt.Sprintf("@weir-parentstats-%d", os.Getpid())
	server, err := handover.Listen(name, 0, elder{stores[0]}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	before, err := handover.Begin(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	defer before.Close()
	p := &parentStats{log: slog.New(slog.DiscardHandler), shares: func() bool { return false }}
	p.serving.Store(true)
	if err := p.begin(t.Context(), before, stores[1]); err != nil {
		t.Fatal(err)
	}
	defer p.feed.Close()
	for _, what := range []string{"all", "none"} {
		start := time.Now()
		if p.feed.Ask(30 * time.Second) {
			t.Fatal("it takes half a minute")
		}
		t.Logf("%s of %d counters have moved: %v", what, clusters*len(last.all), time.Since(start))
	}
	if n := last.all[99].Value(); n != 3 {
		t.Errorf("the last counter is at %d, want 3", n)
	}
}
