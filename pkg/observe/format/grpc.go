package format

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/weir-proxy/weir/pkg/proxy/http/message"
)

// grpcNames is indexed by status code: the camel and the snake form.
var grpcNames = [...][2]string{
	{"OK", "OK"},
	{"Canceled", "CANCELLED"},
	{"Unknown", "UNKNOWN"},
	{"InvalidArgument", "INVALID_ARGUMENT"},
	{"DeadlineExceeded", "DEADLINE_EXCEEDED"},
	{"NotFound", "NOT_FOUND"},
	{"AlreadyExists", "ALREADY_EXISTS"},
	{"PermissionDenied", "PERMISSION_DENIED"},
	{"ResourceExhausted", "RESOURCE_EXHAUSTED"},
	{"FailedPrecondition", "FAILED_PRECONDITION"},
	{"Aborted", "ABORTED"},
	{"OutOfRange", "OUT_OF_RANGE"},
	{"Unimplemented", "UNIMPLEMENTED"},
	{"Internal", "INTERNAL"},
	{"Unavailable", "UNAVAILABLE"},
	{"DataLoss", "DATA_LOSS"},
	{"Unauthenticated", "UNAUTHENTICATED"},
}

// GRPCStatus is the gRPC status of the exchange: of the trailers, the response head, or what the HTTP status means. ok is
// false when the request is not gRPC or there was no response.
func GRPCStatus(c *Context) (status uint64, ok bool) {
	if c.Request == nil || !IsGRPC(c.Request.Headers.Get(message.ContentType)) {
		return 0, false
	}
	if c.Trailers != nil {
		if n, ok := grpcHeader(c.Trailers); ok {
			return n, true
		}
	}
	if c.Response != nil {
		if n, ok := grpcHeader(&c.Response.Headers); ok {
			return n, true
		}
	}
	if c.Info == nil || c.Info.ResponseCode == 0 {
		return 0, false
	}
	return GRPCFromHTTP(c.Info.ResponseCode), true
}

func grpcHeader(h *message.Headers) (uint64, bool) {
	v := h.Get(message.GRPCStatus)
	if v == "" {
		return 0, false
	}
	n, err := strconv.ParseUint(v, 10, 32)
	if err != nil {
		return 2, true // UNKNOWN
	}
	return n, true
}

// IsGRPC tells whether a content type is that of gRPC: application/grpc, alone or with a suffix.
func IsGRPC(contentType string) bool {
	const base = "application/grpc"
	if !strings.HasPrefix(contentType, base) {
		return false
	}
	return len(contentType) == len(base) || contentType[len(base)] == '+'
}

// GRPCFromHTTP maps an HTTP status to a gRPC one, as Envoy does for responses without grpc-status
// (grpc/doc/http-grpc-status-mapping.md).
func GRPCFromHTTP(status int) uint64 {
	switch status {
	case 400:
		return 13 // INTERNAL
	case 401:
		return 16 // UNAUTHENTICATED
	case 403:
		return 7 // PERMISSION_DENIED
	case 404:
		return 12 // UNIMPLEMENTED
	case 429, 502, 503, 504:
		return 14 // UNAVAILABLE
	}
	return 2 // UNKNOWN
}

func bindGRPCStatus(form string) (appender, error) {
	column := 0
	switch form {
	case "", "CAMEL_STRING":
	case "SNAKE_STRING":
		column = 1
	case "NUMBER":
		return appendGRPCNumber, nil
	default:
		return nil, fmt.Errorf("form %q is not one of CAMEL_STRING, SNAKE_STRING, NUMBER", form)
	}
	return func(dst []byte, c *Context) ([]byte, bool) {
		n, ok := GRPCStatus(c)
		switch {
		case !ok:
			return dst, false
		case n >= uint64(len(grpcNames)):
			return strconv.AppendUint(dst, n, 10), true
		}
		return append(dst, grpcNames[n][column]...), true
	}, nil
}

func appendGRPCNumber(dst []byte, c *Context) ([]byte, bool) {
	n, ok := GRPCStatus(c)
	if !ok {
		return dst, false
	}
	return strconv.AppendUint(dst, n, 10), true
}

// GRPCTimeout reads a grpc-timeout value: up to 8 digits and a unit (gRPC over HTTP/2: Timeout). It does not overflow.
func GRPCTimeout(s string) (time.Duration, bool) {
	if len(s) < 2 || len(s) > 9 {
		return 0, false
	}
	n, err := strconv.ParseUint(s[:len(s)-1], 10, 32)
	if err != nil {
		return 0, false
	}
	var unit time.Duration
	switch s[len(s)-1] {
	case 'H':
		unit = time.Hour
	case 'M':
		unit = time.Minute
	case 'S':
		unit = time.Second
	case 'm':
		unit = time.Millisecond
	case 'u':
		unit = time.Microsecond
	case 'n':
		unit = time.Nanosecond
	default:
		return 0, false
	}
	if n > uint64((1<<63-1)/unit) {
		return 1<<63 - 1, true
	}
	return time.Duration(n) * unit, true
}
