package h2

import (
	"errors"
	"fmt"

	"github.com/weir-proxy/weir/pkg/proxy/http/codec"
)

// Response code details in Envoy's words.
const (
	detailsViolation   = "http2.violation.of.messaging.rule"
	detailsTooLarge    = "http2.headers_too_large"
	detailsTooMany     = "http2.too_many_headers"
	detailsUnderscore  = "http2.unexpected_underscore"
	detailsAuthority   = "http.invalid_authority"
	detailsMissingHost = "missing_host_header"
	detailsExpect      = "http2.expectation_failed"
	detailsScheme      = "http2.invalid_scheme"
)

// Errors of the local side.
var (
	errClosed      = errors.New("the exchange was closed")
	errBodyClosed  = errors.New("read body: it was closed")
	errSecondReply = errors.New("write response: a response was already sent")
	errBodyShort   = errors.New("send body: it ended before its content-length")
	errBodyLong    = errors.New("send body: it is longer than its content-length")
	errBadField    = errors.New("write head: a field contains a line break or NUL")
	errBusy        = errors.New("open stream: the connection is full, going away or closed")
	errDrained     = errors.New("the connection was drained")
	errWindow      = errors.New("the peer takes no more of the reply")
)

// ErrPrematureResets is what Serve returns (wrapped) when the client reset too many streams before it had their responses.
var ErrPrematureResets = errors.New("too many premature resets")

// ErrKeepalive ends a connection (wrapped) on which a PING was not answered in time.
var ErrKeepalive = errors.New("PING not answered in time")

// resetError is a stream that the peer has reset.
type resetError struct{ code errCode }

// Error implements error.
func (e *resetError) Error() string { return "stream reset by peer: " + e.code.String() }

// streamError is a violation that ends one stream.
type streamError struct {
	code errCode
	err  error
}

// Error implements error.
func (e *streamError) Error() string { return e.code.String() + ": " + e.err.Error() }

// Unwrap returns the cause.
func (e *streamError) Unwrap() error { return e.err }

func streamErrorf(code errCode, format string, args ...any) *streamError {
	return &streamError{code, fmt.Errorf(format, args...)}
}

// connError is a violation that ends the connection.
type connError struct {
	code errCode
	err  error
}

// Error implements error.
func (e *connError) Error() string { return e.code.String() + ": " + e.err.Error() }

// Unwrap returns the cause.
func (e *connError) Unwrap() error { return e.err }

func connErrorf(code errCode, format string, args ...any) *connError {
	return &connError{code, fmt.Errorf(format, args...)}
}

// bodyError is a body to be sent that came to a bad end.
type bodyError struct{ err error }

// Error implements error.
func (e *bodyError) Error() string { return e.err.Error() }

// Unwrap returns the cause.
func (e *bodyError) Unwrap() error { return e.err }

// goAwayError is a connection that the peer gave up.
type goAwayError struct {
	code errCode
	last uint32
}

// Error implements error.
func (e *goAwayError) Error() string { return "the peer went away: " + e.code.String() }

// violation describes a request that is answered with a status.
func violation(status int, reason, details, format string, args ...any) *codec.Error {
	return &codec.Error{Status: status, Details: details, Reason: reason, Err: fmt.Errorf(format, args...)}
}

// IsViolation tells whether an error of Serve says that the client broke the protocol.
func IsViolation(err error) bool {
	if _, late := errors.AsType[*codec.Error](err); late || errors.Is(err, ErrPrematureResets) {
		return false
	}
	_, ok := errors.AsType[*connError](err)
	return ok
}
