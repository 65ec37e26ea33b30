package h1

import (
	"bytes"
	"strings"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/http/codec"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
)

// limits bound a head and say what is done with odd names.
type limits struct {
	bytes, count int
	underscores  model.UnderscoresAction
}

// Envoy's defaults: max_request_headers_kb 60, max_headers_count 100.
const (
	defaultMaxBytes = 60 << 10
	defaultMaxCount = 100
)

func (l limits) withDefaults() limits {
	if l.bytes <= 0 {
		l.bytes = defaultMaxBytes
	}
	if l.count <= 0 {
		l.count = defaultMaxCount
	}
	return l
}

// coding is what Transfer-Encoding said.
type coding uint8

const (
	codingNone coding = iota
	codingChunked
)

// control collects what the fields of a head say about framing and about the connection.
type control struct {
	close, keepAlive, upgrade bool
	nominated                 bool // Connection names fields
	te                        coding
	hasLength                 bool
	length                    int64
	hosts                     int
	host                      string
	expect                    string
	protocol                  string // value of Upgrade
}

// parseFields reads the field lines of block into h. Fields of one hop are left out, and so is Host of a request: they go
// into the control.
func parseFields(block []byte, h *message.Headers, lim limits, request bool) (c control, bad *codec.Error) {
	for n := 1; len(block) > 0; n++ {
		i := bytes.IndexByte(block, '\n')
		if i < 1 || block[i-1] != '\r' {
			return c, malformed("bare_lf", detailsCodec, "line feed without carriage return in field %d", n)
		}
		line := block[:i-1]
		block = block[i+1:]
		if n > lim.count {
			return c, violation(431, "too_many_headers", detailsTooMany, "more than %d fields", lim.count)
		}
		name, value, bad := splitField(line)
		if bad != nil {
			return c, bad
		}
		if lim.underscores != model.UnderscoresAllow && strings.IndexByte(name, '_') >= 0 {
			if lim.underscores == model.UnderscoresReject {
				return c, malformed("underscore_in_name", detailsUnderscore, "field name %q has an underscore", name)
			}
			continue
		}
		f := message.Field{ID: message.IDOf(name), Name: name, Value: value}
		keep, bad := c.note(&f, request)
		if bad != nil {
			return c, bad
		}
		if keep {
			h.Append(f)
		}
	}
	if c.nominated {
		dropNominated(h)
	}
	return c, nil
}

// splitField checks one line without its line end (RFC 9112 section 5).
func splitField(line []byte) (name, value string, bad *codec.Error) {
	if len(line) > 0 && (line[0] == ' ' || line[0] == '\t') {
		return "", "", malformed("obs_fold", detailsCodec, "folded field line")
	}
	colon := bytes.IndexByte(line, ':')
	if colon < 0 {
		return "", "", malformed("no_colon", detailsCodec, "field line without colon")
	}
	if colon == 0 {
		return "", "", malformed("empty_header_name", detailsCodec, "field line without a name")
	}
	if c := line[colon-1]; c == ' ' || c == '\t' {
		return "", "", malformed("space_before_colon", detailsCodec, "space before the colon of field %q", line[:colon])
	}
	if !all(line[:colon], isToken) {
		return "", "", malformed("bad_header_name", detailsCodec, "invalid character in field name %q", line[:colon])
	}
	v := trimOWS(line[colon+1:])
	if !cleanValue(v) {
		return "", "", malformed("bad_header_value", detailsCharacters, "control character in field %q", line[:colon])
	}
	return view(line[:colon]), view(v), nil
}

// note takes what f says about the connection and tells whether the field stays in the headers.
func (c *control) note(f *message.Field, request bool) (keep bool, bad *codec.Error) {
	switch f.ID {
	case message.Host:
		if !request {
			return true, nil
		}
		if c.hosts++; c.hosts > 1 {
			return false, malformed("duplicate_host", detailsCodec, "more than one Host field")
		}
		c.host = f.Value
		return false, nil
	case message.ContentLength:
		if c.hasLength {
			return false, malformed("multiple_content_lengths", detailsCodec, "more than one Content-Length field")
		}
		n, ok := parseLength(f.Value)
		if !ok {
			return false, malformed("bad_content_length", detailsCodec, "invalid Content-Length %q", f.Value)
		}
		c.hasLength, c.length = true, n
		return true, nil
	case message.TransferEncoding:
		return false, c.noteEncoding(f.Value)
	case message.Connection:
		c.noteConnection(f.Value)
		return c.nominated, nil
	case message.KeepAlive, message.ProxyConnection, message.HTTP2Settings:
		return false, nil
	case message.Upgrade:
		c.protocol = f.Value
		return true, nil
	case message.TE:
		f.Value = keptTE(f.Value)
		return f.Value != "", nil
	case message.Expect:
		if request {
			c.expect = f.Value
		}
		return true, nil
	}
	return true, nil
}

// noteEncoding accepts "chunked" once; weir implements no other coding.
func (c *control) noteEncoding(list string) *codec.Error {
	if list == "" {
		return malformed("empty_transfer_encoding", detailsEncoding, "empty Transfer-Encoding")
	}
	for item, rest, ok := nextItem(list); ok; item, rest, ok = nextItem(rest) {
		switch {
		case c.te == codingChunked:
			return malformed("te_not_last_chunked", detailsEncoding, "Transfer-Encoding %q goes on after chunked", list)
		case equalFold(item, "chunked"):
			c.te = codingChunked
		default:
			return violation(501, "unknown_transfer_encoding", detailsEncoding, "unsupported Transfer-Encoding %q", list)
		}
	}
	return nil
}

func (c *control) noteConnection(list string) {
	for item, rest, ok := nextItem(list); ok; item, rest, ok = nextItem(rest) {
		switch {
		case equalFold(item, "close"):
			c.close = true
		case equalFold(item, "keep-alive"):
			c.keepAlive = true
		case equalFold(item, "upgrade"):
			c.upgrade = true
		case item != "":
			c.nominated = true
		}
	}
}

// parseLength reads 1*DIGIT that fits an int64.
func parseLength(s string) (n int64, ok bool) {
	if s == "" || len(s) > 19 {
		return 0, false
	}
	for i := range len(s) {
		d := s[i] - '0'
		if d > 9 {
			return 0, false
		}
		if n = n*10 + int64(d); n < 0 {
			return 0, false
		}
	}
	return n, true
}

// keptTE is "trailers" when the list has it: the only value that may cross a proxy in general.
func keptTE(list string) string {
	for item, rest, ok := nextItem(list); ok; item, rest, ok = nextItem(rest) {
		if equalFold(item, "trailers") {
			return "trailers"
		}
	}
	return ""
}

// dropNominated removes the fields that Connection names, and Connection itself.
func dropNominated(h *message.Headers) {
	list, _ := h.Joined("connection")
	h.DelID(message.Connection)
	for item, rest, ok := nextItem(list); ok; item, rest, ok = nextItem(rest) {
		if mayNominate(item) {
			h.Del(item)
		}
	}
}

// mayNominate keeps a client from making us drop fields that framing, routing or trust depend on.
func mayNominate(name string) bool {
	if name == "" {
		return false
	}
	switch message.IDOf(name) {
	case message.TE, message.Upgrade, message.ContentLength, message.Host, message.Authorization, message.Cookie, message.Forwarded,
		message.Expect, message.Via, message.XForwardedFor, message.XForwardedProto, message.XForwardedHost,
		message.XForwardedPort, message.XForwardedClientCert, message.XRequestID:
		return false
	default:
		return len(name) < 8 || !equalFold(name[:8], "x-envoy-")
	}
}
