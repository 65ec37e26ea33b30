package h1

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weir-proxy/weir/pkg/proxy/http/codec"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
)

// serverStream is one request of a Server. It is reused: nothing may call it once the handler has returned.
type serverStream struct {
	srv    *Server
	req    message.Request
	body   body
	parsed parsedRequest
	wr     writer
	keep   *message.Names // nil unless field names are kept

	responded bool // a final response was begun
	tunnel    bool
	closing   bool  // the response said "connection: close"
	expired   bool  // the head did not come in time
	failed    error // of sending the response

	mu        sync.Mutex // guards continued and responding, and informational writes against the final head
	continued bool       // 100 was sent
	answering bool

	aborted    atomic.Pointer[error]
	closeAfter atomic.Bool

	recvHead, recvBody, sentHead, sentBody, sentTrailer atomic.Uint64
}

func (st *serverStream) reset() {
	st.req.Reset()
	forget(st.keep)
	st.parsed = parsedRequest{}
	st.responded, st.tunnel, st.closing, st.expired, st.failed = false, false, false, false, nil
	st.continued, st.answering = false, false
	if st.closeAfter.Load() { // storing costs more than loading
		st.closeAfter.Store(false)
	}
	zero(&st.recvBody, &st.sentHead, &st.sentBody, &st.sentTrailer)
	st.body.reset(framedNone, 0, false)
}

// zero stores where there is something else: an atomic store costs as much as ten loads.
func zero(counters ...*atomic.Uint64) {
	for _, n := range counters {
		if n.Load() != 0 {
			n.Store(0)
		}
	}
}

// receive waits for a head and parses it. Nearly always the head came as a whole with the first read, and then it is looked
// at once; what is incomplete or bad is collected to its end first, within the limits, and then judged.
func (st *serverStream) receive() (bad *codec.Error, err error) {
	s := st.srv
	var n int
	st.parsed, n, bad = parseRequest(s.rd.unread(), &st.req, &s.rules, st.keep)
	if bad == nil && n > 0 && n <= s.rules.bytes {
		s.rd.r += n
		s.rd.pin()
	} else {
		st.req.Reset()
		st.parsed = parsedRequest{}
		forget(st.keep)
		head, tooLarge, err := s.rd.head(s.rules.bytes, maxLeadingLines)
		if tooLarge != nil || err != nil {
			st.recvHead.Store(0)
			return tooLarge, err
		}
		if st.parsed, n, bad = parseRequest(head, &st.req, &s.rules, st.keep); n == 0 && bad == nil {
			bad = malformed("bad_head", detailsCodec, "invalid head")
		}
	}
	st.recvHead.Store(uint64(n))
	if st.parsed.dropped > 0 {
		s.opt.Stats.dropped(st.parsed.dropped)
	}
	return bad, nil
}

// openBody attaches the body that the head announced.
func (st *serverStream) openBody() {
	p := st.parsed
	if p.frame == framedNone {
		return
	}
	st.body.reset(p.frame, st.req.ContentLength, st.srv.opt.HTTP1.EnableTrailers)
	st.req.Body = &st.body
}

// end gives everything back.
func (st *serverStream) end() {
	st.wr.release()
	st.srv.rd.endStream()
}

// bodyReceived tells whether the request is complete, taking what is buffered of it into account.
func (st *serverStream) bodyReceived() bool {
	if st.body.complete() {
		return true
	}
	if st.body.err != nil || st.body.frame == framedRaw {
		return false
	}
	switch st.body.frame {
	case framedLength:
		if int64(st.srv.rd.buffered()) >= st.body.left {
			st.srv.rd.r += int(st.body.left)
			st.body.finish()
			return true
		}
	case framedChunks:
		for st.body.advance() == nil {
			if st.body.chunk == chunkDone {
				return true
			}
			n := min(int64(st.srv.rd.buffered()), st.body.left)
			if st.body.chunk != chunkData || n == 0 {
				return false
			}
			st.srv.rd.r += int(n)
			if st.body.left -= n; st.body.left == 0 {
				st.body.chunk = chunkEnd
			}
		}
	}
	return false
}

