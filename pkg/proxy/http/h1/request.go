package h1

import (
	"bytes"
	"strings"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/http/codec"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
)

// framing says where a body ends (RFC 9112 section 6).
type framing uint8

const (
	framedNone   framing = iota
	framedLength         // after length bytes
	framedChunks
	framedEOF // with the connection
	framedRaw // tunnel: with the direction
)

// requestRules is what parsing requests depends on.
type requestRules struct {
	limits
	http1  model.HTTP1Options
	scheme string
	// forwardExpect leaves Expect: 100-continue in the headers.
	forwardExpect bool
	// ignoreUpgrade tells whether a value of Upgrade is passed over; nil passes over none.
	ignoreUpgrade func(protocol string) bool
}

// parsedRequest is what the server needs beside the message.
type parsedRequest struct {
	frame     framing
	keepAlive bool
	expect    bool
	framed    bool // the end of the request is known, be it valid or not
	dropped   int  // fields with underscores
}

// parseRequest reads the head at the start of b into req and returns how long it is; 0 without error when b ends before it.
// Everything in req views b. names is nil unless field names are kept.
func parseRequest(b []byte, req *message.Request, rules *requestRules, names *message.Names) (p parsedRequest, n int, bad *codec.Error) {
	target, line, bad := requestLine(b, req)
	if line == 0 {
		return p, 0, bad
	}
	ctl := control{of: ofRequest, names: names}
	fields, bad := parseFields(b[line:], &req.Headers, &rules.limits, &ctl)
	if fields == 0 {
		return p, 0, bad
	}
	n = line + fields
	req.Names, p.dropped = names, ctl.dropped
	if bad == nil {
		bad = checkRequest(req, target, &ctl, rules, &p)
		if bad == nil || rules.http1.StreamErrors {
			if worse := frameRequest(req, &ctl, rules, &p); worse != nil {
				return p, n, worse
			}
			p.framed = true
		}
	}
	return p, n, bad
}

// checkRequest looks at what has no influence on where the request ends.
func checkRequest(req *message.Request, target []byte, ctl *control, rules *requestRules, p *parsedRequest) *codec.Error {
	bad := setTarget(req, target, ctl, rules) // first, so that logs tell the path of what is refused
	switch {
	case req.Version == message.HTTP10 && !rules.http1.AcceptHTTP10:
		return violation(426, "http10_not_accepted", detailsLowVersion, "HTTP/1.0 is not accepted")
	case !rules.http1.AllowCustomMethods && !knownMethod(req.Method):
		return malformed("unknown_method", detailsCodec, "method %q is not a registered one", req.Method)
	case bad != nil:
		return bad
	}
	return checkExpect(req, ctl, rules, p)
}

// knownMethod tells the methods that Envoy accepts without allow_custom_methods.
func knownMethod(m string) bool {
	switch m {
	case "GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH", "CONNECT", "TRACE",
		"ACL", "BIND", "CHECKOUT", "COPY", "LINK", "LOCK", "MERGE", "MKACTIVITY", "MKCALENDAR", "MKCOL", "MOVE", "M-SEARCH",
		"NOTIFY", "PROPFIND", "PROPPATCH", "PURGE", "REBIND", "REPORT", "SEARCH", "SOURCE", "SUBSCRIBE", "UNBIND", "UNLINK",
		"UNLOCK", "UNSUBSCRIBE":
		return true
	}
	return false
}

// http11 ends almost every request line.
const http11 = " HTTP/1.1\r\n"

