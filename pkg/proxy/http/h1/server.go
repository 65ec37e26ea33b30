package h1

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/http/codec"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
)

// ServerOptions configure the server side of a connection. The zero value is usable.
type ServerOptions struct {
	HTTP1 model.HTTP1Options
	// MaxHeadersBytes bounds a head, request line included; default 61440. MaxHeadersCount bounds its fields; default 100.
	MaxHeadersBytes, MaxHeadersCount int
	// MaxRequests closes the connection after so many requests; 0 is unlimited.
	MaxRequests int
	// Proxy100Continue leaves Expect: 100-continue to the upstream instead of answering it on the first read of the body.
	Proxy100Continue bool
	// Scheme of requests in origin form; default "http".
	Scheme string
	// UnderscoresAction on field names with underscores.
	UnderscoresAction model.UnderscoresAction
	// LingerTimeout bounds the wait for the client's close after ours, so that it can read the response; default 1 s,
	// Envoy's delayed_close_timeout.
	LingerTimeout time.Duration
	// Buffers should be shared by all connections; nil gives this one its own.
	Buffers *Buffers
	// IgnoreUpgrade tells of a value of Upgrade whether it is passed over; nil passes over none but h2c.
	IgnoreUpgrade func(protocol string) bool
	// Stats counts what clients do wrong; nil counts nothing.
	Stats *Stats
}

// Bounds of a lingering close.
const (
	defaultLinger = time.Second
	maxDiscard    = 256 << 10
)

// Server is the server side of one connection. Make it with NewServer.
type Server struct {
	conn   net.Conn
	opt    ServerOptions
	rules  requestRules
	rd     reader
	stream serverStream
	served int
	first  [1]byte

	aborted    atomic.Pointer[error]
	draining   atomic.Bool
	mu         sync.Mutex   // orders the deadlines of Drain, stream aborts and the serving goroutine
	waiting    waitState    // guarded by mu
	late       *codec.Error // of Expire; guarded by mu
	busy, ours bool         // what Ended tells; of the serving goroutine
	// stop ends the watch over Serve's context, which lasts while the connection rests; rested tells that it did.
	stop   func() bool
	rested bool
}

// NewServer makes the server side of c. It does not close c.
func NewServer(c net.Conn, opt ServerOptions) *Server {
	if opt.Buffers == nil {
		opt.Buffers = NewBuffers()
	}
	if opt.Scheme == "" {
		opt.Scheme = "http"
	}
	if opt.LingerTimeout <= 0 {
		opt.LingerTimeout = defaultLinger
	}
	s := &Server{conn: c, opt: opt}
	s.rules = requestRules{
		limits:        limits{opt.MaxHeadersBytes, opt.MaxHeadersCount, opt.UnderscoresAction}.withDefaults(),
		http1:         opt.HTTP1,
		scheme:        opt.Scheme,
		forwardExpect: opt.Proxy100Continue,
		ignoreUpgrade: opt.IgnoreUpgrade,
	}
	s.rd = reader{conn: c, bufs: opt.Buffers}
	s.stream.body.init(&s.rd, &s.stream, s.rules.limits)
	s.stream.srv = s
	s.stream.keep = keptNames(&opt.HTTP1)
	s.stream.wr = writer{
		conn: c, bufs: opt.Buffers, format: opt.HTTP1.HeaderFormat, trailers: opt.HTTP1.EnableTrailers,
		bodySent: &s.stream.sentBody, tailSent: &s.stream.sentTrailer,
	}
	return s
}

// Version implements codec.Server.
func (s *Server) Version() message.Version { return message.HTTP11 }

// Serve implements codec.Server. It half-closes the connection where the client must still read a response, and leaves
// closing to the caller.
func (s *Server) Serve(ctx context.Context, h codec.Handler) error {
	if s.stop == nil {
		s.stop = context.AfterFunc(ctx, func() { s.Abort(context.Cause(ctx)) })
	}
	defer s.rd.release()
	for {
		again, err := s.serveOne(h)
		if err == codec.ErrRests {
			s.stream.req.Headers, s.stream.body.trailers = message.Headers{}, message.Headers{} // their memory too
			return err
		}
		if err != nil {
			s.stop()
			return s.cause(err)
		}
		if !again {
			s.stop()
			return nil
		}
	}
}

