package h2

import (
	"net/http"
	"strings"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
)

// fieldCount bounds what one field block may hold.
type fieldCount struct{ bytes, fields int }

// requestBuilder makes a request of decoded fields (RFC 9113 section 8.3.1). It belongs to the reader.
type requestBuilder struct {
	srv     *Server
	st      *serverStream
	count   fieldCount
	regular bool // a field that is no pseudo-header came
	seen    [pseudoCount]bool
	hosts   int
	host    string
	cookie  int    // index of the first cookie field, -1 before it
	cookies []byte // all of them, when there are several
	length  int64  // content-length, -1 without
	expects string
	wrong   error // what makes the message malformed
}

var _ fieldSink = (*requestBuilder)(nil)

// begin starts the request of st.
func (b *requestBuilder) begin(st *serverStream) *requestBuilder {
	*b = requestBuilder{srv: b.srv, st: st, cookie: -1, cookies: b.cookies[:0], length: -1}
	st.req.Version = message.HTTP2
	return b
}

// malformed keeps the first violation.
func (b *requestBuilder) malformed(format string, args ...any) {
	if b.wrong == nil {
		b.wrong = streamErrorf(codeProtocol, format, args...)
	}
}

// field implements fieldSink.
func (b *requestBuilder) field(f *field) (more bool) {
	lim := &b.srv.limits
	st := b.st
	if b.count.bytes += len(f.Name) + len(f.Value); b.count.bytes > lim.headerBytes {
		b.srv.stats.HeaderOverflow.Inc()
		st.bad = violation(431, "headers_too_large", detailsTooLarge, "head exceeds %d bytes", lim.headerBytes)
		return false
	}
	switch {
	case f.badValue:
		b.malformed("control character in field %q", f.Name)
	case f.pseudo != notPseudo:
		b.setPseudo(f)
	case f.badName:
		b.malformed("invalid field name %q", f.Name)
	default:
		b.regular = true
		if b.count.fields++; b.count.fields > lim.headerCount {
			b.srv.stats.HeaderOverflow.Inc()
			st.bad = violation(431, "too_many_headers", detailsTooMany, "more than %d fields", lim.headerCount)
			return false
		}
		b.add(f)
	}
	return b.wrong == nil && st.bad == nil
}

func (b *requestBuilder) setPseudo(f *field) {
	switch {
	case b.regular:
		b.malformed("%s behind other fields", f.Name)
		return
	case b.seen[f.pseudo]:
		b.malformed("more than one %s", f.Name)
		return
	}
	b.seen[f.pseudo] = true
	req := &b.st.req
	switch f.pseudo {
	case pseudoMethod:
		req.Method = f.Value
	case pseudoScheme:
		req.Scheme = f.Value
	case pseudoAuthority:
		req.Authority = f.Value
	case pseudoPath:
		req.Path = f.Value
	case pseudoProtocol:
		req.Protocol = f.Value
	default:
		b.malformed("pseudo-header field %q in a request", f.Name)
	}
}

// add takes a regular field.
func (b *requestBuilder) add(f *field) {
	h := &b.st.req.Headers
	if f.underscore && b.underscore(f.Name) {
		return
	}
	switch f.ID {
	case message.Connection, message.KeepAlive, message.ProxyConnection, message.TransferEncoding, message.Upgrade:
		b.malformed("field %s is of HTTP/1", f.Name)
		return
	case message.TE:
		if !strings.EqualFold(f.Value, "trailers") {
			b.malformed("te is %q", f.Value)
			return
		}
	case message.HTTP2Settings:
		return
	case message.Host:
		if b.hosts++; b.hosts > 1 {
			b.malformed("more than one host")
		}
		b.host = f.Value
		return
	case message.ContentLength:
		n, ok := message.ParseLength(f.Value)
		if !ok || b.length >= 0 {
			b.malformed("invalid or second content-length %q", f.Value)
			return
		}
		b.length = n
	case message.Cookie:
		if b.cookie >= 0 {
			b.anotherCookie(f.Value)
			return
		}
		b.cookie = h.Len()
	case message.Expect:
		b.expects = f.Value
	}
	h.Append(f.Field)
}

// anotherCookie joins cookies that came in several fields (RFC 9113 section 8.2.3).
func (b *requestBuilder) anotherCookie(value string) {
	if len(b.cookies) == 0 {
		b.cookies = append(b.cookies, b.st.req.Headers.At(b.cookie).Value...)
	}
	b.cookies = append(append(b.cookies, "; "...), value...)
}

// underscore acts on a name with an underscore and tells whether the field is dropped.
func (b *requestBuilder) underscore(name string) bool {
	switch b.srv.limits.underscores {
	case model.UnderscoresReject:
		b.srv.stats.RequestsRejectedUnderscoresInHeaders.Inc()
		b.st.bad = violation(0, "underscore_in_name", detailsUnderscore, "field name %q has an underscore", name)
		return true
	case model.UnderscoresDrop:
		b.srv.stats.DroppedHeadersWithUnderscores.Inc()
		return true
	}
	return false
}

