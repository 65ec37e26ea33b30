package h2

import (
	"net/http"

	"github.com/weir-proxy/weir/pkg/proxy/http/message"
)

// responseBuilder makes a response of decoded fields (RFC 9113 section 8.3.2). It belongs to the reader.
type responseBuilder struct {
	cc      *ClientConn
	resp    *message.Response
	count   fieldCount
	regular bool
	length  int64
	wrong   error
	tooMuch bool
}

var _ fieldSink = (*responseBuilder)(nil)

func (b *responseBuilder) malformed(format string, args ...any) {
	if b.wrong == nil {
		b.wrong = streamErrorf(codeProtocol, format, args...)
	}
}

// field implements fieldSink.
func (b *responseBuilder) field(f *field) (more bool) {
	b.count.bytes += len(f.Name) + len(f.Value)
	switch {
	case b.count.bytes > b.cc.limits.headerBytes:
		b.cc.stats.HeaderOverflow.Inc()
		b.tooMuch = true
		b.malformed("head exceeds %d bytes", b.cc.limits.headerBytes)
	case f.badValue:
		b.malformed("control character in field %q", f.Name)
	case f.pseudo != notPseudo:
		b.status(f)
	case f.badName:
		b.malformed("invalid field name %q", f.Name)
	default:
		b.regular = true
		if b.count.fields++; b.count.fields > b.cc.limits.headerCount {
			b.cc.stats.HeaderOverflow.Inc()
			b.tooMuch = true
			b.malformed("more than %d fields", b.cc.limits.headerCount)
			break
		}
		b.add(f)
	}
	return b.wrong == nil
}

// status takes :status, the only pseudo-header field of a response.
func (b *responseBuilder) status(f *field) {
	if f.pseudo != pseudoStatus || b.regular || b.resp.Status != 0 {
		b.malformed("unexpected pseudo-header field %q", f.Name)
		return
	}
	code := 0
	for i := range len(f.Value) {
		d := f.Value[i] - '0'
		if d > 9 {
			code = 0
			break
		}
		code = code*10 + int(d)
	}
	if len(f.Value) != 3 || code < 100 || code > 599 || code == 101 {
		b.malformed("invalid :status %q", f.Value)
		return
	}
	b.resp.Status = code
}

// add takes a regular field.
func (b *responseBuilder) add(f *field) {
	switch {
	case ofOneHop(f.ID):
		b.malformed("field %s is of HTTP/1", f.Name)
		return
	case f.ID == message.ContentLength:
		n, ok := message.ParseLength(f.Value)
		if !ok || b.length >= 0 {
			b.malformed("invalid or second content-length %q", f.Value)
			return
		}
		b.length = n
	}
	b.resp.Headers.Append(f.Field)
}

// responseHead takes the head of a response, informational or final. The caller holds mu.
func (cc *ClientConn) responseHead(st *clientStream, end bool, block []byte) error {
	st.gotSome = true
	resp := &st.incoming
	resp.Reset()
	resp.Version, resp.ContentLength = message.HTTP2, -1
	b := &cc.build
	*b = responseBuilder{cc: cc, resp: resp, length: -1}
	if err := cc.dec.decode(block, b); err != nil {
		return compression(err)
	}
	switch {
	case b.wrong != nil:
	case resp.Status == 0:
		b.malformed("response without :status")
	case resp.Status < 200 && end:
		b.malformed("informational response that ends the stream")
	case end && b.length > 0 && !st.bodyless():
		b.malformed("content-length %d without payload", b.length)
	}
	if b.tooMuch {
		return b.wrong
	}
	if b.wrong != nil {
		return cc.messaging(b.wrong)
	}
	st.recvHead.Add(uint64(b.count.bytes))
	if resp.Status < 200 {
		return st.informational()
	}
	st.gotHead = true
	st.frame(b.length, end)
	if end {
		return cc.messaging(st.endReceive())
	}
	st.rcond.Broadcast()
	return nil
}

// frame says what body the response has.
func (st *clientStream) frame(length int64, end bool) {
	resp := &st.incoming
	resp.Upgraded = st.tunnel && resp.Status/100 == 2
	switch {
	case resp.Upgraded:
		resp.Body = &st.body
	case st.bodyless():
		resp.ContentLength = length
	case end:
		resp.ContentLength = 0
	default:
		resp.ContentLength, st.declared = length, length
		if resp.Status != 204 {
			resp.Body = &st.body
		}
	}
}

// bodyless tells of a response whose content-length is that of another one.
func (st *clientStream) bodyless() bool {
	return st.method == http.MethodHead || st.incoming.Status == 304
}

// informational keeps an informational response for the goroutine that waits for the final one.
func (st *clientStream) informational() error {
	if !st.wantsInfo {
		return nil
	}
	if len(st.infos) >= maxInformational {
		return streamErrorf(codeEnhanceCalm, "more than %d informational responses", maxInformational)
	}
	r := st.incoming
	st.incoming = message.Response{}
	st.infos = append(st.infos, &r)
	st.rcond.Broadcast()
	return nil
}
