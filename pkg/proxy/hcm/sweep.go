package hcm

import (
	"math"
	"time"

	"github.com/weir-proxy/weir/pkg/observe/stats"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
	"github.com/weir-proxy/weir/pkg/proxy/streaminfo"
)

// unhurried is the answer of a stream that needs no look before the next tick.
const unhurried = time.Duration(math.MaxInt64)

// headWritten is set in stream.seen once the response has begun.
const headWritten = 1 << 31

// sweep looks at one stream's age and silence, and tells in how long its time is up. It runs on the wheel's goroutine
// under the connection's lock.
func (s *stream) sweep(now time.Time) time.Duration {
	m := s.conn.m
	if m.cfg.AccessLogInterval > 0 {
		s.logPeriodically(now)
	}
	if s.abortion() != nil {
		return unhurried
	}
	age := now.Sub(s.info.Start)
	complete, written := s.reqBody.endAt.Load() != 0, s.written.Load()
	n := s.activity.Load() &^ headWritten
	if written { // which is activity too, and counted here rather than for each request
		n |= headWritten
	}
	if n != s.seen {
		s.seen, s.seenAt = n, now
	}
	s.mu.Lock()
	idle, life := s.idle, s.life
	s.mu.Unlock()
	cfg := m.cfg
	switch {
	case (age >= peerCheckAge || s.Request.Version >= message.HTTP2) && s.src.PeerGone(): // on HTTP/1 it costs a system call
		s.abort(errDownstreamGone)
	case cfg.RequestTimeout > 0 && !complete && !written && age >= cfg.RequestTimeout:
		s.expire(m.stats.rqTimeout, &abortion{408, "request timeout", "request_overall_timeout", 0})
	case life > 0 && age >= life:
		s.expire(m.stats.rqMaxDuration, &abortion{lateStatus(complete), "downstream duration timeout", "max_duration_timeout", streaminfo.DurationTimeout})
	case idle > 0 && now.Sub(s.seenAt) >= idle:
		s.expire(m.stats.rqIdleTimeout, &abortion{lateStatus(complete), "stream timeout", "stream_idle_timeout", streaminfo.StreamIdleTimeout})
	case life > 0:
		return life - age
	}
	return unhurried
}

// lateStatus is the status of a timeout: it is the client's fault while the request is not complete.
func lateStatus(complete bool) int {
	if complete {
		return 504
	}
	return 408
}

func (s *stream) expire(counter *stats.Counter, a *abortion) {
	counter.Inc()
	if s.written.Load() {
		a.status = 0
	}
	s.abort(a)
}
