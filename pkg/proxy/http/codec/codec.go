// Package codec declares what the HTTP connection manager and an HTTP codec (h1, h2, later h3) expect of each other.
//
// It owns the interfaces and the error type between them, no behaviour. It must not know any codec or the manager.
package codec

import (
	"context"
	"crypto/tls"
	"errors"
	"net/netip"
	"time"

	"github.com/weir-proxy/weir/pkg/proxy/http/message"
)

// Server is the server side of one downstream connection.
type Server interface {
	// Serve reads requests and gives each to h, until the connection ends; it returns why (nil: closed in order). HTTP/1
	// calls h on the caller's goroutine, one request after the other; HTTP/2 on one goroutine per stream, and waits for
	// all of them before it returns. With ErrRests it has not ended: it is to be called again, with the same arguments,
	// when the connection is readable or was aborted.
	Serve(ctx context.Context, h Handler) error
	// Drain lets what is under way finish and then ends the connection: HTTP/1 answers with "connection: close", HTTP/2
	// sends GOAWAY. A connection on which nothing was asked yet is given FirstRequestGrace. It may be called from any
	// goroutine, more than once.
	Drain()
	// Abort ends the connection at once; blocked reads and writes return. It may be called from any goroutine.
	Abort(err error)
	// Version of the requests.
	Version() message.Version
}

// FirstRequestGrace is how long a connection that drains waits for its first request. A client that has just connected is
// about to send it, and takes an end without an answer for an error, while one that has kept its connection knows that it
// may end at any time, and asks again on another (RFC 9112 section 9.3.1).
const FirstRequestGrace = 500 * time.Millisecond

// ErrRests is returned by Serve of a Server that was asked to Rest.
var ErrRests = errors.New("connection rests between requests")

// Rester is implemented by servers that can wait for the next request without a goroutine.
type Rester interface {
	// Rest makes Serve return ErrRests if no request is under way. It may be called from any goroutine.
	Rest()
}

// Handler serves the requests of a connection.
type Handler interface {
	// ServeStream handles one request; the stream is dead when it returns.
	ServeStream(s ServerStream)
	// ServeError is called instead for a request that could not be parsed. It may answer with s.WriteResponse; the
	// connection (HTTP/1) or stream (HTTP/2) is closed afterwards.
	ServeError(s ServerStream, err *Error)
	// Idle is called with true when no request is under way and with false when the first byte of one has come.
	Idle(idle bool)
}

// Fate is what an exchange leaves of an HTTP/1 client connection.
type Fate uint8

// Fates of connections.
const (
	// Reusable connections can carry another exchange.
	Reusable Fate = iota
	// Spent ones were closed after a whole response, since it was to be the last.
	Spent
	// Ended ones were closed by the peer, which ended its response so.
	Ended
	// Cut ones were closed here, before the exchange was over.
	Cut
	// Lost ones were closed by the peer before the exchange was over.
	Lost
)

// ServerStream is one request and its response.
type ServerStream interface {
	// Request is valid until the handler returns.
	Request() *message.Request
	// WriteInformational sends a 1xx response other than 101.
	WriteInformational(r *message.Response) error
	// WriteResponse sends the head and the whole body, which it pulls from r.Body and flushes whenever the body has to
	// wait, then the trailers. It closes r.Body. When the body ends with an error the stream is reset and the error
	// returned. Headers that frame the message (content-length, transfer-encoding, connection) are the codec's business.
	WriteResponse(r *message.Response) error
	// Reset ends the stream without (further) response: RST_STREAM, or closing the HTTP/1 connection.
	Reset(err error)
	// Abort makes blocked reads of the request body and blocked writes of the response return err; from any goroutine,
	// but not after the handler has returned. When no response was begun, one can still be sent: the reply that tells why.
	Abort(err error)
	// PeerGone looks, without blocking, whether the peer has closed or reset the stream.
	PeerGone() bool
	// Counts of the stream so far.
	Counts() Counts
	// CloseAfter makes this the last request of an HTTP/1 connection; a graceful GOAWAY on HTTP/2.
	CloseAfter()
}

// Counts are byte counts of a stream, without connection overhead.
type Counts struct {
	RequestHeader, RequestBody, ResponseHeader, ResponseBody, ResponseTrailer uint64
}

// ClientStream is one exchange on an upstream connection.
type ClientStream interface {
	// RoundTrip sends the request, whose body it pulls on a goroutine of its own when it cannot be sent at once, and
	// blocks until the head of the final response is there. onInformational is called for each 1xx before it and may be
	// nil. The response body must be read to its end or closed. Errors are *upstream.Error or wrap one where the codec
	// knows the kind.
	RoundTrip(req *message.Request, resp *message.Response, onInformational func(*message.Response)) error
	// Abort ends the exchange from any goroutine: RoundTrip, request-body sending and response-body reads return err.
	Abort(err error)
	// Close ends the exchange. The connection goes back to its pool when both messages are complete, and is closed
	// (HTTP/1) or the stream reset (HTTP/2) otherwise. It waits for the goroutine that sends the request body; when that
	// is blocked in a Read of the body, Close closes the body, which has to wake it up.
	Close()
	// Conn describes the connection.
	Conn() ConnInfo
	// Counts so far: Request* are bytes sent, Response* bytes received.
	Counts() Counts
}

// ConnInfo describes an upstream connection.
type ConnInfo struct {
	ID            uint64
	Local, Remote netip.AddrPort
	TLS           *tls.ConnectionState
	Version       message.Version
	// Reused tells that an earlier exchange used it.
	Reused bool
}

// Error is a violation of the protocol by a peer.
type Error struct {
	// Status to answer with: 400, 413, 417, 426, 431, 501; 0 when there can be no answer.
	Status int
	// Details is Envoy's response code details, such as http1.codec_error.
	Details string
	// Reason is weir's stable name of the violation, used in statistics and logs, such as "cl_and_te".
	Reason string
	// Err is what happened in words.
	Err error
}

// Error implements error.
func (e *Error) Error() string { return e.Reason + ": " + e.Err.Error() }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }
