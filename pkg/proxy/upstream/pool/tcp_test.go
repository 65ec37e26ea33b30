package pool

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/streaminfo"
	"github.com/weir-proxy/weir/pkg/proxy/upstream"
	"github.com/weir-proxy/weir/test/await"
)

// fakeTCP is a connection and the socket below it.
type fakeTCP struct {
	net.Conn
	fakeSocket
	hungUp, closed atomic.Bool
}

func (f *fakeTCP) Close() error { f.closed.Store(true); return nil }
func (f *fakeTCP) HungUp() bool { return f.hungUp.Load() }

// newTCPFixture is newFixture whose connections can be used as they are.
func newTCPFixture(t testing.TB, connections uint32) *fixture {
	f := newFixture(t, model.UpstreamHTTP1, connections)
	wordly := f.transport
	f.transport = func(ctx context.Context, from streaminfo.Origin, sni string, alpn []string) (Raw, error) {
		if _, err := wordly(ctx, from, sni, alpn); err != nil {
			return Raw{}, err
		}
		c := &fakeTCP{}
		return Raw{Conn: c, Socket: c}, nil
	}
	return f
}

// use gets n connections and settles them.
func (f *fixture) use(t *testing.T, n int, o *TCPOptions) []*TCPConn {
	t.Helper()
	var used []*TCPConn
	for range n {
		c, err := f.TCP(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		c.Settled()
		used = append(used, c)
	}
	return used
}

// readyIs tells whether n connections are ready, of all keys.
func (f *fixture) readyIs(n int) func() bool {
	return func() bool {
		f.shared.Runtime.mu.Lock()
		defer f.shared.Runtime.mu.Unlock()
		return len(f.shared.Runtime.spares) == n
	}
}

func (f *fixture) idle(t *testing.T) {
	t.Helper()
	await.True(t, "all connections to end", f.openIs(0))
	s := f.shared.Stats
	if n := s.CxDestroy.Value(); n != s.CxTotal.Value() {
		t.Errorf("%d connections were made, %d ended", s.CxTotal.Value(), n)
	}
	for i, b := range f.shared.Connections {
		if b.Used() != 0 {
			t.Errorf("priority %d: %d places were not given back", i, b.Used())
		}
	}
	await.True(t, "the ready connections to be forgotten", f.readyIs(0))
}

// TestTCPRatio checks how many connections are ready beside those in use.
func TestTCPRatio(t *testing.T) {
	for _, tc := range []struct {
		ratio       float64
		used, ready int
	}{{0, 3, 0}, {1, 3, 0}, {1.5, 2, 1}, {1.5, 4, 2}, {2, 1, 1}, {2, 3, 3}, {3, 1, 2}, {3, 2, 4}} {
		t.Run(fmt.Sprintf("%g for %d", tc.ratio, tc.used), func(t *testing.T) {
			f := newTCPFixture(t, 100)
			close(f.word)
			used := f.use(t, tc.used, &TCPOptions{Preconnect: tc.ratio})
			await.True(t, "the connections", func() bool { return f.readyIs(tc.ready)() && f.openIs(uint64(tc.used+tc.ready))() })
			if n := f.dials.Load(); n != int64(tc.used+tc.ready) {
				t.Errorf("%d dials for %d connections", n, tc.used+tc.ready)
			}
			for _, c := range used {
				c.Close()
			}
			if !f.readyIs(tc.ready)() {
				t.Error("the end of those in use has changed what is ready")
			}
			f.Retire()
			f.idle(t)
		})
	}
}

// TestTCPIsReady checks that the next user gets the ready connection at once, and that another one is begun only when that one has
// settled.
func TestTCPIsReady(t *testing.T) {
	for name, settle := range map[string]func(*TCPConn){"settled": (*TCPConn).Settled, "closed": (*TCPConn).Close} {
		t.Run(name, func(t *testing.T) {
			f := newTCPFixture(t, 100)
			close(f.word)
			o := &TCPOptions{Preconnect: 2}
			if f.ReadyTCP(o) != nil {
				t.Fatal("a connection before the first")
			}
			f.use(t, 1, o)[0].Close()
			await.True(t, "a ready connection", f.readyIs(1))
			c := f.ReadyTCP(o)
			if c == nil || c.ID == 0 {
				t.Fatalf("got %+v, want a connection", c)
			}
			if n := f.dials.Load(); n != 2 {
				t.Fatalf("%d dials before the use is settled, want 2", n)
			}
			settle(c)
			await.True(t, "another one", func() bool { return f.readyIs(1)() && f.dialsAre(3)() })
			c.Settled()
			if n := f.dials.Load(); n != 3 {
				t.Errorf("%d dials after settling twice, want 3", n)
			}
		})
	}
}

// TestTCPWaitsForOneUnderWay checks that a user gets the connection that is being made, and its failure.
func TestTCPWaitsForOneUnderWay(t *testing.T) {
	refused := &upstream.Error{Kind: upstream.KindConnect, Transport: "refused"}
	for name, end := range map[string]error{"made": nil, "failed": refused} {
		t.Run(name, func(t *testing.T) {
			f := newTCPFixture(t, 100)
			f.word <- nil
			o := &TCPOptions{Preconnect: 2}
			f.use(t, 1, o)
			await.True(t, "the dial ahead", f.dialsAre(2))
			pool := (*f.bare.Load())[0]
			results := make(chan error, 1)
			go func() {
				c, err := f.TCP(t.Context(), o)
				if err == nil {
					c.Close()
				}
				results <- err
			}()
			await.True(t, "the user to wait", func() bool {
				pool.mu.Lock()
				defer pool.mu.Unlock()
				return len(pool.waiters) == 1
			})
			if n := f.dials.Load(); n != 2 {
				t.Errorf("%d dials, want no more than the one under way", n)
			}
			f.word <- end
			if err := <-results; !errors.Is(err, end) {
				t.Errorf("got %v, want %v", err, end)
			}
		})
	}
}

func TestTCPGivesUpWaiting(t *testing.T) {
	f := newTCPFixture(t, 100)
	f.word <- nil
	o := &TCPOptions{Preconnect: 2}
	f.use(t, 1, o)
	await.True(t, "the dial ahead", f.dialsAre(2))
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	var e *upstream.Error
	if _, err := f.TCP(ctx, o); !errors.As(err, &e) || e.Kind != upstream.KindAborted {
		t.Errorf("got %v, want that it was given up", err)
	}
	f.word <- nil
	await.True(t, "the connection to stay", f.readyIs(1))
}

// TestTCPHeedsLimits checks that no more connections are made ahead than the circuit breaker allows, and that they make room for
// one that is wanted.
func TestTCPHeedsLimits(t *testing.T) {
	f := newTCPFixture(t, 2)
	close(f.word)
	a, b := &TCPOptions{SNI: "a", Preconnect: 3}, &TCPOptions{SNI: "b", Preconnect: 3}
	f.use(t, 1, a)
	await.True(t, "one ahead", f.readyIs(1))
	if n := f.shared.Stats.CxOverflow.Value(); n != 1 {
		t.Errorf("upstream_cx_overflow is %d, want 1", n)
	}
	f.use(t, 1, b)
	if !f.readyIs(0)() || f.dials.Load() != 3 {
		t.Errorf("%d dials, want 3, and the ready connection gone", f.dials.Load())
	}
	var e *upstream.Error
	if _, err := f.TCP(t.Context(), b); !errors.As(err, &e) || e.Kind != upstream.KindOverflow {
		t.Errorf("a third connection: %v, want an overflow", err)
	}
	if n := f.shared.Stats.CxActive.Value(); n != 2 {
		t.Errorf("%d connections are open", n)
	}
}

// TestTCPDeadConnections checks that what the peer has ended is not given out but replaced.
func TestTCPDeadConnections(t *testing.T) {
	f := newTCPFixture(t, 100)
	close(f.word)
	o := &TCPOptions{Preconnect: 2}
	f.use(t, 1, o)
	await.True(t, "a ready connection", f.readyIs(1))
	dead := (*f.bare.Load())[0].ready[0].Conn.(*fakeTCP)
	dead.hungUp.Store(true)
	if f.ReadyTCP(o) != nil {
		t.Error("a dead connection was given out")
	}
	if !dead.closed.Load() || f.shared.Stats.CxDestroyRemote.Value() != 1 || f.shared.Stats.CxDestroyWithActive.Value() != 0 {
		t.Error("the dead connection was not counted out")
	}
	f.use(t, 1, o)
	await.True(t, "two ready ones", f.readyIs(2))
	(*f.bare.Load())[0].ready[0].Conn.(*fakeTCP).hungUp.Store(true)
	f.use(t, 1, o)
	await.True(t, "three live ones", func() bool { return f.readyIs(3)() && f.openIs(6)() })
}

// TestTCPEnds checks what closes connections that are ready, and that nothing is made ahead afterwards where nothing is to be.
func TestTCPEnds(t *testing.T) {
	home := &streaminfo.Namespace{Name: "home"}
	for _, tc := range []struct {
		name string
		end  func(*fixture)
		kept int // ready ones after another use
	}{
		{"retire", func(f *fixture) { f.Retire() }, 0},
		{"drain", func(f *fixture) { f.Drain() }, 2},
		{"vacate", func(f *fixture) { f.shared.Runtime.Vacate(home) }, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := newTCPFixture(t, 100)
			close(f.word)
			o := &TCPOptions{Preconnect: 2, Origin: streaminfo.Origin{Namespace: home}}
			f.use(t, 1, o)
			await.True(t, "a ready connection", f.readyIs(1))
			tc.end(f)
			await.True(t, "it to close", func() bool { return f.readyIs(0)() && f.openIs(1)() })
			f.use(t, 1, o)
			await.True(t, "what is kept", func() bool { return f.readyIs(tc.kept)() && f.openIs(uint64(2+tc.kept))() })
		})
	}
}

