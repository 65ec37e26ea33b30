package xds

import (
	"context"
	"sync"
	"time"

	"github.com/weir-proxy/weir/pkg/observe/stats"
)

// Limit is a token bucket for requests (rate_limit_settings). A nil Limit lets everything pass.
type Limit struct {
	max, perSecond float64

	// enforced counts requests that had to wait, pending tells how many wait; nil until count.
	enforced *stats.Counter
	pending  *stats.Gauge

	mu     sync.Mutex
	tokens float64
	last   time.Time
}

// NewLimit returns a full bucket of maxTokens (at least 1), refilled with perSecond tokens per second (above 0).
func NewLimit(maxTokens uint32, perSecond float64) *Limit {
	size := float64(max(maxTokens, 1))
	// Envoy bounds the fill rate from below by one token a year; a day is as good as never.
	return &Limit{max: size, perSecond: max(perSecond, 1.0/86400), tokens: size, last: time.Now()}
}

// count makes the limit count in control_plane.rate_limit_enforced and .pending_requests of root, which may be nil.
func (l *Limit) count(root *stats.Scope) {
	if root != nil {
		l.enforced, l.pending = root.Counter("control_plane.rate_limit_enforced"), root.Gauge("control_plane.pending_requests")
	}
}

// wait takes a token, and waits for it if need be; false when ctx ended first. queued is the number of requests that wait,
// this one included.
func (l *Limit) wait(ctx context.Context, queued int) bool {
	if l == nil {
		return true
	}
	delay := l.take(time.Now())
	if delay <= 0 {
		return true
	}
	if l.enforced != nil {
		l.enforced.Inc()
		l.pending.Set(uint64(queued))
		defer l.pending.Set(0)
	}
	select {
	case <-ctx.Done():
		return false
	case <-time.After(delay):
		return true
	}
}

// take books a token and tells how long until it is there.
func (l *Limit) take(now time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tokens = min(l.max, l.tokens+now.Sub(l.last).Seconds()*l.perSecond)
	l.last = now
	l.tokens--
	return time.Duration(-l.tokens / l.perSecond * float64(time.Second))
}