// finish checks the request as a whole; end tells that it has no body. An error makes it malformed; what is answered with a
// status is left in the stream.
func (b *requestBuilder) finish(end bool) error {
	st := b.st
	req := &st.req
	if b.wrong != nil {
		return b.wrong
	}
	st.recvHead.Store(uint64(b.count.bytes))
	req.ContentLength = -1
	if st.bad != nil { // what is missing may be in what was not kept
		if !end {
			st.setBody()
		}
		return nil
	}
	b.checkTarget()
	if b.wrong != nil {
		return b.wrong
	}
	b.authority()
	b.expectation()
	if req.Method == http.MethodConnect {
		req.Headers.DelID(message.ContentLength)
		st.setBody()
		return nil
	}
	switch {
	case end && b.length > 0:
		return streamErrorf(codeProtocol, "content-length %d without payload", b.length)
	case end:
		req.ContentLength = 0
	default:
		req.ContentLength, st.declared = b.length, b.length
		st.setBody()
	}
	return nil
}

// checkTarget checks the pseudo-header fields (RFC 9113 sections 8.3.1 and 8.5, RFC 8441 section 4).
func (b *requestBuilder) checkTarget() {
	req := &b.st.req
	switch {
	case !isToken(req.Method):
		b.malformed("invalid :method %q", req.Method)
	case b.seen[pseudoProtocol] && (req.Method != http.MethodConnect || !b.srv.limits.connect || req.Protocol == ""):
		b.malformed(":protocol in a request that cannot have it")
	case req.Method == http.MethodConnect && !b.seen[pseudoProtocol]:
		if b.seen[pseudoScheme] || b.seen[pseudoPath] || !b.seen[pseudoAuthority] {
			b.malformed("CONNECT needs :authority alone")
		}
		req.Scheme = b.srv.opt.Scheme
	case !b.seen[pseudoScheme]:
		b.malformed("request without :scheme")
	case !validPath(req.Path, req.Method):
		b.malformed("invalid :path %q", req.Path)
	}
}

// validPath tells whether a path is one of an origin, or the asterisk of OPTIONS.
func validPath(path, method string) bool {
	if path == "" || path[0] != '/' {
		return path == "*" && method == http.MethodOptions
	}
	for i := range len(path) {
		if c := path[i]; c <= ' ' || c == 0x7f {
			return false
		}
	}
	return true
}

// authority settles the host of the request: :authority, or else Host. Both may be there, and as in Envoy the first counts.
func (b *requestBuilder) authority() {
	st := b.st
	req := &st.req
	if !b.seen[pseudoAuthority] {
		req.Authority = b.host
	}
	switch {
	case req.Authority == "":
		st.bad = violation(400, "missing_host", detailsMissingHost, "request without :authority")
	case !isAuthority(req.Authority):
		st.bad = violation(400, "bad_host", detailsAuthority, "invalid character in host %q", req.Authority)
	case strings.EqualFold(req.Scheme, "http"):
		req.Scheme = "http"
	case strings.EqualFold(req.Scheme, "https"):
		req.Scheme = "https"
	default:
		st.bad = violation(400, "bad_scheme", detailsScheme, "unsupported :scheme %q", req.Scheme)
	}
	if len(b.cookies) > 0 {
		req.Headers.At(b.cookie).Value = st.arena.add(b.cookies)
	}
}

// expectation knows 100-continue alone (RFC 9110 section 10.1.1).
func (b *requestBuilder) expectation() {
	st := b.st
	switch {
	case b.expects == "" || st.bad != nil:
		return
	case !strings.EqualFold(b.expects, "100-continue"):
		st.bad = violation(417, "unknown_expectation", detailsExpect, "unsupported expectation %q", b.expects)
	case !b.srv.opt.Proxy100Continue:
		st.expect = true
		st.req.Headers.DelID(message.Expect)
	}
}

// setBody gives the request its body.
func (st *serverStream) setBody() { st.req.Body = &st.body }

// trailers takes the fields behind the payload of a request. The caller holds mu.
func (s *Server) trailers(st *stream, end bool, block []byte) error {
	b := trailerBuilder{st: st, limits: &s.limits}
	if err := s.dec.decode(block, &b); err != nil {
		return compression(err)
	}
	return s.endWithTrailers(st, end, &b)
}

// isToken tells whether s is a token (RFC 9110 section 5.6.2).
func isToken(s string) bool {
	for i := range len(s) {
		if c := s[i]; !nameBytes[c] && (c < 'A' || c > 'Z') {
			return false
		}
	}
	return s != ""
}

// isAuthority tells whether s has nothing but what a host and port are made of (RFC 3986 section 3.2).
func isAuthority(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("-._~%!$&'()*+;=:[]", c) >= 0) {
			return false
		}
	}
	return true
}
