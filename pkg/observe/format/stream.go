package format

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/weir-proxy/weir/pkg/proxy/streaminfo"
)

func streamOperators() map[string]operator {
	return map[string]operator{
		"REQUEST_HEADERS_BYTES":            bytesOf(func(i *streaminfo.Info) uint64 { return i.RequestHeaderBytes }),
		"RESPONSE_HEADERS_BYTES":           bytesOf(func(i *streaminfo.Info) uint64 { return i.ResponseHeaderBytes }),
		"RESPONSE_TRAILERS_BYTES":          bytesOf(func(i *streaminfo.Info) uint64 { return i.ResponseTrailerBytes }),
		"BYTES_RECEIVED":                   bytesOf(func(i *streaminfo.Info) uint64 { return i.BytesReceived }),
		"BYTES_SENT":                       bytesOf(func(i *streaminfo.Info) uint64 { return i.BytesSent }),
		"BYTES_RETRANSMITTED":              bytesOf(func(*streaminfo.Info) uint64 { return 0 }),
		"PACKETS_RETRANSMITTED":            bytesOf(func(*streaminfo.Info) uint64 { return 0 }),
		"UPSTREAM_WIRE_BYTES_SENT":         bytesOf(func(i *streaminfo.Info) uint64 { return i.Upstream.WireSent }),
		"UPSTREAM_WIRE_BYTES_RECEIVED":     bytesOf(func(i *streaminfo.Info) uint64 { return i.Upstream.WireReceived }),
		"UPSTREAM_HEADER_BYTES_SENT":       bytesOf(func(i *streaminfo.Info) uint64 { return i.Upstream.HeaderSent }),
		"UPSTREAM_HEADER_BYTES_RECEIVED":   bytesOf(func(i *streaminfo.Info) uint64 { return i.Upstream.HeaderReceived }),
		"DOWNSTREAM_WIRE_BYTES_SENT":       bytesOf(wireSent),
		"DOWNSTREAM_WIRE_BYTES_RECEIVED":   bytesOf(func(i *streaminfo.Info) uint64 { return i.RequestHeaderBytes + i.BytesReceived }),
		"DOWNSTREAM_HEADER_BYTES_SENT":     bytesOf(func(i *streaminfo.Info) uint64 { return i.ResponseHeaderBytes }),
		"DOWNSTREAM_HEADER_BYTES_RECEIVED": bytesOf(func(i *streaminfo.Info) uint64 { return i.RequestHeaderBytes }),
		"UPSTREAM_REQUEST_ATTEMPT_COUNT":   bytesOf(func(i *streaminfo.Info) uint64 { return uint64(i.Upstream.AttemptCount) }),
		"RESPONSE_CODE":                    bytesOf(func(i *streaminfo.Info) uint64 { return uint64(i.ResponseCode) }),
		"CONNECTION_ID": number(func(dst []byte, c *Context) ([]byte, bool) {
			if c.Info == nil || c.Info.Conn == nil {
				return dst, false
			}
			return strconv.AppendUint(dst, c.Info.Conn.ID, 10), true
		}),
		"UPSTREAM_CONNECTION_ID": number(func(dst []byte, c *Context) ([]byte, bool) {
			if c.Info == nil || c.Info.Upstream.ConnectionID == 0 {
				return dst, false
			}
			return strconv.AppendUint(dst, c.Info.Upstream.ConnectionID, 10), true
		}),
		"PROTOCOL":          stringOf(func(i *streaminfo.Info) string { return i.Protocol }),
		"UPSTREAM_PROTOCOL": stringOf(func(i *streaminfo.Info) string { return i.Upstream.Protocol }),
		"RESPONSE_CODE_DETAILS": text(func(dst []byte, c *Context) ([]byte, bool) {
			if c.Info == nil {
				return dst, false
			}
			return appendUnspaced(dst, c.Info.Details)
		}),
		"CONNECTION_TERMINATION_DETAILS": connString(func(c *streaminfo.Connection) string { return c.TerminationDetails }),
		"RESPONSE_FLAGS":                 stringOf(func(i *streaminfo.Info) string { return i.Flags.String() }),
		"RESPONSE_FLAGS_LONG":            stringOf(func(i *streaminfo.Info) string { return i.Flags.Long() }),
		"LOCAL_REPLY_BODY": text(func(dst []byte, c *Context) ([]byte, bool) {
			if c.Info == nil {
				return dst, true
			}
			return append(dst, c.Info.LocalReplyBody...), true // an empty one is no absent one, in Envoy too
		}),
		"ROUTE_NAME":           stringOf(func(i *streaminfo.Info) string { return i.RouteName }),
		"VIRTUAL_CLUSTER_NAME": stringOf(func(i *streaminfo.Info) string { return i.VirtualCluster }),
		"UPSTREAM_CLUSTER":     stringOf(func(i *streaminfo.Info) string { return i.Upstream.Cluster }),
		"UPSTREAM_CLUSTER_RAW": stringOf(func(i *streaminfo.Info) string { return i.Upstream.ClusterRaw }),
		"UPSTREAM_TRANSPORT_FAILURE_REASON": text(func(dst []byte, c *Context) ([]byte, bool) {
			if c.Info == nil {
				return dst, false
			}
			return appendUnspaced(dst, c.Info.Upstream.TransportFailure)
		}),
		"DOWNSTREAM_TRANSPORT_FAILURE_REASON": connString(func(c *streaminfo.Connection) string { return c.TransportFailure }),
		"FILTER_CHAIN_NAME":                   connString(func(c *streaminfo.Connection) string { return c.FilterChain }),
		"REQUESTED_SERVER_NAME":               connString(func(c *streaminfo.Connection) string { return c.ServerName }),
		"ACCESS_LOG_TYPE":                     text(func(dst []byte, c *Context) ([]byte, bool) { return append(dst, c.Type.String()...), true }),
		"HOSTNAME":                            {bind: bindHostname},
		"ENVIRONMENT":                         {args: argsRequired, length: true, bind: bindEnvironment},
		"UNIQUE_ID":                           text(func(dst []byte, _ *Context) ([]byte, bool) { return AppendUUID(dst), true }),
		"STREAM_ID":                           text(appendStreamID),
		"TRACE_ID":                            text(never),
	}
}

