package hcm

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weir-proxy/weir/pkg/proxy/filter"
	"github.com/weir-proxy/weir/pkg/proxy/http/codec"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
)

// connection is one downstream connection. It implements codec.Handler. What it knows of time is in timing.go.
type connection struct {
	m      *Manager
	fc     *filter.Connection
	start  time.Time
	timing timing
	// closing makes the next response the last one of an HTTP/1 connection.
	closing atomic.Bool

	certOnce sync.Once
	cert     string // of x-forwarded-client-cert

	rx, tx uint64 // bytes that were counted already; of the sweep and of closed

	agent atomic.Pointer[agentStats] // nil before the first request

	many           bool                   // it can have many streams at a time; set before the first
	only           atomic.Pointer[stream] // that of a connection which has one at a time; a sweep takes it out meanwhile
	served         atomic.Int64           // requests, while they are bounded
	nextID, lastID uint64                 // of the goroutine of an HTTP/1 connection

	mu     sync.Mutex
	server codec.Server // nil until the protocol is known
	active []*stream    // of a connection with many
	ending ending
	cutOff bool // we ended the connection in the middle of a response
}

// idBlock is how many stream numbers a connection takes at once.
const idBlock = 16

// ending is how far the end of a connection has come.
type ending uint8

const (
	notEnding ending = iota
	told             // the client is told; it has the drain timeout left
	over             // it ends as soon as nothing is under way
)

// Abilities of some codecs.
type (
	// headExpirer answers a request whose head does not come to its end.
	headExpirer interface{ Expire(late *codec.Error) }
	// headReceiver tells since when a request head is being received; others say so by Idle alone.
	headReceiver interface {
		HeadSince() (since time.Time, ok bool)
	}
	// resetter tells that the client ended the stream, and not the connection.
	resetter interface{ PeerReset() bool }
	// ender tells whether the connection ended in the middle of a request, and whether the codec chose to end it.
	ender interface{ Ended() (busy, ours bool) }
)

// errHeadTimeout is what a request head that takes too long is answered with; read only.
var errHeadTimeout = &codec.Error{
	Status: 408, Details: "request_header_timeout", Reason: "head_timeout", Err: errors.New("the request head was not received in time"),
}

var _ codec.Handler = (*connection)(nil)

// opened counts the connection in and starts its timers.
func (c *connection) opened() {
	st := c.m.stats
	st.cxTotal.Inc()
	st.cxActive.Inc()
	if c.fc.Info.TLS != nil {
		st.cxSSLTotal.Inc()
		st.cxSSLActive.Inc()
	}
	c.startTiming()
}

// serve notes the codec, once the protocol is known.
func (c *connection) serve(s codec.Server) {
	c.mu.Lock()
	c.server, c.many = s, s.Version() >= message.HTTP2
	late := c.ending == over
	c.mu.Unlock()
	if late {
		_ = c.fc.Conn.SetReadDeadline(time.Time{}) // of interrupt
	}
	st := c.m.stats
	if c.many {
		st.cxHTTP2Total.Inc()
		st.cxHTTP2Active.Inc()
	} else {
		st.cxHTTP1Total.Inc()
		st.cxHTTP1Active.Inc()
	}
	if late {
		s.Drain()
	}
}

func (c *connection) closed() {
	c.timing.timer.Release()
	st := c.m.stats
	st.cxActive.Dec()
	if c.fc.Info.TLS != nil {
		st.cxSSLActive.Dec()
	}
	if c.server != nil {
		if c.many {
			st.cxHTTP2Active.Dec()
		} else {
			st.cxHTTP1Active.Dec()
		}
	}
	length := uint64(time.Since(c.start).Milliseconds())
	c.countAgentEnd(length, c.countEnd())
	st.cxLength.Record(length)
	c.countBytes()
}

// countEnd counts who ended the connection, and whether in the middle of a request. It tells whether the client broke off one.
func (c *connection) countEnd() (broken bool) {
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
	local = local || c.ending == over || c.cutOff
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
	return busy && !local
}

func (c *connection) countBytes() {
	rx, tx := c.fc.Info.RxBytes.Load(), c.fc.Info.TxBytes.Load()
	c.m.stats.cxRxBytes.Add(rx - c.rx)
	c.m.stats.cxTxBytes.Add(tx - c.tx)
	c.rx, c.tx = rx, tx
}

// add makes the stream known to sweeps.
func (c *connection) add(s *stream) {
	if c.m.cfg.MaxRequestsPerConnection > 0 && c.served.Add(1) == int64(c.m.cfg.MaxRequestsPerConnection) {
		c.m.stats.cxMaxRequests.Inc()
	}
	if !c.many {
		c.only.Store(s)
		return
	}
	c.mu.Lock()
	s.index = len(c.active)
	c.active = append(c.active, s)
	c.mu.Unlock()
}

// remove makes sure that no sweep touches the stream any more.
func (c *connection) remove(s *stream) {
	if !c.many {
		if !c.only.CompareAndSwap(s, nil) { // a sweep has borrowed it, and gives it back before it unlocks
			c.mu.Lock()
			c.only.Store(nil)
			c.mu.Unlock()
		}
		return
	}
	c.mu.Lock()
	last := len(c.active) - 1
	c.active[s.index] = c.active[last]
	c.active[s.index].index = s.index
	c.active[last] = nil
	c.active = c.active[:last]
	c.mu.Unlock()
}

// sweepStreams looks at each stream, and tells whether there is any and when the first of them is to be looked at, if
// that is before the next tick. The caller holds mu.
func (c *connection) sweepStreams(now time.Time) (busy bool, next time.Duration) {
	next = c.timing.tick
	if s := c.only.Swap(nil); s != nil {
		next = min(next, s.sweep(now))
		c.only.Store(s)
		return true, next
	}
	for _, s := range c.active {
		next = min(next, s.sweep(now))
	}
	return len(c.active) > 0, next
}

// streamID gives the next number of a stream. HTTP/1 connections take them a few at a time.
func (c *connection) streamID() uint64 {
	if c.many {
		return c.m.ids.Add(1)
	}
	if c.nextID == c.lastID {
		c.lastID = c.m.ids.Add(idBlock)
		c.nextID = c.lastID - idBlock
	}
	c.nextID++
	return c.nextID
}

// ServeStream implements codec.Handler.
func (c *connection) ServeStream(src codec.ServerStream) {
	s := c.m.streams.Get().(*stream)
	s.begin(c, src)
	returned := false
	defer func() {
		if !returned { // a filter has panicked: what the request holds is given back all the same
			s.finish()
		}
	}()
	s.deliver(s.process())
	returned = true
	s.finish()
	c.m.streams.Put(s)
}

// ServeError implements codec.Handler: a request that cannot be parsed is answered and logged like any other.
func (c *connection) ServeError(src codec.ServerStream, bad *codec.Error) {
	s := c.m.streams.Get().(*stream)
	s.begin(c, src)
	if bad == errHeadTimeout {
		s.deliver(s.expired(), nil)
	} else {
		if !lacking(bad) {
			c.m.stats.cxProtocolError.Inc()
		}
		s.deliver(s.rejected(bad))
	}
	s.finish()
	c.m.streams.Put(s)
}
