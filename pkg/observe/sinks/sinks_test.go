package sinks

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weir-proxy/weir/pkg/observe/stats"
)

// fake is a sink that does what f says.
type fake struct {
	f      func(ctx context.Context, f *Flush) error
	closed bool
}

func (s *fake) Flush(ctx context.Context, f *Flush) error { return s.f(ctx, f) }
func (s *fake) Close()                                    { s.closed = true }

func deltas(f *Flush) (n uint64) {
	f.Store.Each(stats.These(stats.CounterKind), func(s *stats.Series) bool {
		if string(s.Name()) == "n" {
			n = s.Delta()
		}
		return true
	})
	return n
}

func TestFlusherShipsEachIntervalOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := stats.NewStore()
		n := store.Root().Counter("n")
		var got []uint64
		hold := make(chan struct{})
		sink := &fake{f: func(_ context.Context, f *Flush) error {
			got = append(got, deltas(f))
			<-hold
			return nil
		}}
		f := New(Options{Store: store, Log: slog.New(slog.DiscardHandler), Dropped: store.Root().Counter("dropped"), Names: []string{"x"}, Sinks: []Sink{sink}, Timeout: time.Minute})
		n.Add(3)
		f.Flush(time.Now())
		synctest.Wait()
		n.Add(2)
		f.Flush(time.Now()) // under way: the interval goes on
		n.Add(1)
		close(hold)
		synctest.Wait()
		f.Flush(time.Now())
		synctest.Wait()
		n.Add(7)
		f.Close(time.Second)
		f.Flush(time.Now())
		if len(got) != 3 || got[0] != 3 || got[1] != 3 || got[2] != 7 || !sink.closed {
			t.Errorf("deltas %v, closed %v", got, sink.closed)
		}
		if d := store.Root().Counter("dropped").Value(); d != 1 {
			t.Errorf("%d flushes dropped, want 1", d)
		}
	})
}

func TestFlusherLogsChangesOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := stats.NewStore()
		var fail error
		var mu sync.Mutex
		var out bytes.Buffer
		sink := &fake{f: func(context.Context, *Flush) error { return fail }}
		log := slog.New(slog.NewTextHandler(writer(func(b []byte) { mu.Lock(); defer mu.Unlock(); out.Write(b) }), nil))
		f := New(Options{Store: store, Log: log, Dropped: &stats.Counter{}, Names: []string{"statsd"}, Sinks: []Sink{sink}, Timeout: time.Minute})
		for _, err := range []error{errors.New("refused"), errors.New("refused"), nil, nil} {
			fail = err
			f.Flush(time.Now())
			synctest.Wait()
		}
		f.Close(0)
		mu.Lock()
		defer mu.Unlock()
		if lines := strings.Count(out.String(), "\n"); lines != 2 || !strings.Contains(out.String(), "refused") || !strings.Contains(out.String(), "shipped again") {
			t.Errorf("log:\n%s", out.String())
		}
	})
}

type writer func([]byte)

func (w writer) Write(b []byte) (int, error) { w(b); return len(b), nil }

func TestFlusherEndsWhatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sink := &fake{f: func(ctx context.Context, _ *Flush) error { <-ctx.Done(); return ctx.Err() }}
		f := New(Options{Store: stats.NewStore(), Log: slog.New(slog.DiscardHandler), Dropped: &stats.Counter{}, Names: []string{"x"}, Sinks: []Sink{sink}, Timeout: time.Hour})
		f.Flush(time.Now())
		begin := time.Now()
		f.Close(2 * time.Second)
		if took := time.Since(begin); took != 2*time.Second {
			t.Errorf("closing took %v", took)
		}
	})
}
