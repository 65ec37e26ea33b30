package dns

import (
	"context"
	"log/slog"
	"math"
	"math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/observe/stats"
)

// lookupTimeout bounds one lookup, so that a resolver that never answers is a failure. Go's resolver gives up by itself
// after 5 s and two attempts for each server of resolv.conf.
const lookupTimeout = 30 * time.Second

// maxBackoff is the longest wait after failures, as a multiple of the first (Envoy docs, RefreshRate.max_interval).
const maxBackoff = 10

// maxDoublings keeps doubled waits within bounds.
const maxDoublings = 16

// Stats count lookups, under a cluster's update_attempt, update_success, update_failure and update_empty.
type Stats struct {
	Attempt, Success, Failure, Empty *stats.Counter
}

// Config says what to watch.
type Config struct {
	Names  []string
	Family model.DNSFamily
	// Refresh is the time between lookups; 0 is 5 s.
	Refresh time.Duration
	// RespectTTL waits for the TTL of an answer instead, but MinRefresh at the least. An answer without a TTL, or with one of 0, is
	// good for Refresh.
	RespectTTL bool
	MinRefresh time.Duration
	// Jitter is the most that is added to them at random.
	Jitter time.Duration
	// FailureRefresh is the first wait after a failure, which doubles with each up to FailureMax, or ten times that when
	// FailureMax is 0; 0 waits Refresh.
	FailureRefresh, FailureMax time.Duration
	Resolver                   Resolver
	Log                        *slog.Logger
	Stats                      Stats
	// Update is called with the addresses of a name after each lookup that found some. It is called from several
	// goroutines, but for one name never twice at once. What failed or found nothing is not reported: the last good
	// addresses stand.
	Update func(name string, addrs []netip.Addr)
	// First is called once, when each name was looked up for the first time, with whatever result.
	First func()
}

// Watch keeps names resolved until it is closed.
type Watch struct {
	cfg    Config
	cancel context.CancelFunc
	done   sync.WaitGroup
	left   atomic.Int64
}

// Start begins to resolve. The watch must be closed.
func Start(cfg Config) *Watch {
	if cfg.Refresh <= 0 {
		cfg.Refresh = 5 * time.Second
	}
	ctx, cancel := context.WithCancel(context.Background())
	w := &Watch{cfg: cfg, cancel: cancel}
	w.left.Store(int64(len(cfg.Names)))
	for _, name := range cfg.Names {
		w.done.Go(func() { w.run(ctx, name) })
	}
	return w
}

// Close ends the watch and waits until no callback runs any more.
func (w *Watch) Close() {
	w.cancel()
	w.done.Wait()
}

func (w *Watch) run(ctx context.Context, name string) {
	pause := time.NewTimer(0)
	defer pause.Stop()
	failures := 0
	for first := true; ; first = false {
		select {
		case <-ctx.Done():
			return
		case <-pause.C:
		}
		ok, ttl := w.resolve(ctx, name)
		if ctx.Err() != nil {
			return
		}
		if first && w.left.Add(-1) == 0 {
			w.cfg.First()
		}
		if failures++; ok {
			failures = 0
		}
		pause.Reset(w.wait(failures, ttl))
	}
}

// wait is the time until the next lookup after so many failures in a row, or an answer that is good for ttl, which is 0 when nothing
// is known of that.
func (w *Watch) wait(failures int, ttl time.Duration) time.Duration {
	base := w.cfg.FailureRefresh
	if failures == 0 || base <= 0 {
		refresh := w.cfg.Refresh
		if ttl > 0 {
			refresh = max(ttl, w.cfg.MinRefresh)
		}
		if w.cfg.Jitter > 0 {
			refresh += min(rand.N(w.cfg.Jitter), math.MaxInt64-refresh)
		}
		return refresh
	}
	most := w.cfg.FailureMax
	if most <= 0 {
		most = maxBackoff * base
	}
	limit := min(base<<min(failures-1, maxDoublings), most)
	return base/2 + rand.N(limit)
}

// resolve looks a name up once and reports the result. ttl is 0 when nobody wants to know, or nobody knows.
func (w *Watch) resolve(ctx context.Context, name string) (ok bool, ttl time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	s := &w.cfg.Stats
	s.Attempt.Inc()
	addrs, ttl, err := asker(w.cfg.Resolver, w.cfg.RespectTTL).family(ctx, w.cfg.Family, name)
	switch {
	case err != nil:
		s.Failure.Inc()
		w.cfg.Log.Debug("dns resolution failed", "name", name, "error", err)
		return false, 0
	case len(addrs) == 0:
		s.Success.Inc()
		s.Empty.Inc()
		w.cfg.Log.Debug("dns resolution found no address", "name", name)
		return false, 0
	}
	s.Success.Inc()
	w.cfg.Update(name, addrs)
	return true, ttl
}
