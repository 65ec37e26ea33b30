// Package format compiles Envoy's substitution format strings ("%REQ(:METHOD)% %RESPONSE_CODE%") and renders them from
// what is known about a stream. Access logs, header mutations and local replies share it.
//
// It owns the language and the operators. It must not know where the result goes. A compiled Format is immutable and may
// be used by any number of goroutines; rendering allocates nothing but what the destination needs to grow.
package format

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/weir-proxy/weir/pkg/proxy/http/message"
	"github.com/weir-proxy/weir/pkg/proxy/streaminfo"
)

// Default is Envoy's access log format for loggers that configure none.
const Default = `[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% ` +
	`%RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% ` +
	`"%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" "%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%"` + "\n"

// Context is what a format is rendered from. Nil fields render as unset.
type Context struct {
	Info     *streaminfo.Info
	Request  *message.Request
	Response *message.Response
	Trailers *message.Headers
	// Type is the occasion of an access log entry.
	Type LogType
	// Now is the time of rendering; the zero value takes the clock.
	Now time.Time
	// Client is the downstream's address as forwarding headers tell it, with port 0; the zero value takes the connection's.
	Client netip.AddrPort
	// DNS is the question that a DNS filter answered.
	DNS *DNSQuery
	// Metadata of the objects that served the stream: filter name -> values.
	RouteMetadata, ClusterMetadata, HostMetadata map[string]map[string]any
}

// LogType is envoy.data.accesslog.v3.AccessLogType, with its numbers.
type LogType uint8

// Occasions of access log entries that weir writes.
const (
	NotSet               LogType = 0
	TCPUpstreamConnected LogType = 1
	TCPPeriodic          LogType = 2
	TCPConnectionEnd     LogType = 3
	DownstreamStart      LogType = 4
	DownstreamPeriodic   LogType = 5
	DownstreamEnd        LogType = 6
	UpstreamPoolReady    LogType = 7
	UpstreamPeriodic     LogType = 8
	UpstreamEnd          LogType = 9
	DownstreamTunnel     LogType = 10
	UDPPeriodic          LogType = 12
	UDPSessionEnd        LogType = 13
)

// String is the value of %ACCESS_LOG_TYPE%.
func (t LogType) String() string {
	if int(t) >= len(logTypeNames) {
		return "NotSet"
	}
	return logTypeNames[t]
}

var logTypeNames = [...]string{
	"NotSet", "TcpUpstreamConnected", "TcpPeriodic", "TcpConnectionEnd", "DownstreamStart", "DownstreamPeriodic",
	"DownstreamEnd", "UpstreamPoolReady", "UpstreamPeriodic", "UpstreamEnd", "DownstreamTunnelSuccessfullyEstablished",
	"UdpTunnelUpstreamConnected", "UdpPeriodic", "UdpSessionEnd",
}

// appender adds a value to dst, or reports that it is not set and returns dst as it was.
type appender func(dst []byte, c *Context) ([]byte, bool)

// kind is how a value appears in typed JSON.
type kind uint8

const (
	kindString kind = iota
	kindNumber
	kindJSON // the appender writes JSON unless it writes a bare string, see appendMetadata
)

// part is a literal (value is nil) or an operator.
type part struct {
	literal string
	value   appender
	json    appender // the JSON form, of kindJSON only
	kind    kind
	max     int // 0: unlimited
}

// Format is a compiled format string.
type Format struct {
	parts []part
	unset string
}

// Option changes how a format is compiled.
type Option func(*Format)

// OmitEmpty renders unset values as nothing instead of "-" (omit_empty_values, and header values).
func OmitEmpty() Option { return func(f *Format) { f.unset = "" } }

// Compile parses a format string. Errors name the operator and its byte position.
func Compile(s string, opts ...Option) (*Format, error) {
	f := &Format{unset: "-"}
	for _, o := range opts {
		o(f)
	}
	literal := strings.Builder{}
	flush := func() {
		if literal.Len() > 0 {
			f.parts = append(f.parts, part{literal: literal.String()})
			literal.Reset()
		}
	}
	for i := 0; i < len(s); {
		if s[i] != '%' {
			literal.WriteByte(s[i])
			i++
			continue
		}
		if strings.HasPrefix(s[i:], "%%") {
			literal.WriteByte('%')
			i += 2
			continue
		}
		c, err := parseCommand(s[i:])
		if err != nil {
			return nil, fmt.Errorf("compile format: position %d: %w", i, err)
		}
		p, err := c.compile()
		if err != nil {
			return nil, fmt.Errorf("compile format: position %d: %w", i, err)
		}
		flush()
		f.parts = append(f.parts, p)
		i += c.length
	}
	flush()
	return f, nil
}

// Append renders the format at the end of dst.
func (f *Format) Append(dst []byte, c *Context) []byte {
	for i := range f.parts {
		p := &f.parts[i]
		if p.value == nil {
			dst = append(dst, p.literal...)
			continue
		}
		var ok bool
		if dst, ok = p.append(dst, c); !ok {
			dst = append(dst, f.unset...)
		}
	}
	return dst
}

// Literal returns the text of a format without operators.
func (f *Format) Literal() (string, bool) {
	switch {
	case len(f.parts) == 0:
		return "", true
	case len(f.parts) == 1 && f.parts[0].value == nil:
		return f.parts[0].literal, true
	}
	return "", false
}

func (p *part) append(dst []byte, c *Context) ([]byte, bool) {
	start := len(dst)
	dst, ok := p.value(dst, c)
	if ok && p.max > 0 && len(dst)-start > p.max {
		dst = dst[:start+p.max]
	}
	return dst, ok
}
