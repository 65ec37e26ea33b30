package tlsinspector

import (
	"encoding/binary"
	"errors"
	"strings"
)

// MaxHelloSize bounds the bytes that are looked at, record headers included. A ClientHello with post-quantum key shares
// has about 2 KiB.
const MaxHelloSize = 16 << 10

var (
	errNotTLS    = errors.New("not a TLS ClientHello")
	errMalformed = errors.New("malformed ClientHello")
	errTooLarge  = errors.New("ClientHello is too large")
)

// Hello is what a ClientHello tells.
type Hello struct {
	// ServerName in lower case, "" when none was sent.
	ServerName string
	// ALPN in the client's order.
	ALPN []string
}

const (
	recordHeader    = 5
	handshakeHeader = 4
	typeHandshake   = 22
	typeClientHello = 1
	maxRecord       = 1 << 14 // RFC 8446 section 5.1
	extServerName   = 0       // RFC 6066
	extALPN         = 16      // RFC 7301
)

// parse looks at the first bytes of a connection (RFC 8446 section 4.1.2). need > 0 asks to be called again with at
// least so many bytes; it is more than len(p).
func parse(p []byte) (h Hello, need int, err error) {
	var joined []byte // the handshake message, once it is known to span records
	var message []byte
	for at := 0; ; {
		rest := p[at:]
		if err := checkRecord(rest, at == 0); err != nil {
			return h, 0, err
		}
		if len(rest) < recordHeader {
			return h, at + recordHeader, within(at + recordHeader)
		}
		length := int(binary.BigEndian.Uint16(rest[3:]))
		fragment := rest[recordHeader:min(len(rest), recordHeader+length)]
		if at == 0 {
			message = fragment
		} else {
			if joined == nil {
				joined = append(make([]byte, 0, len(p)), message...)
			}
			joined = append(joined, fragment...)
			message = joined
		}
		total, err := messageLength(message)
		if err != nil {
			return h, 0, err
		}
		if total > 0 && len(message) >= total {
			h, err = parseHello(message[handshakeHeader:total])
			return h, 0, err
		}
		end := at + recordHeader + length
		if end > len(p) {
			return h, end, within(end)
		}
		at = end
	}
}

// within refuses to ask for more than is ever looked at.
func within(need int) error {
	if need > MaxHelloSize {
		return errTooLarge
	}
	return nil
}

// checkRecord judges as much of a record header as there is.
func checkRecord(p []byte, first bool) error {
	bad := errMalformed
	if first {
		bad = errNotTLS
	}
	switch {
	case len(p) > 0 && p[0] != typeHandshake, len(p) > 1 && p[1] != 3:
		return bad
	case len(p) >= recordHeader:
		if n := binary.BigEndian.Uint16(p[3:]); n == 0 || n > maxRecord {
			return bad
		}
	}
	return nil
}

// messageLength is the length of the handshake message with its header; 0 while the header is not complete.
func messageLength(p []byte) (int, error) {
	if len(p) > 0 && p[0] != typeClientHello {
		return 0, errNotTLS
	}
	if len(p) < handshakeHeader {
		return 0, nil
	}
	n := int(p[1])<<16 | int(p[2])<<8 | int(p[3])
	if n+handshakeHeader+recordHeader > MaxHelloSize {
		return 0, errTooLarge
	}
	return n + handshakeHeader, nil
}

// parseHello reads the body of the message.
func parseHello(p []byte) (Hello, error) {
	r := reader{p: p}
	r.skip(2 + 32) // legacy_version, random
	r.vector(1)    // legacy_session_id
	suites := r.vector(2)
	r.vector(1) // legacy_compression_methods
	if r.bad || len(suites) == 0 {
		return Hello{}, errMalformed
	}
	var h Hello
	if len(r.p) == 0 { // TLS 1.2 allows a hello without extensions
		return h, nil
	}
	exts := reader{p: r.vector(2)}
	for !r.bad && len(exts.p) > 0 {
		kind := exts.number(2)
		body := reader{p: exts.vector(2)}
		if exts.bad {
			return Hello{}, errMalformed
		}
		switch kind {
		case extServerName:
			h.ServerName = serverName(&body)
		case extALPN:
			h.ALPN = protocols(&body)
		}
		if body.bad {
			return Hello{}, errMalformed
		}
	}
	if r.bad {
		return Hello{}, errMalformed
	}
	return h, nil
}

func serverName(r *reader) string {
	list := reader{p: r.vector(2)}
	for len(list.p) > 0 {
		kind := list.number(1)
		name := list.vector(2)
		if list.bad {
			r.bad = true
			return ""
		}
		if kind == 0 { // host_name, the only kind there is
			return strings.ToLower(string(name))
		}
	}
	return ""
}

func protocols(r *reader) []string {
	list := reader{p: r.vector(2)}
	var out []string
	for len(list.p) > 0 {
		name := list.vector(1)
		if list.bad || len(name) == 0 {
			r.bad = true
			return nil
		}
		out = append(out, string(name))
	}
	return out
}

// reader takes fields off a slice; bad is set when it was too short, and then everything reads as empty.
type reader struct {
	p   []byte
	bad bool
}

func (r *reader) skip(n int) []byte {
	if n > len(r.p) {
		r.p, r.bad = nil, true
		return nil
	}
	out := r.p[:n]
	r.p = r.p[n:]
	return out
}

// number reads a big-endian number of size bytes.
func (r *reader) number(size int) int {
	n := 0
	for _, b := range r.skip(size) {
		n = n<<8 | int(b)
	}
	return n
}

// vector reads a vector whose length has size bytes.
func (r *reader) vector(size int) []byte { return r.skip(r.number(size)) }
