package h2

import (
	"net/http"
	"slices"
	"strings"

	"github.com/weir-proxy/weir/pkg/proxy/http/message"
)

// ofOneHop are fields that HTTP/2 has no use for (RFC 9113 section 8.2.2), and those that a pseudo header replaces.
func ofOneHop(id message.ID) bool {
	switch id {
	case message.Connection, message.KeepAlive, message.ProxyConnection, message.TransferEncoding, message.Upgrade,
		message.HTTP2Settings, message.Host:
		return true
	}
	return false
}

// fromHTTP appends the fields of a net/http header in the order of their names, which is stable where x/net's is not.
func fromHTTP(dst *message.Headers, src http.Header) {
	var room [32]string
	names := room[:0]
	for name := range src {
		if name != "" && name[0] != ':' {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		id := message.IDOf(name)
		lower := id.Name()
		if id == message.Other {
			lower = strings.ToLower(name)
		}
		if ofOneHop(id) {
			continue
		}
		for _, value := range src[name] {
			if id == message.TE && !strings.EqualFold(value, "trailers") {
				continue
			}
			dst.Append(message.Field{ID: id, Name: lower, Value: value})
		}
	}
}

// toHTTP adds the fields to a net/http header. The keys are canonical, as x/net looks for some of them by that form; it
// lowers them on the wire. Content-Length is the codec's business.
//
// The header has memory of its own: x/net encodes it as late as after the stream's handler has returned, or RoundTrip was
// given up, when the buffers that src points into may be in use again. Each value is a piece of its own, because x/net may
// keep one as long as the connection lives, in the table of HPACK.
func toHTTP(dst http.Header, src *message.Headers, prefix string) {
	for f := range src.All() {
		if ofOneHop(f.ID) || f.ID == message.ContentLength || f.Name == "" || f.Name[0] == ':' {
			continue
		}
		name := f.ID.Name() // a constant
		if f.ID == message.Other {
			name = strings.Clone(f.Name)
		}
		key := prefix + http.CanonicalHeaderKey(name)
		dst[key] = append(dst[key], strings.Clone(f.Value))
	}
}
