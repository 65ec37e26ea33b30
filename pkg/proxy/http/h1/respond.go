package h1

import (
	"fmt"

	"github.com/weir-proxy/weir/pkg/proxy/http/message"
)

// WriteResponse implements codec.ServerStream.
func (st *serverStream) WriteResponse(r *message.Response) (err error) {
	if r.Body != nil {
		defer r.Body.Close()
	}
	st.mu.Lock()
	again := st.answering
	st.answering = true
	// A client that sent the whole body did not wait for a 100.
	unanswered := st.parsed.expect && !st.continued && !st.body.whole.Load()
	st.mu.Unlock()
	if again {
		return errSecondReply
	}
	if err := st.revive(); err != nil {
		return fmt.Errorf("write response: %w", err)
	}
	st.responded = true
	if err := st.respond(r, unanswered); err != nil {
		if st.wr.err != nil || st.failure() != nil {
			err = fmt.Errorf("write response: %w", st.cause(err))
		}
		st.failed = err
		return err
	}
	return nil
}

// respond writes head and body. unanswered: the client still waits for a 100 before it sends its body, so that nobody
// knows what it sends next.
func (st *serverStream) respond(r *message.Response, unanswered bool) error {
	raw := st.req.Method == "CONNECT" || st.req.Protocol != ""
	st.tunnel = raw && r.Upgraded && (r.Status == 101 || r.Status/100 == 2)
	bodyless := st.req.Method == "HEAD" || r.Status == 204 || r.Status == 304
	frame, l := responseFraming(r, bodyless, st.tunnel, st.req.Version)
	if frame == framedLength && r.Body == nil && l.n > 0 {
		return errBodyShort
	}
	st.closing = !st.parsed.keepAlive || unanswered || frame == framedEOF || raw || st.closeAfter.Load() ||
		st.srv.draining.Load() || st.aborted.Load() != nil ||
		st.srv.opt.MaxRequests > 0 && st.srv.served >= st.srv.opt.MaxRequests
	h := st.wr.begin(r.Names)
	st.writeHead(&h, r, l)
	if err := st.wr.finish(h); err != nil {
		return err
	}
	st.sentHead.Add(uint64(len(st.wr.b)))
	st.wr.frame, st.wr.left = frame, l.n
	if frame == framedNone || r.Body == nil {
		if frame == framedChunks {
			if err := st.wr.lastChunk(nil); err != nil {
				return err
			}
		}
		return st.wr.flush()
	}
	_, err := st.wr.pump(r.Body, false)
	if err != nil && st.wr.err == nil {
		_ = st.wr.flush() // what there was of the response, before the end that tells that it is not whole
	}
	return err
}

// writeHead writes the status line and the fields. A tunnel opened by HTTP/2 rules (200) is a 101 here.
func (st *serverStream) writeHead(h *head, r *message.Response, l lengthField) {
	status := r.Status
	if st.tunnel && st.req.Protocol != "" {
		status = 101
	}
	h.statusLine(status)
	h.fields(&r.Headers, l, st.tunnel || status == 426)
	switch {
	case st.tunnel && st.req.Protocol != "":
		if !r.Headers.Has(message.Upgrade) {
			h.own("upgrade", st.req.Protocol)
		}
		h.own("connection", "upgrade")
		if proof := missingAccept(&st.req, r); proof != "" {
			h.own(webSocketAccept, proof)
		}
	case st.tunnel:
	case st.closing:
		h.own("connection", "close")
	case st.req.Version == message.HTTP10:
		h.own("connection", "keep-alive")
	}
}

// responseFraming chooses how the end of the response is told (RFC 9112 section 6).
func responseFraming(r *message.Response, bodyless, tunnel bool, client message.Version) (framing, lengthField) {
	switch {
	case tunnel:
		return framedRaw, lengthField{}
	case r.Status == 204 || r.Status < 200:
		return framedNone, lengthField{}
	case bodyless:
		show := r.ContentLength > 0 || r.ContentLength == 0 && r.Headers.Has(message.ContentLength)
		return framedNone, lengthField{show: show, n: r.ContentLength}
	case r.ContentLength >= 0:
		return framedLength, lengthField{show: true, n: r.ContentLength}
	case r.Body == nil:
		return framedLength, lengthField{show: true}
	case client == message.HTTP10:
		return framedEOF, lengthField{}
	}
	return framedChunks, lengthField{chunked: true}
}