func TestTCPEndsWithTheRuntime(t *testing.T) {
	f := newTCPFixture(t, 100)
	f.word <- nil
	f.word <- nil
	c := f.use(t, 1, &TCPOptions{Preconnect: 3})[0]
	await.True(t, "one that is ready and one under way", func() bool { return f.readyIs(1)() && f.dialsAre(3)() })
	f.shared.Runtime.Close()
	c.Close()
	f.idle(t)
	f.shared.Runtime = NewRuntime(f.shared.Runtime.Wheel()) // for the cleanup to close
}

// TestTCPAges checks that what nobody uses is closed in time, and that nothing is left of the pool then.
func TestTCPAges(t *testing.T) {
	for name, l := range map[string]Limits{"idle": {TCPIdleTimeout: 5 * time.Millisecond}, "old": {MaxDuration: 5 * time.Millisecond}} {
		t.Run(name, func(t *testing.T) {
			f := newTCPFixture(t, 100)
			l.ConnectTimeout = 10 * time.Second
			f.shared.SetLimits(l)
			close(f.word)
			f.use(t, 1, &TCPOptions{SNI: "one", Preconnect: 2})[0].Close()
			await.True(t, "nothing to be left", func() bool { return f.dialsAre(2)() && f.openIs(0)() && len(*f.bare.Load()) == 0 })
			s := f.shared.Stats
			if idle, old := s.CxIdleTimeout.Value(), s.CxMaxDuration.Value(); idle+old != 1 || (idle == 1) != (name == "idle") {
				t.Errorf("upstream_cx_idle_timeout %d, upstream_cx_max_duration_reached %d", idle, old)
			}
		})
	}
}

