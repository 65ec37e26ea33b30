// Package message is the one HTTP message model of weir: HTTP/1, HTTP/2 and later HTTP/3 codecs produce and consume it,
// filters and routing work on it.
//
// It owns headers, bodies and the request and response heads. It must not know codecs, connections or configuration.
// A message belongs to one stream and is used by one goroutine at a time. Strings of a received message are views into
// a buffer of the stream: they are valid until the stream ends and must be cloned (strings.Clone) to live longer.
package message

import (
	"io"
	"strings"
)

// Version is the HTTP version of a message as it was received or is to be sent.
type Version uint8

// HTTP versions.
const (
	HTTP10 Version = iota
	HTTP11
	HTTP2
	HTTP3
)

// String is the version as Envoy's %PROTOCOL% prints it.
func (v Version) String() string {
	return [...]string{"HTTP/1.0", "HTTP/1.1", "HTTP/2", "HTTP/3"}[v]
}

// Body is a stream of payload bytes. The reader pulls, which is the back-pressure.
type Body interface {
	// Read fills p. io.EOF tells the proper end of the body; any other error means that the message is incomplete and
	// the stream is to be reset.
	io.Reader
	// Trailers returns the trailers once Read has returned io.EOF; nil when there are none.
	Trailers() *Headers
	// Close releases the body; unread payload is discarded or the stream reset, as the codec sees fit. For the body of a
	// request it may be called beside a Read on another goroutine, which then returns.
	Close() error
}

// Request is the head of a request and its body.
type Request struct {
	// Method, Scheme, Authority and Path are the pseudo headers, whatever the version; Path holds the query too.
	Method, Scheme, Authority, Path string
	// Protocol is the :protocol of an extended CONNECT, or the Upgrade token of an HTTP/1.1 upgrade; else empty.
	Protocol string
	Version  Version
	Headers  Headers
	// Body is nil when the request has none. For an upgrade or CONNECT it is the byte stream from the downstream.
	Body Body
	// ContentLength is -1 when unknown (chunked, HTTP/2 without content-length).
	ContentLength int64
	// Names is nil unless the field names are to stay as they were received.
	Names *Names
}

// Response is the head of a response and its body.
type Response struct {
	// Status is the code, 100 to 599.
	Status  int
	Version Version
	Headers Headers
	// Body is nil when the response has none. After a 101 or a 2xx to CONNECT it is the byte stream from the upstream.
	Body Body
	// ContentLength is -1 when unknown.
	ContentLength int64
	// Upgraded tells that the connection speaks another protocol from here (101, or 2xx to CONNECT).
	Upgraded bool
	// Names is nil unless the field names are to stay as they were received.
	Names *Names
}

// Names says how HTTP/1 writes the field names of a message whose names are kept (Envoy's preserve_case). Fields that are
// marked Received keep theirs. It belongs to the stream that received the message.
type Names struct {
	// Proper writes the other names in proper case; else they are lower-case.
	Proper bool
	// Host, TransferEncoding and Connection are the received names of fields that are not among the headers, "" when
	// there were none.
	Host, TransferEncoding, Connection string
	// Reason is the reason phrase to be sent on; "" leaves it to the status.
	Reason string
}

// Clone returns a copy whose strings live on when the stream ends; nil of nil.
func (n *Names) Clone() *Names {
	if n == nil {
		return nil
	}
	return &Names{
		Proper: n.Proper, Host: strings.Clone(n.Host), TransferEncoding: strings.Clone(n.TransferEncoding),
		Connection: strings.Clone(n.Connection), Reason: strings.Clone(n.Reason),
	}
}

// Reset empties the request for reuse and keeps its memory.
func (r *Request) Reset() {
	r.Headers.Reset()
	r.Method, r.Scheme, r.Authority, r.Path, r.Protocol = "", "", "", "", ""
	r.Version, r.Body, r.ContentLength, r.Names = 0, nil, 0, nil
}

// Reset empties the response for reuse and keeps its memory.
func (r *Response) Reset() {
	r.Headers.Reset()
	r.Status, r.Version, r.Body, r.ContentLength, r.Upgraded, r.Names = 0, 0, nil, 0, false, nil
}

// Lookup finds a request header by name, which may be a pseudo header such as ":path". Names compare without case.
func (r *Request) Lookup(name string) (string, bool) {
	switch name {
	case ":method":
		return r.Method, r.Method != ""
	case ":scheme":
		return r.Scheme, r.Scheme != ""
	case ":authority", "host":
		return r.Authority, r.Authority != ""
	case ":path":
		return r.Path, r.Path != ""
	case ":protocol":
		return r.Protocol, r.Protocol != ""
	}
	return r.Headers.Lookup(name)
}
