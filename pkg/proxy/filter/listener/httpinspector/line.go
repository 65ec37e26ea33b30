package httpinspector

import (
	"bytes"
	"strings"
)

// preface begins every HTTP/2 connection (RFC 9113 section 3.4).
const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// methods are those that Envoy takes for HTTP, each with the space behind it; read only.
var methods = strings.SplitAfter("GET POST PUT DELETE HEAD OPTIONS PATCH CONNECT TRACE "+
	"ACL BIND CHECKOUT COPY LINK LOCK M-SEARCH MERGE MKACTIVITY MKCALENDAR MKCOL MOVE NOTIFY PROPFIND PROPPATCH PURGE REBIND REPORT "+
	"SEARCH SOURCE SUBSCRIBE UNBIND UNLINK UNLOCK UNSUBSCRIBE ", " ")

// parse looks at the first bytes of a connection. known is false while more of them are needed to tell; protocol is "" for what is
// not HTTP.
func parse(p []byte) (protocol string, known bool) {
	if n := min(len(p), len(preface)); string(p[:n]) == preface[:n] {
		if n < len(preface) {
			return "", false
		}
		return H2C, true
	}
	target, state := afterMethod(p)
	if state != whole {
		return "", state == not
	}
	end := bytes.IndexAny(target, " \r\n")
	if end < 0 {
		end = len(target)
	}
	if !isTarget(target[:end]) {
		return "", true
	}
	switch {
	case end == len(target):
		return "", false
	case end == 0:
		return "", true
	case target[end] != ' ':
		return HTTP10, true // a request without a version is HTTP/0.9, which Envoy calls 1.0
	}
	return version(target[end+1:])
}

// progress is how far some bytes go towards what they should be.
type progress uint8

const (
	not progress = iota
	begun
	whole
)

// afterMethod gives what follows the method.
func afterMethod(p []byte) (rest []byte, state progress) {
	for _, m := range methods {
		if m == "" {
			continue
		}
		n := min(len(p), len(m))
		if string(p[:n]) != m[:n] {
			continue
		}
		if n == len(m) {
			return p[n:], whole
		}
		state = begun
	}
	return nil, state
}

// isTarget tells whether p can begin a request target (RFC 9112 section 3.2): visible characters, and bytes beyond ASCII, which
// Envoy's parser lets pass.
func isTarget(p []byte) bool {
	for _, b := range p {
		if b <= ' ' || b == 0x7f {
			return false
		}
	}
	return true
}

// version reads "HTTP/", two digits with a point between them, and the end of the line.
func version(p []byte) (protocol string, known bool) {
	const form = "HTTP/0.0\r"
	for i := range min(len(p), len(form)) {
		digit := form[i] == '0' && p[i] >= '0' && p[i] <= '9'
		if p[i] != form[i] && !digit && !(form[i] == '\r' && p[i] == '\n') {
			return "", true
		}
	}
	switch {
	case len(p) < len(form):
		return "", false
	case string(p[5:8]) == "1.1":
		return HTTP11, true
	}
	return HTTP10, true
}