// Request implements codec.ServerStream.
func (st *serverStream) Request() *message.Request { return &st.req }

// WriteInformational implements codec.ServerStream. Clients that speak HTTP/1.0 do not get it.
func (st *serverStream) WriteInformational(r *message.Response) error {
	if st.req.Version == message.HTTP10 {
		return nil
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.answering {
		return errSecondReply
	}
	st.continued = st.continued || r.Status == 100
	h := st.wr.begin(r.Names)
	h.statusLine(r.Status)
	h.fields(&r.Headers, lengthField{}, false)
	if err := st.wr.finish(h); err != nil {
		return fmt.Errorf("write informational response: %w", err)
	}
	st.sentHead.Add(uint64(len(st.wr.b)))
	if err := st.wr.flush(); err != nil {
		return fmt.Errorf("write informational response: %w", st.cause(err))
	}
	return nil
}

var continueHead = []byte("HTTP/1.1 100 Continue\r\n\r\n")

// beforeRead implements bodyOwner: it asks a client that waits for it to send the body.
func (st *serverStream) beforeRead() error {
	if !st.parsed.expect || st.srv.opt.Proxy100Continue || st.srv.rd.buffered() > 0 {
		return nil
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.continued || st.answering {
		return nil
	}
	st.continued = true
	_, err := st.srv.conn.Write(continueHead)
	return err
}

// readFailed implements bodyOwner.
func (st *serverStream) readFailed(err error) error {
	if bad, ok := err.(*codec.Error); ok {
		st.srv.opt.Stats.violated(bad)
		st.closeAfter.Store(true)
		return bad
	}
	return fmt.Errorf("read request body: %w", st.cause(err))
}

// countBody implements bodyOwner.
func (st *serverStream) countBody(n int) { st.recvBody.Add(uint64(n)) }

// wakeReader implements bodyOwner.
func (st *serverStream) wakeReader() {
	st.srv.mu.Lock()
	defer st.srv.mu.Unlock()
	_ = st.srv.conn.SetReadDeadline(longAgo()) // a broken connection does not block
}

// Reset implements codec.ServerStream.
func (st *serverStream) Reset(err error) {
	if err == nil {
		err = errClosed
	}
	st.aborted.CompareAndSwap(nil, &err)
	st.srv.Abort(err)
}

// Abort implements codec.ServerStream. A response that was not begun can still be sent: the reply that tells why.
func (st *serverStream) Abort(err error) {
	if err == nil {
		err = errClosed
	}
	st.srv.mu.Lock()
	defer st.srv.mu.Unlock()
	if st.aborted.CompareAndSwap(nil, &err) {
		_ = st.srv.conn.SetDeadline(longAgo()) // a broken connection does not block
	}
}

// revive lets a reply be written after an abort.
func (st *serverStream) revive() error {
	if st.aborted.Load() == nil || st.srv.aborted.Load() != nil {
		return nil
	}
	st.srv.mu.Lock()
	defer st.srv.mu.Unlock()
	return st.srv.conn.SetWriteDeadline(time.Time{})
}

// failure is why the stream or the connection was given up.
func (st *serverStream) failure() error { return st.cause(nil) }

func (st *serverStream) cause(err error) error {
	if p := st.aborted.Load(); p != nil {
		return *p
	}
	return st.srv.cause(err)
}

// PeerGone implements codec.ServerStream.
func (st *serverStream) PeerGone() bool { return peerClosed(st.srv.conn) }

// CloseAfter implements codec.ServerStream.
func (st *serverStream) CloseAfter() { st.closeAfter.Store(true) }

// Counts implements codec.ServerStream; it may be called from any goroutine.
func (st *serverStream) Counts() codec.Counts {
	return codec.Counts{
		RequestHeader: st.recvHead.Load(), RequestBody: st.recvBody.Load(),
		ResponseHeader: st.sentHead.Load(), ResponseBody: st.sentBody.Load(), ResponseTrailer: st.sentTrailer.Load(),
	}
}

var _ codec.ServerStream = (*serverStream)(nil)
