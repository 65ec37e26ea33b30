package pool

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/upstream"
	"github.com/weir-proxy/weir/test/await"
)

func (f *fixture) dialsAre(n int64) func() bool {
	return func() bool { return f.dials.Load() == n }
}

func (f *fixture) openIs(n uint64) func() bool {
	return func() bool { return f.shared.Stats.CxActive.Value() == n }
}

func TestReturnedConnectionServesWhoWaits(t *testing.T) {
	f := newFixture(t, model.UpstreamHTTP1, 10)
	f.word <- nil
	first := <-f.connect(t, t.Context(), 1)
	second := f.connect(t, t.Context(), 1)
	await.True(t, "the second dial", f.dialsAre(2))
	first.stream.Close()
	if r := <-second; r.err != nil {
		t.Fatal(r.err)
	}
	f.word <- nil // the connection that is too much now stays for the next one
	await.True(t, "the second connection", func() bool { s := f.Reuse(&Options{}); return s != nil })
	if n := f.dials.Load(); n != 2 {
		t.Errorf("%d dials", n)
	}
}

func TestCancelledRequestLeavesItsConnection(t *testing.T) {
	f := newFixture(t, model.UpstreamHTTP1, 10)
	ctx, cancel := context.WithCancel(t.Context())
	first := f.connect(t, ctx, 1)
	await.True(t, "the dial", f.dialsAre(1))
	cancel()
	if r := <-first; !errors.Is(r.err, context.Canceled) {
		t.Fatalf("the cancelled request: %v", r.err)
	}
	f.word <- nil
	await.True(t, "the connection", func() bool { return f.Reuse(&Options{}) != nil })
	if n := f.shared.Stats.RqCancelled.Value(); n != 1 {
		t.Errorf("upstream_rq_cancelled is %d", n)
	}
}

func TestClosingEndsDials(t *testing.T) {
	f := newFixture(t, model.UpstreamHTTP1, 10)
	results := f.connect(t, t.Context(), 2)
	await.True(t, "the dials", f.dialsAre(2))
	f.shared.Runtime.Close()
	for range 2 {
		var e *upstream.Error
		if r := <-results; !errors.As(r.err, &e) || e.Kind != upstream.KindAborted {
			t.Errorf("got %v, want an abort", r.err)
		}
	}
	if _, err := f.Connect(t.Context(), &Options{}); err == nil {
		t.Error("connected after the end")
	}
	if n := f.shared.Stats.CxActive.Value(); n != 0 {
		t.Errorf("%d connections are left", n)
	}
	f.shared.Runtime = NewRuntime(f.shared.Runtime.Wheel()) // for the cleanup to close
}

// TestHTTP2FanOut checks how many connections are made for requests that come at once, by what is known of the streams
// that a connection takes.
func TestHTTP2FanOut(t *testing.T) {
	for _, tc := range []struct {
		configured uint32
		takes      int
		requests   int
		dials      int64 // before the first connection is there
		all        int64
	}{
		{0, 100, 5, 1, 1},
		{2, 100, 5, 3, 3},
		{2, 2, 4, 2, 2},
		{0, 2, 5, 1, 3}, // learns from the first connection that it takes two
	} {
		t.Run(fmt.Sprintf("%d of %d streams for %d", tc.configured, tc.takes, tc.requests), func(t *testing.T) {
			f := newFixture(t, model.UpstreamHTTP2, 10)
			f.http.HTTP2.MaxConcurrentStreams = tc.configured
			f.shared.Codecs.(*fakeCodecs).streams = tc.takes
			results := f.connect(t, t.Context(), tc.requests)
			await.True(t, "all requests", f.pendingIs(uint64(tc.requests)))
			await.True(t, "the first dials", f.dialsAre(tc.dials))
			close(f.word)
			for range tc.requests {
				if r := <-results; r.err != nil {
					t.Fatal(r.err)
				}
			}
			await.True(t, "the dials", f.dialsAre(tc.all))
		})
	}
}

