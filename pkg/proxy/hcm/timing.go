package hcm

import (
	"sync/atomic"
	"time"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/http/codec"
	"github.com/weir-proxy/weir/pkg/proxy/timer"
)

const (
	// peerCheckAge is how old a stream must be before the downstream is asked whether it is still there.
	peerCheckAge = 250 * time.Millisecond
	// clockAge is for how long a reading of the wall clock is taken further by the monotonic one.
	clockAge = 100 * time.Millisecond
	// minSweep bounds how often streams are looked at for short timeouts.
	minSweep = 5 * time.Millisecond
	// restAfter is how long a connection is idle before it gives up its goroutine.
	restAfter = 500 * time.Millisecond
)

// sweepInterval is how often a busy connection is looked at: often enough that the shortest timeout is late by a quarter
// at most.
func sweepInterval(cfg *model.HTTPConnectionManager) time.Duration {
	d := peerCheckAge
	for _, t := range []time.Duration{
		cfg.StreamIdleTimeout, cfg.RequestTimeout, cfg.RequestHeadersTimeout, cfg.MaxStreamDuration, cfg.IdleTimeout,
		cfg.MaxConnectionDuration, cfg.AccessLogInterval,
	} {
		if t > 0 {
			d = min(d, t/4)
		}
	}
	return max(d, minSweep)
}

// timing is what a connection knows about time. One timer sweeps it: every tick while requests are under way, else when
// something is due. A request costs a look at ticking: the timer stays as it is from one request to the next, and a
// sweep that finds the connection idle plans the next one by what is due.
type timing struct {
	timer timer.Timer
	// since is what the connection has been doing since when, in nanoseconds after its start: positive for being idle,
	// negative for a request, 0 when the head of one was late.
	since   atomic.Int64
	ticking atomic.Bool // a sweep is due within a tick
	// begun is when the first byte of the request came, endedAt when the last response ended (like since; 0 is not known).
	// All of them belong to the goroutine of an HTTP/1 connection; base is a recent reading of both clocks.
	begun, base time.Time
	endedAt     int64

	// guarded by the connection's mu
	tick   time.Duration
	toldAt time.Time // when the client was told of the end
	tooOld bool      // max_connection_duration is over
	hasty  bool      // the next sweep is the soonest
	rested int64     // since, when the codec was last told to rest
}

// startTiming begins with an idle connection.
func (c *connection) startTiming() {
	t := &c.timing
	t.tick = c.m.tick
	t.timer.Init(c.m.deps.Wheel, c.sweep)
	t.since.Store(1)
	t.ticking.Store(true)
	t.timer.Arm(c.m.tick)
}

// Idle implements codec.Handler.
func (c *connection) Idle(idle bool) {
	t := &c.timing
	if idle {
		at := t.endedAt
		if t.endedAt = 0; at == 0 {
			at = max(1, int64(time.Since(c.start)))
		}
		t.since.Store(at)
		return
	}
	t.begun = t.now()
	t.since.Store(-max(1, int64(t.begun.Sub(c.start))))
	if !t.ticking.Load() {
		t.ticking.Store(true)
		t.timer.Arm(c.m.tick)
	}
}

// now is the time by the monotonic clock, and by a wall clock that was read a moment ago: reading one clock is half the
// price of reading both.
func (t *timing) now() time.Time {
	if passed := time.Since(t.base); passed < clockAge {
		return t.base.Add(passed)
	}
	t.base = time.Now()
	return t.base
}

// StreamGone is what the HTTP/2 codec calls when the client has reset a stream: the streams are looked at soon, so that
// what was asked for in vain is given up.
func (c *connection) StreamGone() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if t := &c.timing; len(c.active) > 0 && !t.hasty { // once, or else a flood of them would put the sweep off for ever
		t.hasty = true
		t.timer.Arm(minSweep)
	}
}

