package h2

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/http/codec"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
)

// copySize is the size in bytes of the buffer that response bodies pass through.
const copySize = 32 << 10

// serverStream is one request of a Server.
type serverStream struct {
	srv  *Server
	w    http.ResponseWriter
	ctl  *http.ResponseController
	r    *http.Request
	req  message.Request
	body serverBody

	responded, failed bool

	mu        sync.Mutex // orders Abort against the beginning of the response
	answering bool
	aborted   atomic.Pointer[error]

	recvHead, recvBody, sentHead, sentBody, sentTrailer atomic.Uint64
}

func newServerStream(s *Server, w http.ResponseWriter, r *http.Request) *serverStream {
	st := &serverStream{srv: s, w: w, ctl: http.NewResponseController(w), r: r}
	st.req = message.Request{
		Method: r.Method, Scheme: s.opt.Scheme, Authority: r.Host, Path: r.RequestURI, Version: message.HTTP2,
		ContentLength: r.ContentLength,
	}
	if p := r.Header[":protocol"]; len(p) > 0 {
		st.req.Protocol = p[0]
	}
	if r.Method == http.MethodConnect && st.req.Protocol == "" {
		st.req.Path = ""
	}
	fromHTTP(&st.req.Headers, r.Header)
	if len(r.Trailer) > 0 && !st.req.Headers.Has(message.Trailer) {
		names := make([]string, 0, len(r.Trailer))
		for name := range r.Trailer {
			names = append(names, strings.ToLower(name))
		}
		st.req.Headers.AddID(message.Trailer, strings.Join(names, ", "))
	}
	st.recvHead.Store(uint64(st.req.Headers.ByteSize() + len(st.req.Method) + len(st.req.Authority) + len(st.req.Path)))
	if r.Body != nil && r.Body != http.NoBody && r.ContentLength != 0 {
		st.body.st = st
		st.req.Body = &st.body
	}
	return st
}

// check finds what x/net lets through and we do not.
func (st *serverStream) check() *codec.Error {
	h := &st.req.Headers
	if max := st.srv.opt.MaxHeadersCount; h.Len() > max {
		return &codec.Error{Status: 431, Details: "http2.too_many_headers", Reason: "too_many_headers", Err: fmt.Errorf("more than %d fields", max)}
	}
	if st.req.Authority == "" {
		return &codec.Error{Status: 400, Details: "missing_host_header", Reason: "missing_host", Err: errors.New("request without :authority")}
	}
	if st.srv.opt.UnderscoresAction == model.UnderscoresAllow {
		return nil
	}
	var odd []string
	for f := range h.All() {
		if strings.IndexByte(f.Name, '_') >= 0 {
			odd = append(odd, f.Name)
		}
	}
	if len(odd) > 0 && st.srv.opt.UnderscoresAction == model.UnderscoresReject {
		return &codec.Error{
			Status: 400, Details: "http2.unexpected_underscore", Reason: "underscore_in_name",
			Err: fmt.Errorf("field name %q has an underscore", odd[0]),
		}
	}
	for _, name := range odd {
		h.Del(name)
	}
	return nil
}

// Request implements codec.ServerStream.
func (st *serverStream) Request() *message.Request { return &st.req }

// WriteInformational implements codec.ServerStream. A 100 is never written: x/net sends it by itself.
func (st *serverStream) WriteInformational(r *message.Response) error {
	if r.Status == 100 {
		return nil
	}
	h := st.w.Header()
	toHTTP(h, &r.Headers, "")
	st.w.WriteHeader(r.Status)
	clear(h)
	st.sentHead.Add(uint64(r.Headers.ByteSize() + 3))
	return nil
}

// WriteResponse implements codec.ServerStream.
func (st *serverStream) WriteResponse(r *message.Response) error {
	if r.Body != nil {
		defer r.Body.Close()
	}
	st.mu.Lock()
	again := st.answering
	st.answering = true
	st.mu.Unlock()
	if again {
		return errors.New("write response: a response was already sent")
	}
	st.responded = true
	st.writeHead(r)
	err := st.writeBody(r)
	if err != nil {
		st.failed = true
	}
	return err
}

// writeHead hands the head to x/net. Nil values keep it from adding fields of its own.
func (st *serverStream) writeHead(r *message.Response) {
	h := st.w.Header()
	toHTTP(h, &r.Headers, "")
	for _, own := range [...]string{"Date", "Content-Type", "Content-Length"} {
		if _, there := h[own]; !there {
			h[own] = nil
		}
	}
	status := r.Status
	if status == 101 { // RFC 8441 section 5: a tunnel begins with 200
		status = 200
	}
	head := st.req.Method == http.MethodHead || status == 304
	switch {
	case r.Upgraded || status == 204:
	case r.ContentLength > 0, r.ContentLength == 0 && (!head || r.Headers.Has(message.ContentLength)):
		h["Content-Length"] = []string{strconv.FormatInt(r.ContentLength, 10)}
	}
	st.w.WriteHeader(status)
	st.sentHead.Add(uint64(r.Headers.ByteSize() + 3))
}