// TestSpentConnectionsAreReplaced checks that nobody waits for a connection that takes no further request.
func TestSpentConnectionsAreReplaced(t *testing.T) {
	f := newFixture(t, model.UpstreamHTTP2, 100)
	f.shared.Codecs.(*fakeCodecs).streams = 100
	f.shared.SetLimits(Limits{ConnectTimeout: 10 * time.Second, MaxRequests: 2})
	results := f.connect(t, t.Context(), 5)
	await.True(t, "all requests", f.pendingIs(5))
	await.True(t, "as many dials as they need", f.dialsAre(3))
	close(f.word)
	for range 5 {
		if r := <-results; r.err != nil {
			t.Fatal(r.err)
		}
	}
	for range 2 { // the last of the three has room for one
		if s := f.Reuse(&Options{}); s == nil {
			if _, err := f.Connect(t.Context(), &Options{}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if n := f.dials.Load(); n != 4 {
		t.Errorf("%d dials, want 4", n)
	}
}

func TestPreconnect(t *testing.T) {
	for _, tc := range []struct {
		ratio    float64
		requests int
		dials    int64
	}{
		{1, 1, 1}, {1, 4, 4}, {1.5, 1, 2}, {1.5, 4, 6}, {3, 1, 3}, {2, 3, 6},
	} {
		t.Run(fmt.Sprint(tc.requests, " times ", tc.ratio), func(t *testing.T) {
			f := newFixture(t, model.UpstreamHTTP1, 100)
			close(f.word)
			opt := &Options{Preconnect: tc.ratio}
			for range tc.requests {
				if f.Reuse(opt) != nil {
					continue
				}
				if _, err := f.Connect(t.Context(), opt); err != nil {
					t.Fatal(err)
				}
			}
			await.True(t, "the connections", f.openIs(uint64(tc.dials)))
			await.True(t, "the dials", f.dialsAre(tc.dials))
		})
	}
}

func TestPreconnectForComingRequests(t *testing.T) {
	f := newFixture(t, model.UpstreamHTTP1, 100)
	made := 0
	for f.Preconnect(&Options{}, 1.5) {
		made++
	}
	if made != 2 {
		t.Errorf("made %d connections for the first request that comes, want 2", made)
	}
	close(f.word)
	await.True(t, "a connection for the first request", func() bool { return f.Reuse(&Options{}) != nil })
}

func TestPreconnectHeedsLimits(t *testing.T) {
	f := newFixture(t, model.UpstreamHTTP1, 2)
	close(f.word)
	if _, err := f.Connect(t.Context(), &Options{Preconnect: 3}); err != nil {
		t.Fatal(err)
	}
	await.True(t, "the dials", f.dialsAre(2))
	if n := f.dials.Load(); n != 2 || f.shared.Stats.CxOverflow.Value() == 0 {
		t.Errorf("%d dials, upstream_cx_overflow %d; want 2 and some", n, f.shared.Stats.CxOverflow.Value())
	}
}

func TestConnectionsPerHost(t *testing.T) {
	f := newFixture(t, model.UpstreamHTTP1, 100)
	f.shared.SetLimits(Limits{ConnectTimeout: 10 * time.Second, PerHost: [2]uint32{1, 0}})
	close(f.word)
	first := <-f.connect(t, t.Context(), 1)
	second := f.connect(t, t.Context(), 1)
	await.True(t, "the second to wait", f.pendingIs(1))
	if _, err := f.Connect(t.Context(), &Options{HighPriority: true}); err != nil {
		t.Errorf("the high priority is not bounded: %v", err)
	}
	if _, err := f.TCP(t.Context(), &TCPOptions{}); err == nil {
		t.Error("a TCP connection beyond the limit")
	}
	if n := f.shared.Stats.CxOverflow.Value(); n != 2 {
		t.Errorf("upstream_cx_overflow is %d, want 2", n)
	}
	first.stream.Close()
	if r := <-second; r.err != nil || f.dials.Load() != 2 {
		t.Errorf("%v after %d dials", r.err, f.dials.Load())
	}
}

func TestPoolsAreBounded(t *testing.T) {
	f := newFixture(t, model.UpstreamHTTP1, 100)
	close(f.word)
	breaker := f.shared.Pools[0]
	breaker.SetLimit(2)
	open := func(sni string) (close func()) {
		s, err := f.Connect(t.Context(), &Options{SNI: sni})
		if err != nil {
			t.Fatalf("%s: %v", sni, err)
		}
		return s.Close
	}
	a := open("a")
	open("b")
	var e *upstream.Error
	if _, err := f.Connect(t.Context(), &Options{SNI: "c"}); !errors.As(err, &e) || e.Kind != upstream.KindNoHost {
		t.Fatalf("a third pool: %v, want no host", err)
	}
	if n := f.shared.Stats.CxPoolOverflow.Value(); n != 1 {
		t.Errorf("upstream_cx_pool_overflow is %d, want 1", n)
	}
	a()
	open("c") // the idle pool makes room
	await.True(t, "the idle connection to close", f.openIs(2))
	if n := breaker.Used(); n != 2 {
		t.Errorf("%d pools are counted", n)
	}
}

func TestDrain(t *testing.T) {
	for _, protocol := range []model.UpstreamProtocol{model.UpstreamHTTP1, model.UpstreamHTTP2} {
		f := newFixture(t, protocol, 100)
		close(f.word)
		first := <-f.connect(t, t.Context(), 1)
		f.Drain()
		if f.Reuse(&Options{}) != nil {
			t.Error("a connection that drains took a request")
		}
		first.stream.Close()
		await.True(t, "the connection to close", f.openIs(0))
		second := <-f.connect(t, t.Context(), 1)
		second.stream.Close()
		f.Reuse(&Options{}).Close() // the host keeps what came afterwards
		f.Drain()
		await.True(t, "the idle connection to close", f.openIs(0))
	}
}