func wireSent(i *streaminfo.Info) uint64 {
	return i.ResponseHeaderBytes + i.BytesSent + i.ResponseTrailerBytes
}

func bytesOf(f func(*streaminfo.Info) uint64) operator {
	return number(func(dst []byte, c *Context) ([]byte, bool) {
		if c.Info == nil {
			return dst, false
		}
		return strconv.AppendUint(dst, f(c.Info), 10), true
	})
}

func stringOf(f func(*streaminfo.Info) string) operator {
	return text(func(dst []byte, c *Context) ([]byte, bool) {
		if c.Info == nil {
			return dst, false
		}
		return appendNonEmpty(dst, f(c.Info))
	})
}

func connString(f func(*streaminfo.Connection) string) operator {
	return text(func(dst []byte, c *Context) ([]byte, bool) {
		if c.Info == nil || c.Info.Conn == nil {
			return dst, false
		}
		return appendNonEmpty(dst, f(c.Info.Conn))
	})
}

// appendUnspaced replaces blanks, so that a log line splits at blanks.
func appendUnspaced(dst []byte, s string) ([]byte, bool) {
	for i := range len(s) {
		switch c := s[i]; c {
		case ' ', '\t', '\n', '\v', '\f', '\r':
			dst = append(dst, '_')
		default:
			dst = append(dst, c)
		}
	}
	return dst, s != ""
}

func bindHostname(string) (appender, error) {
	name, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("ask for the host name: %w", err)
	}
	return constant(name), nil
}

func bindEnvironment(name string) (appender, error) {
	if name == "" {
		return nil, fmt.Errorf("needs the name of a variable")
	}
	return constant(os.Getenv(name)), nil
}