// TestTCPNotAhead checks that nothing is made ahead of what depends on its client or its caller.
func TestTCPNotAhead(t *testing.T) {
	client := streaminfo.Source{Addr: netip.MustParseAddrPort("192.0.2.1:0")}
	for name, o := range map[string]TCPOptions{
		"source":  {Origin: streaminfo.Origin{Source: client}},
		"inbound": {Origin: streaminfo.Origin{Inbound: true}},
		"ALPN":    {ALPN: []string{"h2"}},
	} {
		t.Run(name, func(t *testing.T) {
			f := newTCPFixture(t, 100)
			close(f.word)
			o.Preconnect = 3
			f.use(t, 2, &o)
			if f.dials.Load() != 2 || f.ReadyTCP(&o) != nil || f.PreconnectTCP(&o, 3) {
				t.Errorf("%d dials for two", f.dials.Load())
			}
		})
	}
}

func TestTCPKeysAreApart(t *testing.T) {
	f := newTCPFixture(t, 100)
	close(f.word)
	f.use(t, 1, &TCPOptions{SNI: "a", Preconnect: 2})
	await.True(t, "a ready connection", f.readyIs(1))
	for _, o := range []TCPOptions{
		{SNI: "b"}, {SNI: "a", HighPriority: true}, {SNI: "a", Origin: streaminfo.Origin{Namespace: &streaminfo.Namespace{}}},
	} {
		if o.Preconnect = 2; f.ReadyTCP(&o) != nil {
			t.Errorf("%+v got the connection of another key", o)
		}
	}
	if f.ReadyTCP(&TCPOptions{SNI: "a"}) == nil {
		t.Error("its own key did not get it, after the policy was taken away")
	}
}

func TestTCPForComingConnections(t *testing.T) {
	f := newTCPFixture(t, 100)
	close(f.word)
	o := &TCPOptions{Preconnect: 1}
	made := 0
	for f.PreconnectTCP(o, 1.5) {
		made++
	}
	await.True(t, "the connections", f.readyIs(2))
	if made != 2 || f.ReadyTCP(o) == nil {
		t.Errorf("made %d connections for the first that comes, want 2", made)
	}
}

// TestTCPAllocates checks that a connection that is ready costs no memory, nor does asking where none are made ahead.
func TestTCPAllocates(t *testing.T) {
	f := newTCPFixture(t, 10_000)
	if n := testing.AllocsPerRun(100, func() { f.ReadyTCP(&TCPOptions{}) }); n != 0 {
		t.Errorf("%g allocations without preconnecting", n)
	}
	close(f.word)
	const runs = 100
	o := &TCPOptions{Preconnect: 3}
	for range runs + 1 {
		if !f.PreconnectTCP(o, 1000) {
			t.Fatal("no connection is made ahead")
		}
	}
	await.True(t, "the connections", f.readyIs(runs+1))
	if n := testing.AllocsPerRun(runs, func() {
		if f.ReadyTCP(o) == nil {
			t.Error("no connection is ready")
		}
	}); n != 0 {
		t.Errorf("%g allocations for a connection that is ready", n)
	}
}
