package h1

import (
	"bytes"

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

// section is what a list of fields belongs to.
type section uint8

const (
	ofResponse section = iota
	ofRequest
	ofTrailers
)

// control collects what the fields of a head say about framing and about the connection.
type control struct {
	of                        section
	close, keepAlive, upgrade bool
	noUpgrade                 bool // Upgrade came more than once
	nominated                 bool // Connection names fields
	te                        coding
	hasLength                 bool
	hosts, dropped            int // dropped: fields whose names have underscores
	length                    int64
	host                      string
	expect                    string
	protocol                  string         // value of Upgrade
	names                     *message.Names // nil unless names are kept
}

// parseFields reads the field lines at the start of b into h, up to the empty line that ends them, and returns how many
// bytes that are; 0 when b ends before it. Fields of one hop are left out, and so is Host of a request: they go into the
// control. Each byte is looked at once; only what is not in order is looked at again, to say what is wrong with it.
func parseFields(b []byte, h *message.Headers, lim *limits, c *control) (n int, bad *codec.Error) {
	rest := b
	for count := 1; ; count++ {
		colon := 0
		for colon < len(rest) && class[rest[colon]]&isToken != 0 {
			colon++
		}
		if colon == 0 && len(rest) >= 2 && rest[0] == '\r' && rest[1] == '\n' {
			n = len(b) - len(rest) + 2
			break
		}
		if colon == 0 || colon >= len(rest) || rest[colon] != ':' || count > lim.count {
			return 0, badField(rest, count, lim)
		}
		from := colon + 1
		for from < len(rest) && (rest[from] == ' ' || rest[from] == '\t') {
			from++
		}
		end := from + valueEnd(rest[from:])
		if end+1 >= len(rest) || rest[end] != '\r' || rest[end+1] != '\n' {
			return 0, badField(rest, count, lim)
		}
		name, value := rest[:colon], rest[from:end]
		rest = rest[end+2:]
		for len(value) > 0 && (value[len(value)-1] == ' ' || value[len(value)-1] == '\t') {
			value = value[:len(value)-1]
		}
		if lim.underscores != model.UnderscoresAllow && bytes.IndexByte(name, '_') >= 0 {
			if lim.underscores == model.UnderscoresReject {
				return 0, malformed("underscore_in_name", detailsUnderscore, "field name %q has an underscore", name)
			}
			c.dropped++
			continue
		}
		f := h.Extend(message.IDOfToken(name))
		f.Received, f.Name, f.Value = true, view(name), view(value)
		if f.ID != message.Other {
			keep, bad := c.note(f)
			if bad != nil {
				return 0, bad
			}
			if !keep {
				h.Retract()
			}
		}
	}
	if c.nominated {
		return n, dropNominated(h, c.of)
	}
	return n, nil
}

// badField says what is wrong with the field line at the start of b (RFC 9112 section 5), nil when it has no end yet.
func badField(b []byte, count int, lim *limits) *codec.Error {
	i := bytes.IndexByte(b, '\n')
	if i < 0 {
		return nil
	}
	if i < 1 || b[i-1] != '\r' {
		return malformed("bare_lf", detailsCodec, "line feed without carriage return in field %d", count)
	}
	if count > lim.count {
		return violation(431, "too_many_headers", detailsTooMany, "more than %d fields", lim.count)
	}
	line := b[:i-1]
	if len(line) > 0 && (line[0] == ' ' || line[0] == '\t') {
		return malformed("obs_fold", detailsCodec, "folded field line")
	}
	colon := bytes.IndexByte(line, ':')
	if colon < 0 {
		return malformed("no_colon", detailsCodec, "field line without colon")
	}
	if colon == 0 {
		return malformed("empty_header_name", detailsCodec, "field line without a name")
	}
	if c := line[colon-1]; c == ' ' || c == '\t' {
		return malformed("space_before_colon", detailsCodec, "space before the colon of field %q", line[:colon])
	}
	if !all(line[:colon], isToken) {
		return malformed("bad_header_name", detailsCodec, "invalid character in field name %q", line[:colon])
	}
	return malformed("bad_header_value", detailsCharacters, "control character in field %q", line[:colon])
}

// note takes what a well-known field says about the connection and tells whether the field stays in the headers.
func (c *control) note(f *message.Field) (keep bool, bad *codec.Error) {
	if c.of == ofTrailers {
		return !notInTrailers[f.ID], nil
	}
	switch f.ID {
	case message.Host:
		if c.of != ofRequest {
			return true, nil
		}
		if c.hosts++; c.hosts > 1 {
			return false, malformed("duplicate_host", detailsCodec, "more than one Host field")
		}
		c.host = f.Value
		if c.names != nil {
			c.names.Host = f.Name
		}
		return false, nil
	case message.ContentLength:
		return true, c.noteLength(f.Value)
	case message.TransferEncoding:
		if c.names != nil {
			c.names.TransferEncoding = f.Name
		}
		return false, c.noteEncoding(f.Value)
	case message.Connection:
		if c.names != nil {
			c.names.Connection = f.Name
		}
		c.noteConnection(f.Value)
		return c.nominated, nil
	case message.ProxyConnection: // not a standard, but as old as proxies
		c.close = c.close || equalFold(f.Value, "close")
		c.keepAlive = c.keepAlive || equalFold(f.Value, "keep-alive")
		return false, nil
	case message.KeepAlive, message.HTTP2Settings:
		return false, nil
	case message.Upgrade:
		c.noUpgrade = c.noUpgrade || c.protocol != "" // which one would the next hop take?
		c.protocol = f.Value
		return true, nil
	case message.TE:
		f.Value = keptTE(f.Value)
		return f.Value != "", nil
	case message.Expect:
		if c.of == ofRequest && (c.expect == "" || equalFold(c.expect, "100-continue")) {
			c.expect = f.Value
		}
		return true, nil
	}
	return true, nil
}

// noteLength accepts one Content-Length. A list of equal ones (RFC 9110 section 8.6) is refused: others may read it otherwise.
func (c *control) noteLength(value string) (bad *codec.Error) {
	if c.hasLength {
		return malformed("multiple_content_lengths", detailsCodec, "more than one Content-Length field")
	}
	n, ok := message.ParseLength(value)
	if !ok {
		return malformed("bad_content_length", detailsCodec, "invalid Content-Length %q", value)
	}
	c.hasLength, c.length = true, n
	return nil
}

// noteEncoding accepts "chunked" once; weir implements no other coding.
func (c *control) noteEncoding(list string) *codec.Error {
	if c.te == codingNone && equalFold(list, "chunked") {
		c.te = codingChunked
		return nil
	}
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
	if equalFold(list, "keep-alive") {
		c.keepAlive = true
		return
	}
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

// keptTE is "trailers" when the list has it: the only value that may cross a proxy in general.
func keptTE(list string) string {
	for item, rest, ok := nextItem(list); ok; item, rest, ok = nextItem(rest) {
		if equalFold(item, "trailers") {
			return "trailers"
		}
	}
	return ""
}

// dropNominated removes the fields that Connection names, and Connection itself. Like Envoy it refuses a request that would
// have us forget where it comes from.
func dropNominated(h *message.Headers, of section) *codec.Error {
	list, _ := h.Joined("connection")
	h.DelID(message.Connection)
	for item, rest, ok := nextItem(list); ok; item, rest, ok = nextItem(rest) {
		switch id := message.IDOf(item); id {
		case message.XForwardedFor, message.XForwardedHost, message.XForwardedProto:
			if of != ofRequest {
				continue
			}
			return malformed("nominated_forwarded", detailsConnection, "Connection names %s", item)
		case message.Other:
			if item != "" && item[0] == ':' && of == ofRequest {
				return malformed("nominated_pseudo", detailsConnection, "Connection names %q", item)
			}
			if len(item) < 8 || !equalFold(item[:8], "x-envoy-") {
				h.Del(item)
			}
		default:
			if mayNominate(id, item) {
				h.DelID(id)
			}
		}
	}
	return nil
}

// mayNominate keeps a client from making us drop fields that framing, routing or trust depend on.
func mayNominate(id message.ID, name string) bool {
	switch id {
	case message.TE, message.Upgrade, message.ContentLength, message.Host, message.Authorization, message.Cookie, message.Forwarded,
		message.Expect, message.Via, message.XForwardedPort, message.XForwardedClientCert, message.XRequestID:
		return false
	}
	return len(name) < 8 || !equalFold(name[:8], "x-envoy-")
}