func constant(s string) appender {
	return func(dst []byte, _ *Context) ([]byte, bool) { return appendNonEmpty(dst, s) }
}

// appendStreamID gives the request's x-request-id, which identifies a stream across proxies, else a random one.
func appendStreamID(dst []byte, c *Context) ([]byte, bool) {
	if c.Request != nil {
		if id, ok := c.Request.Headers.Lookup("x-request-id"); ok && id != "" {
			return append(dst, id...), true
		}
	}
	return AppendUUID(dst), true
}

// uuidPlaces is where the two digits of each byte of a UUID stand; read only.
var uuidPlaces = [16]uint8{0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34}

// AppendUUID appends a random version 4 UUID (RFC 9562). It is for identification, not a secret.
func AppendUUID(dst []byte) []byte {
	const digits = "0123456789abcdef"
	hi, lo := rand.Uint64(), rand.Uint64()
	hi = hi&^0xf000 | 0x4000   // version 4
	lo = lo&^(0x3<<62) | 2<<62 // the variant of the RFC
	var text [36]byte
	for i, at := range uuidPlaces {
		word := hi
		if i >= 8 {
			word = lo
		}
		c := byte(word >> (56 - 8*(i&7)))
		text[at], text[at+1] = digits[c>>4], digits[c&15]
	}
	text[8], text[13], text[18], text[23] = '-', '-', '-', '-'
	return append(dst, text[:]...)
}

// points are the time points of COMMON_DURATION, in nanoseconds since the start of the stream; false when not reached.
var points = map[string]func(*streaminfo.Info) (int64, bool){
	"DS_RX_BEG": func(*streaminfo.Info) (int64, bool) { return 0, true },
	"DS_RX_END": reached(func(t *streaminfo.Timing) int64 { return t.LastDownstreamRx }),
	"US_TX_BEG": reached(func(t *streaminfo.Timing) int64 { return t.FirstUpstreamTx }),
	"US_TX_END": reached(func(t *streaminfo.Timing) int64 { return t.LastUpstreamTx }),
	"US_RX_BEG": reached(func(t *streaminfo.Timing) int64 { return t.FirstUpstreamRx }),
	"US_RX_END": reached(func(t *streaminfo.Timing) int64 { return t.LastUpstreamRx }),
	"DS_TX_BEG": reached(func(t *streaminfo.Timing) int64 { return t.FirstDownstreamTx }),
	"DS_TX_END": reached(func(t *streaminfo.Timing) int64 { return t.LastDownstreamTx }),
}

func reached(f func(*streaminfo.Timing) int64) func(*streaminfo.Info) (int64, bool) {
	return func(i *streaminfo.Info) (int64, bool) {
		ns := f(&i.Timing)
		return ns, ns != 0
	}
}

func durationBetween(from, to string, unit time.Duration) appender {
	start, end := points[from], points[to]
	return func(dst []byte, c *Context) ([]byte, bool) {
		if c.Info == nil {
			return dst, false
		}
		a, ok := start(c.Info)
		b, ok2 := end(c.Info)
		if !ok || !ok2 || b < a {
			return dst, false
		}
		return strconv.AppendInt(dst, (b-a)/int64(unit), 10), true
	}
}

func bindCommonDuration(args string) (appender, error) {
	f := strings.Split(args, ":")
	if len(f) != 3 {
		return nil, fmt.Errorf("wants START:END:PRECISION, not %q", args)
	}
	for _, p := range f[:2] {
		if points[p] == nil {
			return nil, fmt.Errorf("time point %q is not known", p)
		}
	}
	unit, ok := map[string]time.Duration{"ms": time.Millisecond, "us": time.Microsecond, "ns": time.Nanosecond}[f[2]]
	if !ok {
		return nil, fmt.Errorf("precision %q is not one of ms, us, ns", f[2])
	}
	return durationBetween(f[0], f[1], unit), nil
}