// writeBody copies the body and flushes before every read that would wait.
func (st *serverStream) writeBody(r *message.Response) error {
	if r.Body == nil || st.req.Method == http.MethodHead || r.Status == 204 || r.Status == 304 {
		return nil
	}
	buffered, _ := r.Body.(message.Buffered)
	block := st.srv.buffers.Get().(*[copySize]byte)
	defer st.srv.buffers.Put(block)
	buf := block[:]
	for dirty := true; ; {
		ready := false
		if buffered != nil {
			n, whole := buffered.Buffered()
			ready = n > 0 || whole
		}
		if dirty && !ready {
			if err := st.ctl.Flush(); err != nil {
				return fmt.Errorf("write response: %w", st.cause(err))
			}
			dirty = false
		}
		n, err := r.Body.Read(buf)
		if n > 0 {
			if _, werr := st.w.Write(buf[:n]); werr != nil {
				return fmt.Errorf("write response: %w", st.cause(werr))
			}
			st.sentBody.Add(uint64(n))
			dirty = true
		}
		if err == io.EOF {
			st.writeTrailers(r.Body.Trailers())
			return st.failure()
		}
		if err != nil {
			return err
		}
	}
}

func (st *serverStream) writeTrailers(t *message.Headers) {
	if t == nil {
		return
	}
	toHTTP(st.w.Header(), t, http.TrailerPrefix)
	st.sentTrailer.Add(uint64(t.ByteSize()))
}

// Reset implements codec.ServerStream: RST_STREAM follows when the handler returns.
func (st *serverStream) Reset(err error) {
	st.failed = true
	st.Abort(err)
}

// Abort implements codec.ServerStream. A response that was not begun can still be sent: the reply that tells why.
func (st *serverStream) Abort(err error) {
	if err == nil {
		err = errClosed
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	if !st.aborted.CompareAndSwap(nil, &err) {
		return
	}
	past := time.Unix(1, 0)
	_ = st.ctl.SetReadDeadline(past) // an ended stream does not block
	if st.answering {
		_ = st.ctl.SetWriteDeadline(past)
	}
}

func (st *serverStream) failure() error { return st.cause(nil) }

func (st *serverStream) cause(err error) error {
	if p := st.aborted.Load(); p != nil {
		return *p
	}
	if p := st.srv.aborted.Load(); p != nil {
		return *p
	}
	return err
}

// mustReset tells whether the stream ends without a complete response.
func (st *serverStream) mustReset() bool { return st.failed || !st.responded }

// PeerGone implements codec.ServerStream.
func (st *serverStream) PeerGone() bool { return st.r.Context().Err() != nil }

// CloseAfter implements codec.ServerStream.
func (st *serverStream) CloseAfter() { st.srv.Drain() }

// Counts implements codec.ServerStream; heads count as the sum of their names and values.
func (st *serverStream) Counts() codec.Counts {
	return codec.Counts{
		RequestHeader: st.recvHead.Load(), RequestBody: st.recvBody.Load(),
		ResponseHeader: st.sentHead.Load(), ResponseBody: st.sentBody.Load(), ResponseTrailer: st.sentTrailer.Load(),
	}
}

// serverBody is the body of a request.
type serverBody struct {
	st       *serverStream
	err      error
	trailers message.Headers
}

// Read implements message.Body.
func (b *serverBody) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	n, err := b.st.r.Body.Read(p)
	b.st.recvBody.Add(uint64(n))
	switch {
	case err == io.EOF:
		for name, values := range b.st.r.Trailer {
			for _, v := range values {
				b.trailers.Add(strings.ToLower(name), v)
			}
		}
		b.err = err
	case err != nil:
		b.err = fmt.Errorf("read request body: %w", b.st.cause(err))
	}
	return n, b.err
}

// Trailers implements message.Body.
func (b *serverBody) Trailers() *message.Headers {
	if b.err != io.EOF || b.trailers.Len() == 0 {
		return nil
	}
	return &b.trailers
}

// Close implements message.Body. It makes a Read of another goroutine return; what still comes is dropped.
func (b *serverBody) Close() error { return b.st.r.Body.Close() }

var (
	_ codec.ServerStream = (*serverStream)(nil)
	_ message.Body       = (*serverBody)(nil)
)
