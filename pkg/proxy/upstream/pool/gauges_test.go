package pool

import (
	"testing"

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
