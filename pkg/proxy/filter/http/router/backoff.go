package httprouter

import (
	"strconv"
	"strings"
	"time"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/filter"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
)

// Back-off without a policy that says otherwise: the default of the runtime key upstream.base_retry_backoff_ms, and how many
// times that the longest interval is.
const (
	defaultBackOff    = 25 * time.Millisecond
	maxIntervalFactor = 10
)

// verdict is the answer to whether a retry happens.
type verdict uint8

const (
	retryNo verdict = iota
	retryYes
	retryExhausted // the number of retries is used up
	retryOverflow  // the circuit breaker of retries is open
)

// decide takes a retry out of the budget. On retryYes the caller owes ReleaseRetry.
func (r *retryState) decide(c filter.Cluster, rt *filter.Route, high bool) verdict {
	st := c.Stats()
	if r.left == 0 {
		st.RqRetryLimitExceeded.Inc()
		rt.Count(filter.RecordRetryLimitExceeded)
		return retryExhausted
	}
	r.left--
	if c.TryRetry(high) != nil {
		rt.Count(filter.RecordRetryOverflow)
		return retryOverflow
	}
	if !r.runtime.Percent(model.RuntimeUseRetry, 100, random()) {
		c.ReleaseRetry(high)
		return retryNo
	}
	r.done++
	st.RqRetry.Inc()
	rt.Count(filter.RecordRetry)
	return retryYes
}

// noteLimit remembers how long a response that is going to be retried asks to wait.
func (r *retryState) noteLimit(h *message.Headers, now time.Time) {
	r.limited = 0
	if r.policy == nil || r.policy.RateLimited == nil {
		return
	}
	for _, reset := range r.policy.RateLimited.Headers {
		v, ok := h.Lookup(reset.Name)
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSpace(v), 10, 64)
		if err != nil {
			continue
		}
		if reset.Unix {
			n -= now.Unix()
		}
		if n > 0 && n <= int64(r.policy.RateLimited.MaxInterval/time.Second) {
			r.limited = time.Duration(n) * time.Second
			return
		}
	}
}

// wait counts the next wait and returns it: what a response asked for and up to half as much again, so that not all come back
// at once, or else an interval with full jitter that doubles up to a maximum.
func (r *retryState) wait(c filter.Cluster) time.Duration {
	if d := r.limited; d > 0 {
		r.limited = 0
		c.Stats().RqRetryRatelimited.Inc()
		return d + time.Duration(random()%uint64(d/2))
	}
	c.Stats().RqRetryBackoff.Inc()
	return r.backOff()
}

func (r *retryState) backOff() time.Duration {
	if r.interval <= 0 {
		r.interval = defaultBackOff
		if ms, ok := r.runtime.Number(model.RuntimeRetryBackOff); ok {
			r.interval = time.Duration(min(max(ms, 1), 1<<32)) * time.Millisecond
		}
	}
	if r.max <= 0 {
		r.max = maxIntervalFactor * r.interval
	}
	d := min(r.interval, r.max)
	r.interval = min(2*r.interval, r.max)
	ms := uint64(max(d.Milliseconds(), 1))
	return time.Duration(random()%ms) * time.Millisecond
}