// serveOne waits for a request and serves it; again tells whether the connection can carry another one.
func (s *Server) serveOne(h codec.Handler) (again bool, err error) {
	if !s.rested {
		h.Idle(true)
	}
	s.rested = false
	came, err := s.await()
	if err != nil || !came {
		return false, err
	}
	h.Idle(false)
	st := &s.stream
	st.reset()
	defer st.end()
	bad, err := st.receive()
	if late := s.headDone(); late != nil && err != nil {
		bad, err, st.expired = late, nil, true
	}
	if err != nil {
		return false, fmt.Errorf("read request head: %w", unexpected(err))
	}
	if bad != nil {
		return s.refuse(h, bad)
	}
	s.served++
	st.openBody()
	h.ServeStream(st)
	return s.settle()
}

// refuse has a request answered that is not in order. The connection goes on only if it is configured to, and the end of
// the request is known.
func (s *Server) refuse(h codec.Handler, bad *codec.Error) (again bool, err error) {
	st := &s.stream
	if st.parsed.framed {
		s.opt.Stats.rejected(bad)
		s.served++
		st.openBody()
		if !st.bodyReceived() {
			st.closeAfter.Store(true)
		}
		h.ServeError(st, bad)
		return s.settle()
	}
	if !st.expired {
		s.opt.Stats.rejected(bad)
	}
	st.parsed = parsedRequest{}
	st.closeAfter.Store(true)
	h.ServeError(st, bad)
	s.ours = true
	s.linger()
	return false, bad
}

// Ended tells, when Serve has returned, whether a request was under way then, and whether the end was our choice: after
// the last response, or for a drain.
func (s *Server) Ended() (busy, ours bool) { return s.busy, s.ours }

// settle decides what becomes of the connection after a request.
func (s *Server) settle() (again bool, err error) {
	st := &s.stream
	switch {
	case st.failed != nil:
		s.busy = true
		return false, st.failed
	case !st.responded && st.failure() != nil:
		s.busy = true
		return false, st.failure()
	case !st.responded:
		s.busy = true
		return false, errNoResponse
	case st.tunnel || st.failure() != nil:
		s.linger()
		return false, st.failure()
	}
	whole := st.bodyReceived()
	if whole && !st.closing {
		if st.body.closed.Load() { // the wake-up of a Close that came after the end
			s.mu.Lock()
			err = s.conn.SetReadDeadline(time.Time{})
			s.mu.Unlock()
		}
		return err == nil, err
	}
	s.ours = true
	if !whole || s.rd.buffered() > 0 || st.parsed.keepAlive {
		s.linger()
	}
	return false, nil
}

// linger half-closes and discards what the client still sends, bounded in bytes and time: closing with unread bytes would
// reset the connection and could destroy the response on its way.
func (s *Server) linger() {
	if s.aborted.Load() != nil || closeWrite(s.conn) != nil {
		return
	}
	s.mu.Lock()
	err := s.conn.SetReadDeadline(time.Now().Add(s.opt.LingerTimeout))
	s.mu.Unlock()
	if err != nil {
		return
	}
	s.rd.endStream()
	for n := 0; n < maxDiscard; n += s.rd.buffered() {
		s.rd.r, s.rd.w = 0, 0
		if s.rd.fill() != nil {
			return
		}
	}
}

// Abort implements codec.Server.
func (s *Server) Abort(err error) {
	if err == nil {
		err = errClosed
	}
	if s.aborted.CompareAndSwap(nil, &err) {
		unblock(s.conn)
	}
}

// cause prefers the reason of an abort to the error that it led to.
func (s *Server) cause(err error) error {
	if p := s.aborted.Load(); p != nil {
		return *p
	}
	return err
}

// unexpected names an end of the connection in the middle of something.
func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

var (
	_ codec.Server = (*Server)(nil)
	_ codec.Rester = (*Server)(nil)
)
