package h2

import (
	"context"
	"errors"
	"io"
	"log"
	"math"
	"net"
	"net/http"
	"sync"
	"sync/atomic"

	"golang.org/x/net/http2"

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
	// Scheme of requests that name none; default "http".
	Scheme string
	// UnderscoresAction on field names with underscores.
	UnderscoresAction model.UnderscoresAction
	// Stats may be nil.
	Stats *Stats
}

// Defaults: max_request_headers_kb 60 and max_headers_count 100 are Envoy's. The windows are smaller than Envoy's 256 MiB,
// which would let one client make us hold as much.
const (
	defaultMaxBytes     = 60 << 10
	defaultMaxCount     = 100
	defaultStreams      = 1024
	defaultStreamWindow = 1 << 20
	defaultConnWindow   = 16 << 20
)

var errClosed = errors.New("the exchange was closed")

// Server is the server side of one connection. Make it with NewServer.
type Server struct {
	conn net.Conn
	opt  ServerOptions
	base *http.Server
	h2   *http2.Server

	buffers  sync.Pool // *[copySize]byte
	aborted  atomic.Pointer[error]
	draining atomic.Bool
	drained  sync.WaitGroup // goroutines of shutdown

	mu      sync.Mutex // guards what follows
	active  int
	served  int
	closed  bool // Serve is about to return
	busy    bool // a request was under way when the connection ended
	handler codec.Handler
	streams sync.WaitGroup
}

// NewServer makes the server side of c, on which nothing was read yet: the client's preface is still to come. Serve closes
// c.
func NewServer(c net.Conn, opt ServerOptions) *Server {
	if opt.MaxHeadersBytes <= 0 {
		opt.MaxHeadersBytes = defaultMaxBytes
	}
	if opt.MaxHeadersCount <= 0 {
		opt.MaxHeadersCount = defaultMaxCount
	}
	if opt.Scheme == "" {
		opt.Scheme = "http"
	}
	s := &Server{conn: c, opt: opt, buffers: sync.Pool{New: func() any { return new([copySize]byte) }}}
	s.h2 = &http2.Server{
		MaxConcurrentStreams:         or(opt.HTTP2.MaxConcurrentStreams, defaultStreams),
		MaxDecoderHeaderTableSize:    opt.HTTP2.HPACKTableSize,
		MaxEncoderHeaderTableSize:    opt.HTTP2.HPACKTableSize,
		MaxUploadBufferPerStream:     window(opt.HTTP2.InitialStreamWindowSize, defaultStreamWindow),
		MaxUploadBufferPerConnection: window(opt.HTTP2.InitialConnectionWindowSize, defaultConnWindow),
		PermitProhibitedCipherSuites: true, // the transport socket's configuration decides
	}
	s.base = &http.Server{
		Handler:        http.HandlerFunc(s.serveHTTP),
		MaxHeaderBytes: opt.MaxHeadersBytes,
		ErrorLog:       log.New(io.Discard, "", 0), // errors are returned, not printed
	}
	return s
}

func or(n, byDefault uint32) uint32 {
	if n == 0 {
		return byDefault
	}
	return n
}

// window bounds a flow-control window in bytes to what the protocol allows.
func window(n, byDefault uint32) int32 { return int32(min(or(n, byDefault), math.MaxInt32)) }

// Version implements codec.Server.
func (s *Server) Version() message.Version { return message.HTTP2 }

// Serve implements codec.Server.
func (s *Server) Serve(ctx context.Context, h codec.Handler) error {
	s.handler = h
	if ctx.Done() != nil {
		stop := context.AfterFunc(ctx, func() { s.Abort(context.Cause(ctx)) })
		defer stop()
	}
	if err := http2.ConfigureServer(s.base, s.h2); err != nil {
		return err
	}
	h.Idle(true)
	s.h2.ServeConn(s.conn, &http2.ServeConnOpts{Context: context.WithoutCancel(ctx), BaseConfig: s.base})
	s.mu.Lock()
	s.closed, s.busy = true, s.active > 0
	s.mu.Unlock()
	s.streams.Wait()
	s.drained.Wait()
	if p := s.aborted.Load(); p != nil {
		return *p
	}
	return nil
}

// Ended tells, when Serve has returned, whether a request was under way then, and whether the end was our choice: a drain.
func (s *Server) Ended() (busy, ours bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.busy, s.draining.Load()
}

// Drain implements codec.Server: a graceful GOAWAY, after which the connection closes when its streams have ended.
func (s *Server) Drain() {
	if !s.draining.Swap(true) {
		s.shutdown()
	}
}

// shutdown makes x/net send the GOAWAY. The base server has no listener: its shutdown only runs the hook that x/net has
// registered. That has no effect on a connection which is not yet served, so enter calls it again.
func (s *Server) shutdown() {
	s.drained.Go(func() { _ = s.base.Shutdown(context.Background()) })
}

// Abort implements codec.Server.
func (s *Server) Abort(err error) {
	if err == nil {
		err = errClosed
	}
	if s.aborted.CompareAndSwap(nil, &err) {
		_ = s.conn.Close() // wakes up all streams
	}
}

// enter counts a stream in; ok is false when the connection has ended meanwhile.
func (s *Server) enter() (ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.streams.Add(1)
	s.served++
	if s.active++; s.active == 1 {
		s.handler.Idle(false)
	}
	if s.draining.Load() || s.opt.MaxRequests > 0 && s.served >= s.opt.MaxRequests {
		s.draining.Store(true)
		s.shutdown()
	}
	return true
}

func (s *Server) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.active--; s.active == 0 {
		s.handler.Idle(true)
	}
	s.streams.Done()
}

// serveHTTP is called by x/net on one goroutine per stream. The panic is how x/net is told to reset a stream.
func (s *Server) serveHTTP(w http.ResponseWriter, r *http.Request) {
	if !s.enter() {
		panic(http.ErrAbortHandler)
	}
	defer s.leave()
	st := newServerStream(s, w, r)
	if bad := st.check(); bad != nil {
		s.handler.ServeError(st, bad)
	} else {
		s.handler.ServeStream(st)
	}
	if st.mustReset() {
		panic(http.ErrAbortHandler)
	}
}

var _ codec.Server = (*Server)(nil)
