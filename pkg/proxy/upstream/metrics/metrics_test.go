package metrics

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-proxy/weir/pkg/observe/stats"
)

func TestRecordResponse(t *testing.T) {
	store := stats.NewStore()
	m := NewCluster(store.Root().Scope("cluster.web"))
	m.RecordResponse(200, 3*time.Millisecond, false)
	m.RecordResponse(204, 3*time.Millisecond, true)
	m.RecordResponse(503, time.Millisecond, false)
	m.RecordResponse(999, time.Millisecond, false)
	m.RecordOrigin(200, time.Millisecond, true)
	m.RecordOrigin(404, time.Millisecond, false)
	got := map[string]uint64{}
	for _, c := range store.Counters() {
		if c.Used() {
			got[c.Name()] = c.Value()
		}
	}
	want := map[string]uint64{
		"cluster.web.upstream_rq_completed": 4, "cluster.web.upstream_rq_2xx": 2, "cluster.web.upstream_rq_5xx": 1,
		"cluster.web.upstream_rq_200": 1, "cluster.web.upstream_rq_204": 1, "cluster.web.upstream_rq_503": 1,
		"cluster.web.canary.upstream_rq_completed": 1, "cluster.web.canary.upstream_rq_2xx": 1,
		"cluster.web.canary.upstream_rq_204": 1, "cluster.web.internal.upstream_rq_completed": 1,
		"cluster.web.internal.upstream_rq_2xx": 1, "cluster.web.internal.upstream_rq_200": 1,
		"cluster.web.external.upstream_rq_completed": 1, "cluster.web.external.upstream_rq_4xx": 1,
		"cluster.web.external.upstream_rq_404": 1,
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("counters (-want +got):\n%s", d)
	}
}

func TestRecordResponseDoesNotAllocate(t *testing.T) {
	m := NewCluster(stats.NewStore().Root().Scope("cluster.web"))
	m.RecordResponse(200, time.Millisecond, true)
	if n := testing.AllocsPerRun(100, func() { m.RecordResponse(200, time.Millisecond, true) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestClosedClusterIsGone(t *testing.T) {
	store := stats.NewStore()
	m := NewCluster(store.Root().Scope("cluster.web"))
	m.RecordResponse(200, time.Millisecond, true)
	m.Close()
	if n := len(store.Counters()); n != 0 {
		t.Errorf("%d counters are still shown", n)
	}
}
