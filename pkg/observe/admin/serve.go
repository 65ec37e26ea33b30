package admin

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"runtime/debug"
	"strconv"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/weir-proxy/weir/pkg/config/protoyaml"
)

// Content types, as Envoy writes them.
const (
	typeText   = "text/plain; charset=UTF-8"
	typeHTML   = "text/html; charset=UTF-8"
	typeJSON   = "application/json"
	typeBinary = "application/octet-stream"
)

// request is a request with its parameters.
type request struct {
	*http.Request
	query query
}

// reply is the answer to a request. Its headers go out with the first byte of the body.
type reply struct {
	w       http.ResponseWriter
	ctx     context.Context // of the request
	status  int
	started bool
	sent    int64
	pace    pacer
}

// typed sets the content type; without, it is plain text.
func (p *reply) typed(contentType string) { p.w.Header().Set("Content-Type", contentType) }

// start sends the head of the answer, once.
func (p *reply) start() {
	if p.started {
		return
	}
	p.started = true
	h := p.w.Header()
	if h.Get("Content-Type") == "" {
		h.Set("Content-Type", typeText)
	}
	if h.Get("Cache-Control") == "" {
		// Not no-store, which would break the browser's way back.
		h.Set("Cache-Control", "no-cache, max-age=0")
	}
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Server", "envoy")
	p.w.WriteHeader(p.status)
}

// Write implements io.Writer. An error means that the client has gone. An answer in many pieces rests between them.
func (p *reply) Write(b []byte) (int, error) {
	if p.started {
		p.pace.rest(p.ctx)
	}
	p.start()
	n, err := p.w.Write(b)
	p.sent += int64(n)
	return n, err
}

// text answers with a plain text. There is nobody to tell when the client has gone.
func (p *reply) text(status int, body string) {
	p.status = status
	p.w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	_, _ = p.Write([]byte(body))
}

// ok answers "OK\n" once something was done.
func (p *reply) ok() { p.text(http.StatusOK, "OK\n") }

// message answers with a protobuf message as Envoy prints it; withDefaults also prints fields that have their default value.
func (p *reply) message(m proto.Message, withDefaults bool) error {
	marshal := protoyaml.Marshal
	if withDefaults {
		marshal = marshalDefaults
	}
	out, err := marshal(m, " ")
	if err != nil {
		return err
	}
	p.json(append(out, '\n'))
	return nil
}

func (p *reply) json(body []byte) {
	p.typed(typeJSON)
	p.text(http.StatusOK, string(body))
}

// ServeHTTP implements http.Handler: it finds the endpoint, guards it and counts.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	s.metrics.begin()
	p := &reply{w: w, ctx: r.Context(), status: http.StatusOK, pace: pacer{since: start}}
	body := &countingBody{ReadCloser: http.MaxBytesReader(w, r.Body, maxBody)}
	r.Body = body
	defer func() {
		if cause := recover(); cause != nil {
			s.failed(p, r, cause)
		}
		p.start()
		s.metrics.end(p.status, time.Since(start))
		s.logAccess(p, r, body.read, start)
	}()
	s.dispatch(p, r)
}

// failed answers a request whose endpoint panicked. http.ErrAbortHandler cuts off an answer that has already begun.
func (s *Server) failed(p *reply, r *http.Request, cause any) {
	s.log.Error("admin request panicked", "path", r.URL.Path, "panic", fmt.Sprint(cause), "stack", string(debug.Stack()))
	if p.started {
		s.metrics.end(http.StatusInternalServerError, 0)
		panic(http.ErrAbortHandler)
	}
	p.text(http.StatusInternalServerError, "internal error\n")
}

func (s *Server) dispatch(p *reply, r *http.Request) {
	if s.opt.AllowPath != nil && !s.opt.AllowPath(r.URL.Path) {
		p.text(http.StatusForbidden, fmt.Sprintf("request to path %s not allowed", r.URL.Path))
		return
	}
	e := s.endpoints[r.URL.Path]
	if e == nil {
		p.text(http.StatusNotFound, "invalid path. "+s.help)
		return
	}
	if e.mutates || e.post {
		if r.Method != http.MethodPost {
			s.log.Error("admin path takes POST alone", "path", e.path, "method", r.Method)
			p.w.Header().Set("Allow", http.MethodPost)
			p.text(http.StatusMethodNotAllowed, fmt.Sprintf("Method %s not allowed, POST required.", r.Method))
			return
		}
		// A page of another site that a browser on this host shows must not change anything.
		if err := s.sameSite.Check(r); err != nil {
			p.text(http.StatusForbidden, "cross-origin request refused\n")
			return
		}
	}
	q := parseQuery(r.URL.RawQuery)
	if e.mutates && len(q) == 0 {
		form, err := readForm(r)
		if err != nil {
			p.text(http.StatusBadRequest, err.Error()+"\n")
			return
		}
		q = form
	}
	if err := e.serve(s, p, &request{Request: r, query: q}); err != nil {
		s.log.Error("admin request", "path", e.path, "error", err)
		if !p.started {
			p.typed(typeText)
			p.text(http.StatusInternalServerError, err.Error()+"\n")
		}
	}
}

// readForm reads the parameters of a POST that come as a form, as from the index page; a body of any other type has none.
func readForm(r *http.Request) (query, error) {
	if kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); kind != "application/x-www-form-urlencoded" {
		return query{}, nil
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, fmt.Errorf("read form: %w", err)
	}
	return parseQuery(string(body)), nil
}

func (s *Server) logAccess(p *reply, r *http.Request, received int64, start time.Time) {
	if s.log.Enabled(context.Background(), slog.LevelDebug) {
		s.log.Debug("admin request", "method", r.Method, "path", r.URL.Path, "status", p.status)
	}
	if s.opt.AccessLog == nil {
		return
	}
	var local netip.AddrPort
	if at, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok {
		local = ipOf(at.String())
	}
	s.opt.AccessLog(&Access{
		Start: start, Duration: time.Since(start),
		Method: r.Method, Path: r.RequestURI, Protocol: r.Proto, Authority: r.Host, RequestHeader: r.Header, ResponseHeader: p.w.Header(),
		Status: p.status, Received: received, Sent: p.sent, Remote: ipOf(r.RemoteAddr), Local: local,
	})
}

// ipOf reads an address; it is the zero value for those of unix sockets.
func ipOf(text string) netip.AddrPort {
	a, err := netip.ParseAddrPort(text)
	if err != nil {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

// countingBody counts what is read of a request's body.
type countingBody struct {
	io.ReadCloser
	read int64
}

// Read implements io.Reader.
func (b *countingBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.read += int64(n)
	return n, err
}
