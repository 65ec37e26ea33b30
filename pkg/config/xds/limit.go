package xds

import (
	"context"
	"sync"
	"time"
)

// Limit is a token bucket for requests (rate_limit_settings). A nil Limit lets everything pass.
type Limit struct {
	max, perSecond float64

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

// wait takes a token, and waits for it if need be; false when ctx ended first.
func (l *Limit) wait(ctx context.Context) bool {
	if l == nil {
		return true
	}
	delay := l.take(time.Now())
	if delay <= 0 {
		return true
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
