package pool

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/observe/stats"
	"github.com/weir-proxy/weir/pkg/proxy/http/codec"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
	"github.com/weir-proxy/weir/pkg/proxy/streaminfo"
	"github.com/weir-proxy/weir/pkg/proxy/timer"
	"github.com/weir-proxy/weir/pkg/proxy/upstream"
	"github.com/weir-proxy/weir/pkg/proxy/upstream/breaker"
	"github.com/weir-proxy/weir/pkg/proxy/upstream/metrics"
	"github.com/weir-proxy/weir/test/await"
)

// fakeCodecs make connections without a network.
type fakeCodecs struct {
	streams int // that an HTTP/2 connection takes at once
}

func (f *fakeCodecs) HTTP1(_ net.Conn, _ codec.ConnInfo, _ *model.UpstreamHTTP, released func(codec.Fate)) Client1 {
	c := &fakeConn{limit: 1}
	c.stream = &fakeStream{end: func() {
		c.active.Add(-1)
		if c.closed.Load() {
			released(codec.Cut)
			return
		}
		released(codec.Reusable)
	}}
	return c
}

func (f *fakeCodecs) HTTP2(_ net.Conn, _ codec.ConnInfo, _ *model.UpstreamHTTP, released, _ func()) (Client2, error) {
	c := &fakeConn{limit: int64(f.streams)}
	c.stream = &fakeStream{end: func() {
		c.active.Add(-1)
		released()
	}}
	return c, nil
}

type fakeConn struct {
	limit  int64
	active atomic.Int64
	closed atomic.Bool
	stream *fakeStream
}

func (c *fakeConn) NewStream() (codec.ClientStream, error) {
	if c.active.Add(1) > c.limit || c.closed.Load() {
		c.active.Add(-1)
		return nil, errors.New("full")
	}
	return c.stream, nil
}
func (c *fakeConn) Usable() bool  { return !c.closed.Load() }
func (c *fakeConn) CanTake() bool { return !c.closed.Load() && c.active.Load() < c.limit }
func (c *fakeConn) Close() error  { c.closed.Store(true); return nil }

type fakeStream struct{ end func() }

func (*fakeStream) RoundTrip(*message.Request, *message.Response, func(*message.Response)) error {
	return nil
}
func (*fakeStream) Abort(error)          {}
func (s *fakeStream) Close()             { s.end() }
func (*fakeStream) Conn() codec.ConnInfo { return codec.ConnInfo{} }
func (*fakeStream) Counts() codec.Counts { return codec.Counts{} }

type fakeSocket struct{}

func (fakeSocket) RxBytes() uint64  { return 0 }
func (fakeSocket) TxBytes() uint64  { return 0 }
func (fakeSocket) PeerClosed() bool { return false }
func (fakeSocket) HungUp() bool     { return false }

// fixture is a host whose dials wait for a word: nil connects.
type fixture struct {
	*Host
	shared *Shared
	dials  atomic.Int64
	word   chan error
}

// pools is how many pools a fixture may have.
const pools = 8

func newFixture(t testing.TB, protocol model.UpstreamProtocol, connections uint32) *fixture {
	t.Helper()
	wheel, root := timer.New(), stats.NewStore().Root()
	rt := NewRuntime(wheel)
	t.Cleanup(wheel.Close)
	f := &fixture{word: make(chan error, 100)}
	t.Cleanup(func() { f.shared.Runtime.Close() })
	f.shared = &Shared{Runtime: rt, Codecs: &fakeCodecs{streams: 2}, Stats: metrics.NewCluster(root.Scope("cluster.web"))}
	for i := range 2 {
		f.shared.Connections[i] = breaker.New(connections, root.Gauge("cx_open"))
		f.shared.Pools[i] = breaker.New(pools, root.Gauge("cx_pool_open"))
		f.shared.Pending[i] = breaker.New(100, root.Gauge("rq_pending_open"))
		f.shared.Requests[i] = breaker.New(100, root.Gauge("rq_open"))
	}
	f.shared.SetLimits(Limits{ConnectTimeout: 10 * time.Second})
	transport := func(ctx context.Context, _ streaminfo.Origin, _ string, _ []string) (Raw, error) {
		f.dials.Add(1)
		select {
		case err := <-f.word:
			return Raw{Socket: fakeSocket{}}, err
		case <-ctx.Done():
			return Raw{}, ctx.Err()
		}
	}
	f.Host = NewHost(f.shared, transport, &model.UpstreamHTTP{Protocol: protocol}, new(upstream.HostStats))
	return f
}

type result struct {
	stream codec.ClientStream
	err    error
}

// connect starts n requests and returns where their results come.
func (f *fixture) connect(t *testing.T, ctx context.Context, n int) <-chan result {
	results := make(chan result, n)
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			s, err := f.Connect(ctx, &Options{})
			results <- result{s, err}
		})
	}
	t.Cleanup(wg.Wait)
	return results
}

func (f *fixture) pendingIs(n uint64) func() bool {
	return func() bool { return f.shared.Stats.RqPendingActive.Value() == n }
}

func TestHTTP2SharesOneDial(t *testing.T) {
	f := newFixture(t, model.UpstreamHTTP2, 10)
	results := f.connect(t, t.Context(), 2)
	await.True(t, "both requests", f.pendingIs(2))
	f.word <- nil
	for range 2 {
		if r := <-results; r.err != nil {
			t.Fatal(r.err)
		}
	}
	if n := f.dials.Load(); n != 1 {
		t.Errorf("%d dials, want 1", n)
	}
	more := f.connect(t, t.Context(), 1) // the connection takes two streams
	f.word <- nil
	if r := <-more; r.err != nil || f.dials.Load() != 2 {
		t.Errorf("third stream: %v after %d dials, want a second connection", r.err, f.dials.Load())
	}
}

