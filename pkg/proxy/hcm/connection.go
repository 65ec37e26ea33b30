package hcm

import (
	"errors"
	"sync"
	"time"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/filter"
	"github.com/weir-proxy/weir/pkg/proxy/http/codec"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
	"github.com/weir-proxy/weir/pkg/proxy/timer"
)

const (
	// peerCheckAge is how old a stream must be before the downstream is asked whether it is still there.
	peerCheckAge = 250 * time.Millisecond
	// minSweep bounds how often streams are looked at for short timeouts.
	minSweep = 5 * time.Millisecond
)

// sweepInterval is how often the streams of a busy connection are looked at: often enough that the shortest timeout is
// late by a quarter at most.
func sweepInterval(cfg *model.HTTPConnectionManager) time.Duration {
	d := peerCheckAge
	for _, t := range []time.Duration{cfg.StreamIdleTimeout, cfg.RequestTimeout, cfg.RequestHeadersTimeout, cfg.MaxStreamDuration} {
		if t > 0 {
			d = min(d, t/4)
		}
	}
	return max(d, minSweep)
}

// connection is one downstream connection. It implements codec.Handler. One timer sweeps it: while requests are under
// way every tick, else when its idle time or its life is over.
type connection struct {
	m       *Manager
	fc      *filter.Connection
	server  codec.Server
	start   time.Time
	timer   timer.Timer
	failure error

	certOnce sync.Once
	cert     string // of x-forwarded-client-cert

	rx, tx uint64 // bytes that were counted already; of the sweep and of closed

	mu        sync.Mutex
	tick      time.Duration // until the next sweep while requests are under way
	active    []*stream
	served    int
	idleSince time.Time // zero while a request is under way
	headSince time.Time // zero unless a request head is being received
	drained   bool
	timedOut  bool
	cutOff    bool // we ended the connection in the middle of a response
}

// Abilities of some codecs.
type (
	// headExpirer answers a request whose head does not come to its end.
	headExpirer interface{ Expire(late *codec.Error) }
	// ender tells whether the connection ended in the middle of a request, and whether the codec chose to end it.
	ender interface{ Ended() (busy, ours bool) }
)

// errHeadTimeout is what a request head that takes too long is answered with; read only.
var errHeadTimeout = &codec.Error{
	Status: 408, Details: "request_header_timeout", Reason: "head_timeout", Err: errors.New("the request head was not received in time"),
}

var _ codec.Handler = (*connection)(nil)

func (c *connection) opened() {
	st := c.m.stats
	st.cxTotal.Inc()
	st.cxActive.Inc()
	if c.fc.Info.TLS != nil {
		st.cxSSLTotal.Inc()
		st.cxSSLActive.Inc()
	}
	if c.two() {
		st.cxHTTP2Total.Inc()
		st.cxHTTP2Active.Inc()
	} else {
		st.cxHTTP1Total.Inc()
		st.cxHTTP1Active.Inc()
	}
	c.timer.Init(c.m.deps.Wheel, c.sweep)
	c.Idle(true)
}

func (c *connection) two() bool { return c.server.Version() == message.HTTP2 }

func (c *connection) closed() {
	c.timer.Release()
	st := c.m.stats
	st.cxActive.Dec()
	if c.fc.Info.TLS != nil {
		st.cxSSLActive.Dec()
	}
	if c.two() {
		st.cxHTTP2Active.Dec()
	} else {
		st.cxHTTP1Active.Dec()
	}
	c.countEnd()
	st.cxLength.Record(uint64(time.Since(c.start).Milliseconds()))
	c.countBytes()
}

// countEnd counts who ended the connection, and whether in the middle of a request.
func (c *connection) countEnd() {
	st := c.m.stats
	busy, local := false, false
	if e, ok := c.server.(ender); ok {
		busy, local = e.Ended()
	}
	st.cxDestroy.Inc()
	if busy {
		st.cxDestroyActive.Inc()
	}
	c.mu.Lock()
	local = local || c.drained || c.timedOut || c.cutOff
	c.mu.Unlock()
	switch {
	case local && busy:
		st.cxDestroyLocal.Inc()
		st.cxDestroyLocalActive.Inc()
	case local:
		st.cxDestroyLocal.Inc()
	case busy:
		st.cxDestroyRemote.Inc()
		st.cxDestroyRemoteActive.Inc()
	default:
		st.cxDestroyRemote.Inc()
	}
}