// requestLine reads the first line of b and returns its length with the line end; 0 when b ends before it or it is bad.
func requestLine(b []byte, req *message.Request) (target []byte, n int, bad *codec.Error) {
	sp := 0
	for sp < len(b) && class[b[sp]]&isToken != 0 {
		sp++
	}
	if sp > 0 && sp < len(b) && b[sp] == ' ' {
		end := sp + 1 + targetEnd(b[sp+1:])
		if end > sp+1 && len(b)-end >= len(http11) && string(b[end:end+len(http11)]) == http11 {
			req.Method, req.Version = view(b[:sp]), message.HTTP11
			return b[sp+1 : end], end + len(http11), nil
		}
	}
	eol := bytes.IndexByte(b, '\n')
	if eol < 0 {
		if sp < len(b) && b[sp] != ' ' && b[sp] != '\r' { // such as a TLS client's, which would wait for an answer for ever
			return nil, 0, malformed("bad_method", detailsCodec, "invalid method in request line")
		}
		return nil, 0, nil
	}
	if eol < 1 || b[eol-1] != '\r' {
		return nil, 0, malformed("bare_lf", detailsCodec, "request line without carriage return")
	}
	if target, bad = parseRequestLine(b[:eol-1], req); bad != nil {
		return nil, 0, bad
	}
	return target, eol + 1, nil
}

// parseRequestLine reads "method SP target SP version" with exactly one space each (RFC 9112 section 3).
func parseRequestLine(line []byte, req *message.Request) (target []byte, bad *codec.Error) {
	sp := bytes.IndexByte(line, ' ')
	if sp < 1 || !all(line[:sp], isToken) {
		return nil, malformed("bad_method", detailsCodec, "invalid method in request line")
	}
	last := bytes.LastIndexByte(line, ' ')
	if last == sp {
		return nil, malformed("bad_request_line", detailsCodec, "request line without version")
	}
	switch string(line[last+1:]) {
	case "HTTP/1.1":
		req.Version = message.HTTP11
	case "HTTP/1.0":
		req.Version = message.HTTP10
	default:
		return nil, malformed("bad_version", detailsCodec, "unsupported version %q", line[last+1:])
	}
	req.Method, target = view(line[:sp]), line[sp+1:last]
	if len(target) == 0 || !all(target, isTarget) {
		return nil, malformed("bad_target", detailsURL, "invalid character in request target")
	}
	return target, nil
}

// setTarget fills scheme, authority and path from the four forms of a request target (RFC 9112 section 3.2).
func setTarget(req *message.Request, target []byte, ctl *control, rules *requestRules) *codec.Error {
	req.Scheme, req.Authority = rules.scheme, ctl.host
	switch {
	case req.Method == "CONNECT":
		if !all(target, isAuthority) {
			return malformed("bad_connect_target", detailsURL, "CONNECT needs host:port, not %q", target)
		}
		if ctl.hosts == 0 && req.Version != message.HTTP10 {
			return malformed("missing_host", detailsMissingHost, "request without Host")
		}
		req.Authority, req.Path = view(target), ""
		return nil
	case target[0] == '/':
		req.Path = view(target)
	case len(target) == 1 && target[0] == '*':
		if req.Method != "OPTIONS" {
			return malformed("bad_target", detailsURL, "target * is for OPTIONS alone")
		}
		req.Path = "*"
	case !rules.http1.AllowAbsoluteURL:
		req.Path = view(target)
	default:
		if bad := setAbsolute(req, view(target)); bad != nil {
			return bad
		}
	}
	return checkHost(req, ctl, rules)
}

// setAbsolute takes scheme and authority from an absolute-form target, whatever Host says.
func setAbsolute(req *message.Request, target string) *codec.Error {
	colon := strings.Index(target, "://")
	if colon < 0 {
		return malformed("bad_target", detailsURL, "invalid request target %q", target)
	}
	switch scheme := target[:colon]; {
	case equalFold(scheme, "http"):
		req.Scheme = "http"
	case equalFold(scheme, "https"):
		req.Scheme = "https"
	default:
		return malformed("bad_scheme", detailsScheme, "unsupported scheme in request target %q", target)
	}
	rest := target[colon+3:]
	end := strings.IndexAny(rest, "/?#")
	if end < 0 {
		end = len(rest)
	}
	req.Authority, req.Path = rest[:end], rest[end:]
	switch {
	case req.Authority == "":
		return malformed("bad_target", detailsURL, "request target %q has no host", target)
	case req.Path == "":
		req.Path = "/"
	case req.Path[0] != '/':
		req.Path = "/" + req.Path
	}
	return nil
}

