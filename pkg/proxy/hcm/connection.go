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

	mu     sync.Mutex
	server codec.Server // nil until the protocol is known
	active []*stream
	served int
	ending ending
	cutOff bool // we ended the connection in the middle of a response
}

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
	c.server = s
	late := c.ending == over
	c.mu.Unlock()
	if late {
		_ = c.fc.Conn.SetReadDeadline(time.Time{}) // of interrupt
	}
	st := c.m.stats
	if c.two() {
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

func (c *connection) two() bool { return c.server.Version() == message.HTTP2 }

func (c *connection) closed() {
	c.timing.timer.Release()
	st := c.m.stats
	st.cxActive.Dec()
	if c.fc.Info.TLS != nil {
		st.cxSSLActive.Dec()
	}
	if c.server != nil {
		if c.two() {
			st.cxHTTP2Active.Dec()
		} else {
			st.cxHTTP1Active.Dec()
		}
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
}

func (c *connection) countBytes() {
	rx, tx := c.fc.Info.RxBytes.Load(), c.fc.Info.TxBytes.Load()
	c.m.stats.cxRxBytes.Add(rx - c.rx)
	c.m.stats.cxTxBytes.Add(tx - c.tx)
	c.rx, c.tx = rx, tx
}

func (c *connection) add(s *stream) {
	c.mu.Lock()
	s.index = len(c.active)
	c.active = append(c.active, s)
	c.timing.since.Store(0)
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