func TestHTTP2WaitsForAStreamAtTheLimit(t *testing.T) {
	f := newFixture(t, model.UpstreamHTTP2, 1)
	f.word <- nil
	first := <-f.connect(t, t.Context(), 1)
	second := <-f.connect(t, t.Context(), 1)
	if first.err != nil || second.err != nil {
		t.Fatal(first.err, second.err)
	}
	third := f.connect(t, t.Context(), 1)
	await.True(t, "the third to wait", f.pendingIs(1))
	first.stream.Close()
	if r := <-third; r.err != nil || f.dials.Load() != 1 {
		t.Errorf("third stream: %v after %d dials", r.err, f.dials.Load())
	}
}

func TestFailureReachesAllWaiters(t *testing.T) {
	f := newFixture(t, model.UpstreamHTTP2, 10)
	results := f.connect(t, t.Context(), 3)
	await.True(t, "all requests", f.pendingIs(3))
	f.word <- &upstream.Error{Kind: upstream.KindConnect, Transport: "refused"}
	for range 3 {
		var e *upstream.Error
		if r := <-results; !errors.As(r.err, &e) || e.Transport != "refused" {
			t.Errorf("error %v, want the dial's", r.err)
		}
	}
	if n := f.dials.Load(); n != 1 {
		t.Errorf("%d dials, want 1", n)
	}
	if n := f.shared.Connections[0].Used(); n != 0 {
		t.Errorf("%d connections still count", n)
	}
}

func TestWaiterTakesOverACancelledDial(t *testing.T) {
	f := newFixture(t, model.UpstreamHTTP2, 10)
	ctx, cancel := context.WithCancel(t.Context())
	first := f.connect(t, ctx, 1)
	await.True(t, "the dial", func() bool { return f.dials.Load() == 1 })
	second := f.connect(t, t.Context(), 1)
	await.True(t, "the second to wait", f.pendingIs(2))
	cancel()
	if r := <-first; r.err == nil {
		t.Error("the cancelled request has a stream")
	}
	f.word <- nil
	if r := <-second; r.err != nil {
		t.Errorf("the waiting request got %v", r.err)
	}
}

func TestCancelledWaiterPassesItsTurnOn(t *testing.T) {
	f := newFixture(t, model.UpstreamHTTP1, 1)
	f.word <- nil
	first := <-f.connect(t, t.Context(), 1)
	ctx, cancel := context.WithCancel(t.Context())
	second := f.connect(t, ctx, 1)
	await.True(t, "the second to wait", f.pendingIs(1))
	third := f.connect(t, t.Context(), 1)
	await.True(t, "the third to wait", f.pendingIs(2))
	go cancel() // while the connection is handed on
	first.stream.Close()
	if r := <-second; r.err == nil {
		r.stream.Close()
	}
	if r := <-third; r.err != nil {
		t.Errorf("the last request got %v", r.err)
	}
}

func TestRetiredHostServesAndKeepsNothing(t *testing.T) {
	f := newFixture(t, model.UpstreamHTTP1, 10)
	f.word <- nil
	first := <-f.connect(t, t.Context(), 1)
	f.Retire()
	f.word <- nil
	second := <-f.connect(t, t.Context(), 1)
	if second.err != nil {
		t.Fatalf("a request that picked the host before: %v", second.err)
	}
	first.stream.Close()
	second.stream.Close()
	if n := f.shared.Stats.CxActive.Value(); n != 0 {
		t.Errorf("%d connections are left", n)
	}
	if f.Reuse(&Options{}) != nil {
		t.Error("a retired host kept a connection")
	}
}

func TestReuseDoesNotAllocate(t *testing.T) {
	for _, protocol := range []model.UpstreamProtocol{model.UpstreamHTTP1, model.UpstreamHTTP2} {
		f := newFixture(t, protocol, 10)
		f.word <- nil
		r := <-f.connect(t, t.Context(), 1)
		r.stream.Close()
		opt := &Options{}
		if n := testing.AllocsPerRun(200, func() { f.Reuse(opt).Close() }); n != 0 {
			t.Errorf("protocol %d: %v allocations", protocol, n)
		}
	}
}

func TestPoolsOfServerNamesAreDropped(t *testing.T) {
	f := newFixture(t, model.UpstreamHTTP1, 100)
	f.shared.SetLimits(Limits{ConnectTimeout: time.Second, IdleTimeout: time.Millisecond})
	for _, sni := range []string{"a", "b", "c"} {
		f.word <- nil
		s, err := f.Connect(t.Context(), &Options{SNI: sni})
		if err != nil {
			t.Fatal(err)
		}
		s.Close()
	}
	await.True(t, "the pools to go", func() bool { return len(f.list()) == 0 })
}

func TestStress(t *testing.T) {
	for _, protocol := range []model.UpstreamProtocol{model.UpstreamHTTP1, model.UpstreamHTTP2} {
		f := newFixture(t, protocol, 3)
		close(f.word) // every dial connects
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for range 500 {
					s := f.Reuse(&Options{})
					if s == nil {
						var err error
						if s, err = f.Connect(t.Context(), &Options{}); err != nil {
							t.Error(err)
							return
						}
					}
					s.Close()
				}
			})
		}
		wg.Wait()
		if n := f.stats.RqActive.Load(); n != 0 {
			t.Errorf("%d requests are still active", n)
		}
		if n := f.dials.Load(); n > 3 {
			t.Errorf("%d connections, at most 3 are allowed", n)
		}
	}
}