func checkHost(req *message.Request, ctl *control, rules *requestRules) *codec.Error {
	if ctl.hosts == 0 && req.Version == message.HTTP10 && req.Authority == "" {
		req.Authority = rules.http1.DefaultHostHTTP10
	}
	if req.Authority == "" || ctl.hosts == 0 && req.Version != message.HTTP10 {
		return malformed("missing_host", detailsMissingHost, "request without Host")
	}
	for i := range len(req.Authority) {
		if class[req.Authority[i]]&isAuthority == 0 {
			return malformed("bad_host", detailsAuthority, "invalid character in host %q", req.Authority)
		}
	}
	return nil
}

// checkExpect knows 100-continue alone (RFC 9110 section 10.1.1).
func checkExpect(req *message.Request, ctl *control, rules *requestRules, p *parsedRequest) *codec.Error {
	if ctl.expect == "" {
		return nil
	}
	if !equalFold(ctl.expect, "100-continue") {
		return violation(417, "unknown_expectation", detailsExpect, "unsupported expectation %q", ctl.expect)
	}
	p.expect = req.Version == message.HTTP11
	if !rules.forwardExpect {
		req.Headers.DelID(message.Expect)
	}
	return nil
}

// frameRequest decides where the body ends and refuses what two parsers might read differently.
func frameRequest(req *message.Request, ctl *control, rules *requestRules, p *parsedRequest) *codec.Error {
	p.keepAlive = !ctl.close && (req.Version == message.HTTP11 || ctl.keepAlive)
	if ctl.te == codingChunked {
		if req.Version == message.HTTP10 {
			return malformed("te_in_http10", detailsNoEncoding, "Transfer-Encoding in an HTTP/1.0 request")
		}
		if ctl.hasLength {
			if !rules.http1.AllowChunkedLength {
				return malformed("cl_and_te", detailsChunkedLength, "both Content-Length and Transfer-Encoding")
			}
			req.Headers.DelID(message.ContentLength)
			ctl.hasLength, ctl.length, p.keepAlive = false, 0, false
		}
	}
	if req.Method == "CONNECT" {
		switch {
		case ctl.te != codingNone:
			return malformed("te_in_connect", detailsNoEncoding, "Transfer-Encoding in a CONNECT request")
		case ctl.length > 0:
			return malformed("cl_in_connect", detailsNoLength, "Content-Length in a CONNECT request")
		}
		p.frame, req.ContentLength = framedRaw, -1
		req.Headers.DelID(message.ContentLength)
		req.Headers.DelID(message.Upgrade)
		return nil
	}
	switch {
	case ctl.te == codingChunked:
		p.frame, req.ContentLength = framedChunks, -1
	case ctl.length > 0:
		p.frame, req.ContentLength = framedLength, ctl.length
	case wantsUpgrade(req, ctl, rules):
		p.frame, req.ContentLength = framedRaw, -1
		req.Protocol = ctl.protocol
		return nil
	}
	if ctl.protocol != "" {
		req.Headers.DelID(message.Upgrade)
	}
	return nil
}

// wantsUpgrade tells an upgrade that can be forwarded from one to be ignored: HTTP/1.0, or to HTTP/2, which needs this
// hop's consent and is not offered, one that names several protocols in several fields, or one that is configured to be
// passed over. A request with a body never comes here,
// since its end would be ambiguous.
func wantsUpgrade(req *message.Request, ctl *control, rules *requestRules) bool {
	if !ctl.upgrade || ctl.noUpgrade || ctl.protocol == "" || req.Version != message.HTTP11 {
		return false
	}
	return !equalFold(ctl.protocol, "h2c") && !equalFold(ctl.protocol, "http/2.0") &&
		(rules.ignoreUpgrade == nil || !rules.ignoreUpgrade(ctl.protocol))
}
