package h1

import (
	"cmp"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/weir-proxy/weir/pkg/proxy/http/codec"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
	"github.com/weir-proxy/weir/pkg/proxy/upstream"
)

// sendGrace is how long Close waits for a request body that may have been sent just now, when the response is complete:
// a peer can answer the last byte before our write has returned.
const sendGrace = 10 * time.Millisecond

// maxInformational bounds the interim responses to one request.
const maxInformational = 32

// clientStream is one exchange of a ClientConn. It is reused: nothing may call it after Close.
type clientStream struct {
	cc   *ClientConn
	req  *message.Request
	body body
	wr   writer
	keep *message.Names // nil unless field names are kept

	parsed  parsedResponse
	started bool // a request was (partly) sent
	gotHead bool // the final response head is there
	gotSome bool // some byte of a response is there
	closed  bool
	gaveKey bool          // the key of a WebSocket is ours
	sent    atomic.Bool   // the whole request was sent
	sending chan struct{} // closed when the goroutine that sends the body has ended; nil without one
	used    bool          // an earlier exchange used the connection
	lost    atomic.Bool   // the peer ended the connection too early

	aborted atomic.Pointer[error]

	sentHead, sentBody, recvHead, recvBody atomic.Uint64
}

func (st *clientStream) reset() {
	st.req, st.parsed, st.sending = nil, parsedResponse{}, nil
	st.started, st.gotHead, st.gotSome, st.closed, st.gaveKey = false, false, false, false, false
	if st.sent.Load() { // storing costs more than loading
		st.sent.Store(false)
	}
	if st.lost.Load() {
		st.lost.Store(false)
	}
	zero(&st.sentHead, &st.sentBody, &st.recvHead, &st.recvBody)
	st.body.reset(framedNone, 0, false)
}

// RoundTrip implements codec.ClientStream.
func (st *clientStream) RoundTrip(req *message.Request, resp *message.Response, onInformational func(*message.Response)) error {
	if st.started || st.closed {
		return errBusy
	}
	st.req, st.started = req, true
	if err := st.send(); err != nil {
		return err
	}
	for n := 0; ; n++ {
		if err := st.readHead(resp); err != nil {
			return err
		}
		if resp.Status >= 200 || resp.Status == 101 {
			break
		}
		if n == maxInformational {
			return st.violated(malformed("too_many_informational", detailsCodec, "more than %d interim responses", maxInformational))
		}
		if onInformational != nil {
			onInformational(resp)
		}
	}
	st.gotHead = true
	if st.gaveKey { // the answer is to us
		resp.Headers.Del(webSocketAccept)
	}
	if st.parsed.frame != framedNone {
		st.body.reset(st.parsed.frame, resp.ContentLength, st.cc.opt.HTTP1.EnableTrailers)
		resp.Body = &st.body
	}
	if st.wr.frame == framedRaw && resp.Upgraded && req.Body != nil {
		st.sendOn()
	}
	return nil
}

// send writes the head and as much of the body as is there. What is left gets a goroutine; the payload of a tunnel waits
// until the peer has agreed to it, since otherwise it would be taken for further requests.
func (st *clientStream) send() error {
	req := st.req
	tunnel := req.Method == "CONNECT" || req.Protocol != ""
	h := st.wr.begin(req.Names)
	st.writeHead(&h, tunnel)
	err := st.wr.finish(h)
	st.sentHead.Store(uint64(len(st.wr.b)))
	if err == nil && req.Body == nil && st.wr.frame == framedLength && st.wr.left > 0 {
		err = errBodyShort
	}
	if err != nil {
		return &upstream.Error{Kind: upstream.KindAborted, BeforeResponse: true, Err: fmt.Errorf("send request: %w", err)}
	}
	if req.Body == nil || tunnel {
		_ = st.wr.flush() // reading the response tells what came of it
		st.sent.Store(!tunnel)
		return nil
	}
	done, err := st.wr.pump(req.Body, true)
	switch {
	case done:
		st.sent.Store(true)
	case err == nil:
		st.sendOn()
	case st.wr.err == nil:
		return st.bodyFailed(err)
	}
	return nil
}

