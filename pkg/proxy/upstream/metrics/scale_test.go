package metrics

import (
	"fmt"
	"io"
	"runtime"
	"testing"
	"time"

	"github.com/weir-proxy/weir/pkg/observe/stats"
	"github.com/weir-proxy/weir/pkg/observe/stats/render"
)

// clusters makes so many clusters with all their statistics.
func clusters(root *stats.Scope, n int) []*Cluster {
	out := make([]*Cluster, n)
	for i := range out {
		out[i] = NewCluster(root.Scope(fmt.Sprintf("cluster.outbound|80||svc%d_default_svc_cluster_local", i)))
	}
	return out
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// TestMemoryOfManyClusters holds 5,000 clusters, about 90 statistics each, to a bound, also after they were listed and scraped
// and when each has answered requests.
func TestMemoryOfManyClusters(t *testing.T) {
	before := heap()
	store := stats.NewStore()
	all := clusters(store.Root(), 5000)
	made := heap() - before
	for _, m := range all {
		m.RecordResponse(200, time.Millisecond, false)
		m.CxConnectMS.Record(3)
	}
	used := heap() - before
	if err := render.Prometheus(io.Discard, store, render.Options{}); err != nil {
		t.Fatal(err)
	}
	if err := render.Text(io.Discard, store, render.Options{}); err != nil {
		t.Fatal(err)
	}
	scraped := heap() - before
	t.Logf("5,000 clusters: %d KiB made, %d KiB used, %d KiB scraped", made>>10, used>>10, scraped>>10)
	for what, bytes := range map[string]uint64{"made": made, "used": used - made, "scraped": scraped - used} {
		if limit := map[string]uint64{"made": 20 << 20, "used": 40 << 20, "scraped": 20 << 20}[what]; bytes > limit {
			t.Errorf("%s: %d bytes, want at most %d", what, bytes, limit)
		}
	}
	runtime.KeepAlive(all)
}

func BenchmarkNewCluster(b *testing.B) {
	root := stats.NewStore().Root()
	b.ReportAllocs()
	for b.Loop() {
		scope := root.Scope("cluster.outbound|80||svc_default_svc_cluster_local")
		NewCluster(scope).Close()
	}
}

func BenchmarkNewClusterAmong5000(b *testing.B) {
	root := stats.NewStore().Root()
	clusters(root, 5000)
	names := make([]string, 4096)
	for i := range names {
		names[i] = fmt.Sprintf("cluster.another%d", i)
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		NewCluster(root.Scope(names[i&4095])).Close()
		i++
	}
}

// BenchmarkScrape200k scrapes 200,000 series: 2,300 clusters. The first scrape, which splits the names, is not in it.
func BenchmarkScrape200k(b *testing.B) {
	store := stats.NewStore()
	for _, m := range clusters(store.Root(), 2300) {
		m.RecordResponse(200, time.Millisecond, false)
	}
	for name, print := range map[string]func(io.Writer, *stats.Store, render.Options) error{
		"prometheus": render.Prometheus, "text": render.Text, "json": render.JSON,
	} {
		for variant, o := range map[string]render.Options{"all": {}, "usedonly": {UsedOnly: true}} {
			b.Run(name+"/"+variant, func(b *testing.B) {
				if err := print(io.Discard, store, o); err != nil {
					b.Fatal(err)
				}
				b.ReportAllocs()
				for b.Loop() {
					if err := print(io.Discard, store, o); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// BenchmarkRequest moves the counters that a request moves, from one goroutine and from several at once.
func BenchmarkRequest(b *testing.B) {
	m := NewCluster(stats.NewStore().Root().Scope("cluster.web"))
	request := func() {
		m.RqTotal.Inc()
		m.RqActive.Inc()
		m.CxTxBytes.Add(300)
		m.CxRxBytes.Add(1000)
		m.RqPendingTotal.Inc()
		m.RecordResponse(200, time.Millisecond, false)
		m.RqActive.Dec()
	}
	b.Run("alone", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			request()
		}
	})
	b.Run("together", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				request()
			}
		})
	})
}
