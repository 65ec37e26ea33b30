package h2

import (
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/weir-proxy/weir/pkg/proxy/http/codec"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
)

// serverStream is one request of a Server. It is pooled: nothing may call it once the handler has returned.
type serverStream struct {
	stream
	server *Server
	req    message.Request
	body   serverBody
	bad    *codec.Error // what ServeError is called for
	expect bool         // the client waits for a 100
	snd    sender
	resp   *message.Response // being sent

	answering bool // a final response was begun; guarded by mu
	continued bool // 100 was sent; guarded by mu
}

func newServerStream() *serverStream {
	st := new(serverStream)
	st.srv = st
	st.body.st = st
	return st
}

func (st *serverStream) reset(s *Server) {
	st.stream.reset(&s.link)
	st.server = s
	st.req.Reset()
	st.bad, st.expect, st.answering, st.continued, st.resp = nil, false, false, false, nil
	st.body.started = false
}

// forget lets go of what the stream refers to.
func (st *serverStream) forget() {
	st.resp, st.bad, st.err = nil, nil, nil
	st.req.Reset()
	st.snd = sender{}
}

// Request implements codec.ServerStream.
func (st *serverStream) Request() *message.Request { return &st.req }

// WriteInformational implements codec.ServerStream.
func (st *serverStream) WriteInformational(r *message.Response) error {
	c := st.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if st.answering {
		return errSecondReply
	}
	if err := st.sendError(); err != nil {
		return fmt.Errorf("write informational response: %w", err)
	}
	st.continued = st.continued || r.Status == 100
	if err := st.headers(r.Status, &r.Headers, -1, false); err != nil {
		return fmt.Errorf("write informational response: %w", err)
	}
	c.flush(&st.stream)
	return nil
}

// headers adds a HEADERS frame. The caller holds mu.
func (st *serverStream) headers(status int, h *message.Headers, length int64, end bool) error {
	c := st.c
	at := c.reserve()
	c.out = c.enc.status(c.enc.begin(c.out), status)
	var n int
	c.out, n = c.enc.appendFields(c.out, h, length)
	c.appendBlock(at, st.id, end)
	st.sentHead.Add(uint64(n + 3))
	if c.enc.bad {
		return errBadField
	}
	return nil
}

// WriteResponse implements codec.ServerStream.
func (st *serverStream) WriteResponse(r *message.Response) error {
	if r.Body != nil {
		defer r.Body.Close()
	}
	c := st.c
	c.mu.Lock()
	again := st.answering
	st.answering = true
	c.mu.Unlock()
	if again {
		return errSecondReply
	}
	body := r.Body
	length := r.ContentLength
	bodyless := st.req.Method == http.MethodHead || r.Status == 204 || r.Status == 304
	switch {
	case bodyless:
		body, length = nil, -1
	case r.Upgraded:
		length = -1
	}
	if body == nil && length > 0 {
		return errBodyShort
	}
	st.resp = r
	st.snd.init(&st.stream, st, body, length)
	if _, err := st.snd.run(false); err != nil {
		if bad, ok := errors.AsType[*bodyError](err); ok {
			return bad.err
		}
		return fmt.Errorf("write response: %w", st.cause(err))
	}
	return nil
}

// writeHead implements headWriter.
func (st *serverStream) writeHead(end bool) error {
	r := st.resp
	if err := st.sendError(); err != nil {
		return err
	}
	status := r.Status
	if status == 101 { // RFC 8441 section 5: a tunnel begins with 200
		status = 200
	}
	show := int64(-1)
	head := st.req.Method == http.MethodHead || status == 304
	switch {
	case r.Upgraded || status == 204:
	case r.ContentLength > 0, r.ContentLength == 0 && (!head || r.Headers.Has(message.ContentLength)):
		show = r.ContentLength
	}
	return st.headers(status, &r.Headers, show, end)
}

// Reset implements codec.ServerStream: RST_STREAM follows when the handler returns.
func (st *serverStream) Reset(err error) { st.Abort(err) }

// Abort implements codec.ServerStream. A response that was not begun can still be sent: the reply that tells why.
func (st *serverStream) Abort(err error) {
	if err == nil {
		err = errClosed
	}
	st.abort(err, func() bool { return st.answering })
}

// cause prefers the reason of an abort to the error that it led to.
func (st *stream) cause(err error) error {
	if p := st.awoken.Load(); p != nil {
		return *p
	}
	return err
}

// PeerGone implements codec.ServerStream.
func (st *serverStream) PeerGone() bool { return st.gone.Load() }

// PeerReset tells that the client has reset the stream, and did not just end the connection.
func (st *serverStream) PeerReset() bool {
	st.c.mu.Lock()
	defer st.c.mu.Unlock()
	_, reset := st.err.(*resetError)
	return reset
}

// CloseAfter implements codec.ServerStream.
func (st *serverStream) CloseAfter() { st.server.Drain() }

// Counts implements codec.ServerStream; heads count as the sum of their names and values. It may be called from any
// goroutine.
func (st *serverStream) Counts() codec.Counts {
	return codec.Counts{
		RequestHeader: st.recvHead.Load(), RequestBody: st.recvBody.Load(),
		ResponseHeader: st.sentHead.Load(), ResponseBody: st.sentBody.Load(), ResponseTrailer: st.sentTrailer.Load(),
	}
}

// serverBody is the body of a request.
type serverBody struct {
	st      *serverStream
	started bool
}

// Read implements message.Body.
func (b *serverBody) Read(p []byte) (int, error) {
	if !b.started {
		b.started = true
		if b.st.expect {
			b.st.sendContinue()
		}
	}
	n, err := b.st.read(p)
	if err != nil && err != io.EOF {
		err = fmt.Errorf("read request body: %w", err)
	}
	return n, err
}

// sendContinue asks a client that waits for it to send the body.
func (st *serverStream) sendContinue() {
	c := st.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if st.continued || st.answering || st.queued > 0 || st.recvEnd || st.sendError() != nil {
		return
	}
	st.continued = true
	at := c.reserve()
	c.out = c.enc.status(c.enc.begin(c.out), 100)
	c.appendBlock(at, st.id, false)
	c.flush(&st.stream)
}

// Trailers implements message.Body.
func (b *serverBody) Trailers() *message.Headers { return b.st.endTrailers() }

// Close implements message.Body. It makes a Read of another goroutine return; what still comes is dropped.
func (b *serverBody) Close() error {
	b.st.drop()
	return nil
}

// Buffered implements message.Buffered.
func (b *serverBody) Buffered() (n int, whole bool) { return b.st.buffered() }

var (
	_ codec.ServerStream = (*serverStream)(nil)
	_ message.Body       = (*serverBody)(nil)
	_ message.Buffered   = (*serverBody)(nil)
)