// sendOn sends the rest of the body on a goroutine that Close waits for.
func (st *clientStream) sendOn() {
	done := make(chan struct{})
	st.sending = done
	go func() {
		defer close(done)
		complete, err := st.sendRest()
		switch {
		case complete && err == nil:
			st.sent.Store(true)
			if st.wr.frame == framedRaw {
				_ = closeWrite(st.cc.conn) // a broken connection shows in the reads
			}
		case st.wr.err == nil:
			st.Abort(st.bodyFailed(err))
		}
	}()
}

// sendRest makes an error of a panic of the body.
func (st *clientStream) sendRest() (complete bool, err error) {
	defer func() {
		if bad := upstream.Recovered(recover()); bad != nil {
			err = bad
		}
	}()
	return st.wr.pump(st.req.Body, false)
}

// bodyFailed is the error of an exchange whose request body came to a bad end.
func (st *clientStream) bodyFailed(err error) error {
	if p := st.aborted.Load(); p != nil {
		return *p
	}
	return &upstream.Error{Kind: upstream.KindAborted, Err: fmt.Errorf("send request body: %w", err)}
}

// writeHead writes request line and fields, and chooses the framing of the body.
func (st *clientStream) writeHead(h *head, tunnel bool) {
	req := st.req
	method, target := req.Method, req.Path
	switch {
	case method == "CONNECT" && req.Protocol != "": // RFC 8441 as HTTP/1.1 says it
		method = "GET"
	case method == "CONNECT":
		target = req.Authority
	}
	if target == "" {
		target = "/"
	}
	scheme := ""
	if st.cc.opt.HTTP1.SendFullURL && method != "CONNECT" {
		scheme = cmp.Or(req.Scheme, "http")
	}
	h.requestLine(method, scheme, req.Authority, target)
	h.own("host", req.Authority)
	l := lengthField{}
	switch {
	case tunnel:
		st.wr.frame = framedRaw
	case req.Body == nil:
		l.n = max(req.ContentLength, 0)
		l.show = l.n > 0 || req.Headers.Has(message.ContentLength) || method == "POST" || method == "PUT" || method == "PATCH"
		st.wr.frame = framedLength
	case req.ContentLength >= 0:
		st.wr.frame, l = framedLength, lengthField{show: true, n: req.ContentLength}
	default:
		st.wr.frame, l = framedChunks, lengthField{chunked: true}
	}
	st.wr.left = l.n
	h.fields(&req.Headers, l, tunnel)
	switch {
	case req.Protocol != "":
		if !req.Headers.Has(message.Upgrade) {
			h.own("upgrade", req.Protocol)
		}
		h.own("connection", "upgrade")
		if st.gaveKey = wantsKey(req); st.gaveKey {
			h.own(webSocketKey, newWebSocketKey())
		}
	case req.Headers.Has(message.TE):
		h.own("connection", "te") // TE is for this hop (RFC 9110 section 10.1.4)
	}
}

// readHead reads one response head, informational or final. As with requests, a head that came as a whole is looked at
// once.
func (st *clientStream) readHead(resp *message.Response) error {
	cc := st.cc
	if cc.rd.buffered() == 0 {
		if err := cc.rd.fill(); err != nil {
			return st.broken(fmt.Errorf("read response head: %w", unexpected(err)))
		}
	}
	st.gotSome = true
	n, bad := st.parse(cc.rd.unread(), resp)
	if bad == nil && n > 0 && n <= cc.rules.bytes {
		cc.rd.r += n
		cc.rd.pin()
	} else {
		head, tooLarge, err := cc.rd.head(cc.rules.bytes, 0)
		if err != nil {
			return st.broken(fmt.Errorf("read response head: %w", unexpected(err)))
		}
		if bad = tooLarge; bad == nil {
			if n, bad = st.parse(head, resp); n == 0 && bad == nil {
				bad = malformed("bad_head", detailsCodec, "invalid head")
			}
		}
	}
	if bad != nil {
		return st.violated(bad)
	}
	st.recvHead.Add(uint64(n))
	return nil
}

