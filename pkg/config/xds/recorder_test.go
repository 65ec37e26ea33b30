package xds

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
)

// patience bounds each wait of a test.
const patience = 10 * time.Second

func testNode() *corev3.Node { return &corev3.Node{Id: "n1", Cluster: "c1"} }

// testLog writes to the test's output.
func testLog(t *testing.T) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// recorder is a handler that keeps what it was told.
type recorder struct {
	updates chan Update
	failure chan error
	// verdict is what Update returns; it may change subscriptions.
	verdict func(Update) error

	mu        sync.Mutex
	attempts  map[string]int
	failures  map[string]int
	connected []bool
	asked     Asked // of the last attempt
	ids       []string
}

var _ Handler = (*recorder)(nil)

func newRecorder() *recorder {
	return &recorder{
		updates: make(chan Update, 1000), failure: make(chan error, 1000),
		attempts: map[string]int{}, failures: map[string]int{},
	}
}

func (r *recorder) Update(_ context.Context, u Update) error {
	r.updates <- u
	if r.verdict == nil {
		return nil
	}
	return r.verdict(u)
}

func (r *recorder) Attempt(a Asked) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.attempts[a.Type]++
	r.asked = a
}

func (r *recorder) Failure(a Asked, err error) {
	r.mu.Lock()
	r.failures[a.Type]++
	r.mu.Unlock()
	r.failure <- err
}

func (r *recorder) Connected(up bool, identifier string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.connected = append(r.connected, up)
	if identifier != "" {
		r.ids = append(r.ids, identifier)
	}
}

func (r *recorder) next(t *testing.T) Update {
	t.Helper()
	return receive(t, r.updates)
}

func receive[T any](t *testing.T, from <-chan T) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(patience):
		t.Fatal("nothing came")
		panic("unreachable")
	}
}
