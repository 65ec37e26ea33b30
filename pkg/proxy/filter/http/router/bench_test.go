package httprouter

import (
	"syscall"
	"testing"

	"github.com/weir-proxy/weir/pkg/observe/stats"
	"github.com/weir-proxy/weir/pkg/proxy/filter"
	"github.com/weir-proxy/weir/pkg/proxy/timer"
)

func newFakeFilter(t testing.TB) (*Filter, *fakeHost) {
	t.Helper()
	store := stats.NewStore()
	wheel := timer.New()
	t.Cleanup(wheel.Close)
	h, err := (&Config{DynamicStats: true}).NewHTTP(filter.Deps{Stats: store.Root().Scope("http.test"), Wheel: wheel, Clusters: newFakeCluster(store)})
	if err != nil {
		t.Fatal(err)
	}
	return h.(*Filter), newFakeHost(fakeRoute())
}

// BenchmarkHandle is what the router adds to a plain request, without codecs, pools and sockets.
func BenchmarkHandle(b *testing.B) {
	f, h := newFakeFilter(b)
	b.ReportAllocs()
	before := cpuTime(b)
	for b.Loop() {
		if h.serve(f) != 200 {
			b.Fatal("no answer")
		}
	}
	b.ReportMetric(float64(cpuTime(b)-before)/float64(b.N), "cpu-ns/op")
}

// cpuTime is what the process has used, in nanoseconds: on a busy machine it tells more than the wall clock.
func cpuTime(b *testing.B) int64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return u.Utime.Nano() + u.Stime.Nano()
}

func TestPlainRequestDoesNotAllocate(t *testing.T) {
	if raceDetector {
		t.Skip("pools drop what they are given under the race detector")
	}
	f, h := newFakeFilter(t)
	h.serve(f)
	if n := testing.AllocsPerRun(100, func() { h.serve(f) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