func (c *connection) countBytes() {
	rx, tx := c.fc.Info.RxBytes.Load(), c.fc.Info.TxBytes.Load()
	c.m.stats.cxRxBytes.Add(rx - c.rx)
	c.m.stats.cxTxBytes.Add(tx - c.tx)
	c.rx, c.tx = rx, tx
}

// Idle implements codec.Handler.
func (c *connection) Idle(idle bool) {
	now := time.Now()
	c.mu.Lock()
	if idle {
		c.idleSince, c.headSince = now, time.Time{}
	} else {
		c.idleSince, c.headSince = time.Time{}, now
	}
	c.tick = c.m.tick
	d := c.tick
	if idle {
		d = c.untilIdleEvent(now)
	}
	if d > 0 {
		c.timer.Arm(d)
	} else {
		c.timer.Disarm()
	}
	c.mu.Unlock()
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
	if d < c.tick {
		c.tick = d
		c.timer.Arm(d)
	}
}

// untilIdleEvent is the time until an idle connection must be looked at; 0 is never. The caller holds mu.
func (c *connection) untilIdleEvent(now time.Time) time.Duration {
	d := c.m.cfg.IdleTimeout
	if life := c.m.cfg.MaxConnectionDuration; life > 0 && !c.drained {
		if left := max(life-now.Sub(c.start), time.Millisecond); d <= 0 || left < d {
			d = left
		}
	}
	return d
}

// sweep is the timer's function.
func (c *connection) sweep() {
	now := time.Now()
	c.countBytes()
	c.mu.Lock()
	for _, s := range c.active {
		s.sweep(now)
	}
	idleFor := time.Duration(0)
	if !c.idleSince.IsZero() {
		idleFor = now.Sub(c.idleSince)
	}
	drain, late := c.judge(now, idleFor)
	next := c.tick
	if !c.idleSince.IsZero() {
		next = c.untilIdleEvent(now)
	}
	if next > 0 {
		c.timer.Arm(next)
	}
	c.mu.Unlock()
	if drain {
		c.server.Drain()
	}
	if e, ok := c.server.(headExpirer); ok && late {
		e.Expire(errHeadTimeout)
	}
}

// judge says what must happen to the connection itself. The caller holds mu.
func (c *connection) judge(now time.Time, idleFor time.Duration) (drain, late bool) {
	cfg, st := c.m.cfg, c.m.stats
	if cfg.IdleTimeout > 0 && idleFor >= cfg.IdleTimeout && !c.timedOut {
		c.timedOut, drain = true, true
		st.cxIdleTimeout.Inc()
	}
	if life := cfg.MaxConnectionDuration; life > 0 && now.Sub(c.start) >= life && !c.drained {
		c.drained, drain = true, true
		st.cxMaxDuration.Inc()
	}
	if t := cfg.RequestHeadersTimeout; t > 0 && !c.headSince.IsZero() && len(c.active) == 0 && now.Sub(c.headSince) >= t {
		late, c.headSince = true, time.Time{}
	}
	return drain, late
}

func (c *connection) add(s *stream) {
	c.mu.Lock()
	c.headSince = time.Time{}
	s.index = len(c.active)
	c.active = append(c.active, s)
	c.served++
	last := c.served == c.m.cfg.MaxRequestsPerConnection
	c.mu.Unlock()
	if last {
		c.m.stats.cxMaxRequests.Inc()
	}
}

// remove makes sure that no sweep touches the stream any more.
func (c *connection) remove(s *stream) {
	c.mu.Lock()
	last := len(c.active) - 1
	c.active[s.index] = c.active[last]
	c.active[s.index].index = s.index
	c.active[last] = nil
	c.active = c.active[:last]
	c.mu.Unlock()
}

// ServeStream implements codec.Handler.
func (c *connection) ServeStream(src codec.ServerStream) {
	s := c.m.streams.Get().(*stream)
	s.begin(c, src)
	s.deliver(s.process())
	s.finish()
}

// ServeError implements codec.Handler: a request that cannot be parsed is answered and logged like any other.
func (c *connection) ServeError(src codec.ServerStream, bad *codec.Error) {
	s := c.m.streams.Get().(*stream)
	s.begin(c, src)
	if bad == errHeadTimeout {
		s.deliver(s.expired(), nil)
	} else {
		c.m.stats.cxProtocolError.Inc()
		s.deliver(s.rejected(bad))
	}
	s.finish()
}