func (st *clientStream) parse(b []byte, resp *message.Response) (n int, bad *codec.Error) {
	resp.Reset()
	forget(st.keep)
	st.parsed, n, bad = parseResponse(b, resp, st.req.Method, st.req.Protocol, &st.cc.rules, st.keep)
	return n, bad
}

// violated is the error of an exchange whose peer does not keep to the protocol.
func (st *clientStream) violated(bad *codec.Error) error {
	st.cc.opt.Stats.violated(bad)
	return &upstream.Error{Kind: upstream.KindProtocol, Err: bad}
}

// broken is the error of an exchange whose connection ended.
func (st *clientStream) broken(err error) error {
	if p := st.aborted.Load(); p != nil {
		return *p
	}
	st.lost.Store(true)
	return &upstream.Error{
		Kind: upstream.KindTermination, BeforeResponse: !st.gotSome, Reused: st.used && !st.gotSome, Err: err,
	}
}

// beforeRead implements bodyOwner.
func (st *clientStream) beforeRead() error { return nil }

// readFailed implements bodyOwner.
func (st *clientStream) readFailed(err error) error {
	if bad, ok := err.(*codec.Error); ok {
		return st.violated(bad)
	}
	return st.broken(fmt.Errorf("read response body: %w", err))
}

// countBody implements bodyOwner.
func (st *clientStream) countBody(n int) { st.recvBody.Add(uint64(n)) }

// wakeReader implements bodyOwner: responses are read and closed by one goroutine.
func (st *clientStream) wakeReader() {}

// Abort implements codec.ClientStream.
func (st *clientStream) Abort(err error) {
	if err == nil {
		err = errClosed
	}
	if st.aborted.CompareAndSwap(nil, &err) {
		unblock(st.cc.conn)
	}
}

// Close implements codec.ClientStream. When the request body is still being sent, it closes that body to make a blocked
// Read of it return.
func (st *clientStream) Close() {
	if st.closed {
		return
	}
	st.closed = true
	cc := st.cc
	responded := st.gotHead && st.body.complete() && st.parsed.keepAlive
	st.stopSending(responded)
	reusable := responded && st.sent.Load() && st.aborted.Load() == nil && cc.rd.buffered() == 0 || !st.started
	st.wr.release()
	cc.rd.release()
	st.used = st.used || st.started
	if reusable && !cc.state.CompareAndSwap(connBusy, connIdle) {
		reusable = false
	}
	if !reusable {
		cc.state.Store(connDead)
		_ = cc.conn.Close() // nothing depends on it any more
	}
	if cc.opt.Release != nil {
		cc.opt.Release(st.fate(reusable))
	}
}

// fate says what became of the connection.
func (st *clientStream) fate(reusable bool) codec.Fate {
	switch {
	case reusable:
		return codec.Reusable
	case st.gotHead && st.body.complete():
		if st.body.frame == framedEOF {
			return codec.Ended
		}
		return codec.Spent
	case st.lost.Load():
		return codec.Lost
	}
	return codec.Cut
}

// stopSending waits for the goroutine that sends the body, and ends it when the body is not at its end.
func (st *clientStream) stopSending(responded bool) {
	if st.sending == nil {
		return
	}
	if responded && st.aborted.Load() == nil {
		grace := time.NewTimer(sendGrace)
		select {
		case <-st.sending:
		case <-grace.C:
		}
		grace.Stop()
	}
	select {
	case <-st.sending:
		return
	default:
	}
	st.Abort(errClosed)
	_ = st.req.Body.Close() // wakes up a blocked Read; the body is of no use any more
	<-st.sending
}

// Conn implements codec.ClientStream.
func (st *clientStream) Conn() codec.ConnInfo {
	info := st.cc.opt.Info
	info.Reused = st.used
	return info
}

// Counts implements codec.ClientStream; it may be called from any goroutine.
func (st *clientStream) Counts() codec.Counts {
	return codec.Counts{
		RequestHeader: st.sentHead.Load(), RequestBody: st.sentBody.Load(),
		ResponseHeader: st.recvHead.Load(), ResponseBody: st.recvBody.Load(),
	}
}

var _ codec.ClientStream = (*clientStream)(nil)
