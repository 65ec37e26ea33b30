package pool

import (
	"errors"
	"testing"
	"time"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/upstream"
	"github.com/weir-proxy/weir/test/await"
)

// A request that waits for a connection is pending, and active only once it has one.
func TestWaitingRequestsAreNotActive(t *testing.T) {
	f := newFixture(t, model.UpstreamHTTP2, 1)
	s := f.shared.Stats
	want := func(when string, active, pending uint64) {
		t.Helper()
		await.True(t, when, func() bool { return s.RqActive.Value() == active && s.RqPendingActive.Value() == pending })
	}
	results := f.connect(t, t.Context(), 2)
	want("both to wait for the connection", 0, 2)
	f.word <- nil
	first, second := <-results, <-results // the connection takes two streams
	if first.err != nil || second.err != nil {
		t.Fatal(first.err, second.err)
	}
	want("two streams", 2, 0)
	more := f.connect(t, t.Context(), 1)
	want("one to wait for a stream", 2, 1)
	first.stream.Close()
	third := <-more
	if third.err != nil {
		t.Fatal(third.err)
	}
	want("two streams again", 2, 0)
	third.stream.Close()
	second.stream.Close()
	want("none", 0, 0)
}

// A connection counts under its protocol even when it cannot be made.
func TestFailedConnectionsHaveAProtocol(t *testing.T) {
	f := newFixture(t, model.UpstreamHTTP1, 10)
	f.word <- &upstream.Error{Kind: upstream.KindConnect, Transport: "refused"}
	if r := <-f.connect(t, t.Context(), 1); r.err == nil {
		t.Fatal("connected")
	}
	s := f.shared.Stats
	if total, http1 := s.CxTotal.Value(), s.CxHTTP1Total.Value(); total != 1 || http1 != 1 {
		t.Errorf("%d connections, %d of them HTTP/1", total, http1)
	}
}

// Requests that wait for a connection take no places of max_requests: as many may be under way and wait as the two limits say.
func TestWaitingRequestsTakeNoPlaces(t *testing.T) {
	f := newFixture(t, model.UpstreamHTTP1, 7)
	f.shared.Requests[0].SetLimit(8)
	results := f.connect(t, t.Context(), 14)
	await.True(t, "all to wait", f.pendingIs(14))
	for range 7 {
		f.word <- nil
	}
	for range 14 {
		r := <-results
		if r.err != nil {
			t.Fatal(r.err)
		}
		if n := f.shared.Requests[0].Used(); n > 7 {
			t.Errorf("%d places are taken by 7 connections", n)
		}
		r.stream.Close()
	}
	if n := f.shared.Requests[0].Used(); n != 0 || f.shared.Stats.RqPendingOverflow.Value() != 0 {
		t.Errorf("%d places are kept, %d overflows", n, f.shared.Stats.RqPendingOverflow.Value())
	}
}

// A request that has its connection and no place fails, at once on a connection that is there, else once there is one. Neither does
// it harm to the connection, nor does it count as one of those that the connection carries.
func TestRequestsBeyondTheirLimit(t *testing.T) {
	for name, protocol := range map[string]model.UpstreamProtocol{"HTTP/1": model.UpstreamHTTP1, "HTTP/2": model.UpstreamHTTP2} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, protocol, 10)
			f.shared.SetLimits(Limits{ConnectTimeout: 10 * time.Second, MaxRequests: 2})
			f.shared.Requests[0].SetLimit(1)
			s := f.shared.Stats
			f.word <- nil
			f.word <- nil
			first := <-f.connect(t, t.Context(), 1)
			if first.err != nil {
				t.Fatal(first.err)
			}
			if st := f.Reuse(&Options{}); st != nil {
				t.Error("a connection was used beyond the limit")
			}
			overflow := <-f.connect(t, t.Context(), 1)
			if bad, ok := errors.AsType[*upstream.Error](overflow.err); !ok || bad.Kind != upstream.KindOverflow {
				t.Fatalf("beyond the limit: %v, want an overflow", overflow.err)
			}
			if n, m := s.RqPendingOverflow.Value(), s.RqPendingFailureEject.Value(); n != 1 || m != 0 {
				t.Errorf("%d overflows, %d ejected; want 1, 0", n, m)
			}
			if n, want := s.RqPendingTotal.Value(), map[string]uint64{"HTTP/1": 2, "HTTP/2": 1}[name]; n != want {
				t.Errorf("%d requests waited, want %d", n, want)
			}
			dials := f.dials.Load()
			first.stream.Close()
			second := f.Reuse(&Options{})
			if second == nil {
				t.Fatal("the connection is of no use any more")
			}
			if f.dials.Load() != dials || f.shared.Requests[0].Used() != 1 {
				t.Errorf("%d places, want 1", f.shared.Requests[0].Used())
			}
			second.Close()
			if n := f.shared.Requests[0].Used(); n != 0 || s.RqTotal.Value() != 2 {
				t.Errorf("%d places are kept after %d requests, want 0 after 2", n, s.RqTotal.Value())
			}
		})
	}
}