// hurry sweeps more often, as far as the timeouts of a stream need it, until the connection is idle again.
func (c *connection) hurry(idle, life time.Duration) {
	d := c.m.tick
	if idle > 0 {
		d = min(d, idle/4)
	}
	if life > 0 {
		d = min(d, life)
	}
	if d = max(d, minSweep); d >= c.m.tick {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if t := &c.timing; d < t.tick {
		t.tick = d
		t.ticking.Store(true)
		t.timer.Arm(d)
	}
}

// sweep is the timer's function.
func (c *connection) sweep() {
	t := &c.timing
	t.ticking.Store(false)
	now := time.Now()
	c.countBytes()
	c.mu.Lock()
	t.hasty = false
	busy, next := c.sweepStreams(now)
	if !busy {
		t.tick, next = c.m.tick, c.m.tick
	}
	drain, late := c.judge(now, busy)
	rest := c.mayRest(now)
	c.plan(now, next)
	server := c.server
	if drain && server == nil {
		c.interrupt()
	}
	c.mu.Unlock()
	if r, ok := server.(codec.Rester); ok && rest {
		r.Rest()
	}
	if drain && server != nil {
		server.Drain()
	}
	if e, ok := server.(headExpirer); ok && late {
		e.Expire(errHeadTimeout)
	}
}

// mayRest tells whether it is time for the connection to rest. The caller holds mu.
func (c *connection) mayRest(now time.Time) bool {
	since := c.timing.since.Load()
	if since <= 0 || since == c.timing.rested || now.Sub(c.start)-time.Duration(since) < restAfter {
		return false
	}
	c.timing.rested = since
	return true
}

// plan arms the timer for the next sweep, which is after next while there are streams. The caller holds mu. A request that
// begins meanwhile finds ticking false and arms the timer itself, which must not be undone.
func (c *connection) plan(now time.Time, next time.Duration) {
	t := &c.timing
	if t.since.Load() > 0 {
		if due := c.untilDue(now); due > 0 {
			t.timer.Arm(due)
		}
		if t.since.Load() > 0 {
			return
		}
	}
	t.ticking.Store(true)
	t.timer.Arm(max(next, time.Millisecond))
}

// untilDue is the time until an idle connection must be looked at; 0 is never. The caller holds mu.
func (c *connection) untilDue(now time.Time) time.Duration {
	cfg, t := c.m.cfg, &c.timing
	due := time.Duration(0)
	at := func(left time.Duration) {
		if left = max(left, time.Millisecond); due == 0 || left < due {
			due = left
		}
	}
	age := now.Sub(c.start)
	if cfg.IdleTimeout > 0 && c.ending == notEnding {
		at(cfg.IdleTimeout - (age - time.Duration(t.since.Load())))
	}
	if cfg.MaxConnectionDuration > 0 && !t.tooOld {
		at(cfg.MaxConnectionDuration - age)
	}
	if since := t.since.Load(); since != t.rested {
		at(restAfter - (age - time.Duration(since)))
	}
	switch {
	case c.ending == told:
		at(cfg.DrainTimeout - now.Sub(t.toldAt))
	case c.ending == over && c.server == nil:
		at(codec.FirstRequestGrace - now.Sub(t.toldAt))
	}
	return due
}

// judge says what must happen to the connection itself: it drains, or a request head is late. The caller holds mu.
func (c *connection) judge(now time.Time, busy bool) (drain, late bool) {
	cfg, st, t := c.m.cfg, c.m.stats, &c.timing
	age, since := now.Sub(c.start), t.since.Load()
	if cfg.IdleTimeout > 0 && since > 0 && age-time.Duration(since) >= cfg.IdleTimeout && c.ending == notEnding {
		st.cxIdleTimeout.Inc()
		drain = c.tell(now)
	}
	if cfg.MaxConnectionDuration > 0 && age >= cfg.MaxConnectionDuration && !t.tooOld {
		t.tooOld = true
		st.cxMaxDuration.Inc()
		switch {
		case cfg.SafeMaxConnectionDuration && c.server != nil && !c.many:
			c.closing.Store(true)
		case c.ending == notEnding:
			drain = c.tell(now)
		}
	}
	switch {
	case c.ending == told && now.Sub(t.toldAt) >= cfg.DrainTimeout:
		c.ending, drain = over, true
	case c.ending == over && c.server == nil && now.Sub(t.toldAt) >= codec.FirstRequestGrace:
		drain = true
	}
	return drain, cfg.RequestHeadersTimeout > 0 && c.headIsLate(now, since, busy)
}

// headIsLate tells whether a request head has been under way for too long. An HTTP/2 connection receives one beside the
// streams that it has. The caller holds mu.
func (c *connection) headIsLate(now time.Time, since int64, busy bool) bool {
	timeout := c.m.cfg.RequestHeadersTimeout
	if h, ok := c.server.(headReceiver); ok {
		begun, receiving := h.HeadSince()
		return receiving && now.Sub(begun) >= timeout
	}
	return since < 0 && !busy && now.Sub(c.start)+time.Duration(since) >= timeout && c.timing.since.CompareAndSwap(since, 0)
}

// tell begins the end of the connection: the next response says so, and HTTP/2 sends its GOAWAY at once, which the codec
// follows up. drain tells that the codec must know now. The caller holds mu.
func (c *connection) tell(now time.Time) (drain bool) {
	c.closing.Store(true)
	c.ending, c.timing.toldAt = told, now
	if c.server == nil {
		c.ending = over
	}
	return c.server == nil || c.many
}

// interrupt ends a connection whose protocol is not known yet: nothing was asked on it. The caller holds mu, or it could
// come after serve has made it good again.
func (c *connection) interrupt() {
	_ = c.fc.Conn.SetReadDeadline(time.Unix(1, 0)) // a broken connection does not block
}

// drainOnce drains a connection that is not about to end anyway.
func (c *connection) drainOnce() {
	c.mu.Lock()
	ending := c.ending == over
	c.mu.Unlock()
	if !ending {
		c.drain()
	}
}

// drain ends the connection as soon as nothing is under way, and gives one on which nothing came yet the time for it.
func (c *connection) drain() {
	c.mu.Lock()
	c.ending = over
	server := c.server
	if t := &c.timing; server == nil {
		t.toldAt = time.Now()
		t.ticking.Store(true)
		t.timer.Arm(c.m.tick) // the sweep plans the rest
	}
	c.mu.Unlock()
	c.m.stats.cxDrainClose.Inc()
	if server != nil {
		server.Drain()
	}
}
