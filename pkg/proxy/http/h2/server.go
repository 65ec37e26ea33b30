package h2

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime/debug"
	"sync"
	"time"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/http/codec"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
)

// ServerOptions configure the server side of a connection. The zero value is usable.
type ServerOptions struct {
	HTTP2 model.HTTP2Options
	// MaxHeadersBytes bounds a head; default 61440. MaxHeadersCount bounds its fields; default 100.
	MaxHeadersBytes, MaxHeadersCount int
	// MaxRequests drains the connection after so many requests; 0 is unlimited.
	MaxRequests int
	// Scheme of requests that name none, which are those of CONNECT; default "http".
	Scheme string
	// UnderscoresAction on field names with underscores.
	UnderscoresAction model.UnderscoresAction
	// Proxy100Continue leaves Expect: 100-continue to the upstream instead of answering it on the first read of the body.
	Proxy100Continue bool
	// DrainTimeout bounds the time between the two GOAWAY frames of a graceful end, which is as short as a round trip when
	// the client answers a PING; default 5 s, as Envoy's drain_timeout.
	DrainTimeout time.Duration
	// LingerTimeout bounds the wait for the client's close after ours; default 1 s, Envoy's delayed_close_timeout.
	LingerTimeout time.Duration
	// Panicked is told of a panic of the handler, on its goroutine, and must cut the connection off, which then ends; all
	// streams on it do. Nil lets panics end the process.
	Panicked func(value any, stack []byte)
	// Stats may be nil.
	Stats *Stats
	// Shared should be the same for all connections; nil gives this one its own.
	Shared *Shared
}

// Server is the server side of one connection. Make it with NewServer.
type Server struct {
	link
	opt     ServerOptions
	handler codec.Handler
	build   requestBuilder // of the reader

	unwatch func() bool // ends the watch over Serve's context
	rested  bool        // Serve is called again

	idleMu sync.Mutex // orders calls of Idle
	idle   bool       // guarded by idleMu

	// Guarded by mu.
	serving    bool   // the first frames were added
	draining   bool   // a graceful end has begun
	final      bool   // no more streams are taken
	taken      uint32 // the last one that was taken then
	opening    bool   // the reader opens a stream that was taken
	drainTimer *time.Timer
	served     int
	over       int          // streams that have ended
	premature  int          // streams that the client reset before they had a response
	headOpen   bool         // a field block is being received in several frames
	headSince  time.Time    // when its first frame came
	late       *codec.Error // of Expire
	resting    bool         // the reader was woken up to rest
}

// drainMark is the data of the PING that measures the round trip of a graceful end.
const drainMark = 0x6472_6169_6e00_0000

// NewServer makes the server side of c, on which nothing was read yet: the client's preface is still to come. Serve closes
// c.
func NewServer(c net.Conn, opt ServerOptions) *Server {
	if opt.Scheme == "" {
		opt.Scheme = "http"
	}
	if opt.DrainTimeout <= 0 {
		opt.DrainTimeout = defaultDrain
	}
	if opt.Stats == nil {
		opt.Stats = NewStats(nil)
	}
	if opt.Shared == nil {
		opt.Shared = NewShared()
	}
	s := &Server{opt: opt, idle: true}
	s.limits = newLimits(&opt.HTTP2, opt.MaxHeadersBytes, opt.MaxHeadersCount, defaultStreams)
	s.limits.underscores = opt.UnderscoresAction
	if opt.LingerTimeout > 0 {
		s.limits.linger = opt.LingerTimeout
	}
	s.stats, s.shared = opt.Stats, opt.Shared
	s.link.init(c, s, false)
	s.build.srv = s
	return s
}

// Version implements codec.Server.
func (s *Server) Version() message.Version { return message.HTTP2 }

// Serve implements codec.Server.
func (s *Server) Serve(ctx context.Context, h codec.Handler) error {
	begin := s.start
	if s.rested {
		s.rested, begin = false, func() error { return nil }
	} else {
		s.handler, s.unwatch = h, func() bool { return true }
		if ctx.Done() != nil {
			s.unwatch = context.AfterFunc(ctx, func() { s.Abort(context.Cause(ctx)) })
		}
		h.Idle(true)
	}
	err := begin()
	if err == nil {
		err = s.readOrRest()
	}
	if err == codec.ErrRests {
		return err
	}
	return s.finish(s.reason(err))
}

