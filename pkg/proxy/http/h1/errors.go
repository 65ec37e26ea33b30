package h1

import (
	"errors"
	"fmt"

	"github.com/weir-proxy/weir/pkg/proxy/http/codec"
)

// Response code details in Envoy's words.
const (
	detailsCodec         = "http1.codec_error"
	detailsTooLarge      = "http1.headers_too_large"
	detailsTooMany       = "http1.too_many_headers"
	detailsCharacters    = "http1.invalid_characters"
	detailsURL           = "http1.invalid_url"
	detailsScheme        = "http1.invalid_scheme"
	detailsEncoding      = "http1.invalid_transfer_encoding"
	detailsNoEncoding    = "http1.transfer_encoding_not_allowed"
	detailsNoLength      = "http1.content_length_not_allowed"
	detailsChunkedLength = "http1.content_length_and_chunked_not_allowed"
	detailsUnderscore    = "http1.unexpected_underscore"
	detailsAuthority     = "http.invalid_authority"
	detailsMissingHost   = "missing_host_header"
	detailsLowVersion    = "low_version"
	detailsExpect        = "http1.expectation_failed"
	detailsConnection    = "http1.connection_header_rejected"
)

// Errors of the local side.
var (
	errNoResponse  = errors.New("request ended without a response")
	errSecondReply = errors.New("write response: a response was already sent")
	errBodyClosed  = errors.New("read body: it was closed")
	errBodyShort   = errors.New("send body: it ended before its content-length")
	errBodyLong    = errors.New("send body: it is longer than its content-length")
	errBadLine     = errors.New("write head: method or target is empty, or has a space or a control character")
	errBadField    = errors.New("write head: a field contains a line break or NUL")
	errBusy        = errors.New("open stream: the connection is in use or closed")
	errClosed      = errors.New("the exchange was closed")
)

// malformed describes a violation by the peer that is answered with 400.
func malformed(reason, details, format string, args ...any) *codec.Error {
	return &codec.Error{Status: 400, Details: details, Reason: reason, Err: fmt.Errorf(format, args...)}
}

// violation is malformed with another status.
func violation(status int, reason, details, format string, args ...any) *codec.Error {
	return &codec.Error{Status: status, Details: details, Reason: reason, Err: fmt.Errorf(format, args...)}
}