// finish ends the connection and waits for its goroutines.
func (s *Server) finish(err error) error {
	s.unwatch()
	s.goodbye(err)
	s.rd.release()
	_ = s.nc.Close() // nothing depends on it any more
	s.mu.Lock()
	s.closeWorkers()
	if s.drainTimer != nil {
		s.drainTimer.Stop()
	}
	s.mu.Unlock()
	s.wg.Wait()
	s.mu.Lock()
	s.dropOut()
	s.mu.Unlock()
	if errors.Is(err, errDrained) || errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// start greets the client and waits for its preface.
func (s *Server) start() error {
	own := appendSetting(nil, settingMaxStreams, s.limits.streams)
	if s.limits.connect {
		own = appendSetting(own, settingConnectProtocol, 1)
	}
	s.greet(own, s.opt.HTTP2.Settings)
	s.mu.Lock()
	s.serving = true
	s.keep.start(&s.link)
	if s.draining {
		s.notice()
	}
	s.mu.Unlock()
	got, err := s.rd.bytes(len(preface))
	if err != nil {
		if s.rd.r < s.rd.w {
			err = unexpected(err)
		}
		return fmt.Errorf("read preface: %w", err)
	}
	if string(got) != preface {
		return connErrorf(codeProtocol, "invalid preface")
	}
	return nil
}

// unexpected names an end of the connection in the middle of something.
func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// noteIdle tells the handler when requests begin and end to be under way.
func (s *Server) noteIdle() {
	s.idleMu.Lock()
	defer s.idleMu.Unlock()
	s.mu.Lock()
	idle := s.workers.busy == 0 && !s.headOpen
	s.mu.Unlock()
	if idle != s.idle {
		s.idle = idle
		s.handler.Idle(idle)
	}
}

// headers implements side.
func (s *Server) headers(id uint32, end bool, block []byte) error {
	s.mu.Lock()
	if st := s.streams[id]; st != nil {
		defer s.mu.Unlock()
		return s.trailers(st, end, block)
	}
	last, how, final := s.lastID, s.recent.how(id), s.final
	s.lastID = max(last, id)
	s.opening = id > last && !final
	s.mu.Unlock()
	if id > last && !final {
		err := s.open(id, end, block)
		if err != nil {
			s.notOpened()
		}
		return err
	}
	if err := s.skip(block); err != nil {
		return err
	}
	switch {
	case id > last, how == closedByUs:
		return nil
	case how == closedUnknown:
		return connErrorf(codeProtocol, "stream %d after stream %d", id, last)
	}
	return connErrorf(codeStreamClosed, "HEADERS on stream %d, which is closed", id)
}

// open begins a stream.
func (s *Server) open(id uint32, end bool, block []byte) error {
	st := s.shared.servers.Get().(*serverStream)
	st.reset(s)
	if err := s.dec.decode(block, s.build.begin(st)); err != nil {
		s.shared.servers.Put(st)
		return compression(err)
	}
	if err := s.build.finish(end); err != nil {
		s.shared.servers.Put(st)
		return s.messaging(err)
	}
	s.mu.Lock()
	if err := s.err; err != nil {
		s.mu.Unlock()
		s.shared.servers.Put(st)
		return err
	}
	if len(s.streams) >= int(s.limits.streams) || s.workers.busy >= 2*int(s.limits.streams) {
		s.mu.Unlock()
		s.shared.servers.Put(st)
		return streamErrorf(codeRefusedStream, "too many streams")
	}
	s.flood.opened++
	s.served++
	st.recvEnd = end
	st.enter(id)
	st.begun = time.Now()
	s.workers.busy++
	s.opening = false
	first := s.workers.busy == 1
	if s.opt.MaxRequests > 0 && s.served >= s.opt.MaxRequests {
		s.drain()
	}
	if first {
		s.mu.Unlock()
		s.noteIdle()
		s.mu.Lock()
	}
	s.link.run(task{&st.stream})
	s.mu.Unlock()
	return nil
}

// serve implements side.
func (s *Server) serve(base *stream) {
	st := base.srv
	whole := s.handle(st)
	s.mu.Lock()
	if st.open {
		code := codeInternal
		if st.sendEnd { // RFC 9113 section 8.1: the response is complete without the rest of the request
			code = codeNo
		}
		st.cut(code)
		s.flush(base)
	}
	st.release()
	s.over++
	s.workers.busy--
	last := s.workers.busy == 0
	if last {
		s.endIfDrained()
	}
	s.mu.Unlock()
	if whole {
		st.forget()
		s.shared.servers.Put(st)
	}
	if last {
		s.noteIdle()
	}
}

// handle calls the handler, and tells whether that has returned: it may have panicked.
func (s *Server) handle(st *serverStream) (whole bool) {
	if s.opt.Panicked != nil {
		defer s.recovered()
	}
	if st.bad != nil {
		s.handler.ServeError(st, st.bad)
	} else {
		s.handler.ServeStream(st)
	}
	return true
}

// recovered keeps a panic of the handler within the connection, of which nobody knows what state it left.
func (s *Server) recovered() {
	if v := recover(); v != nil {
		s.opt.Panicked(v, debug.Stack())
		s.sever(fmt.Errorf("serve a request: panic: %v", v))
	}
}

var (
	_ codec.Server = (*Server)(nil)
	_ side         = (*Server)(nil)
)
