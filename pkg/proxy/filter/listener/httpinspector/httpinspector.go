// Package httpinspector is the listener filter envoy.filters.listener.http_inspector: it looks at the first line that a client sends
// in plain text, without consuming it, and tells filter chains by application_protocols whether it is HTTP/1.0 ("http/1.0"),
// HTTP/1.1 ("http/1.1") or HTTP/2 ("h2c").
//
// It owns its parser and the http_inspector.* statistics. It must not know filter chains or the HTTP codecs. A Filter is immutable
// and shared by all connections.
package httpinspector

import (
	"context"
	"errors"
	"io"
	"syscall"

	"github.com/weir-proxy/weir/pkg/observe/stats"
	"github.com/weir-proxy/weir/pkg/proxy/filter"
	"github.com/weir-proxy/weir/pkg/proxy/streaminfo"
)

// MaxLine bounds the bytes that are looked at. A longer first line is taken for another protocol.
const MaxLine = 16 << 10

// What filter chains are told, as in Envoy.
const (
	HTTP10 = "http/1.0"
	HTTP11 = "http/1.1"
	H2C    = "h2c"
)

// Filter is a configured inspector.
type Filter struct{ stats *counters }

var _ filter.Listener = (*Filter)(nil)

type counters struct{ http10, http11, http2, notFound, readError *stats.Counter }

// New makes an inspector that shows its counts nowhere: WithStats gives the one to use.
func New() *Filter {
	return &Filter{stats: &counters{
		http10: &stats.Counter{}, http11: &stats.Counter{}, http2: &stats.Counter{}, notFound: &stats.Counter{}, readError: &stats.Counter{},
	}}
}

// WithStats gives a copy that counts below root as http_inspector.*.
func (f *Filter) WithStats(root *stats.Scope) filter.Listener {
	s := root.Scope("http_inspector")
	return &Filter{stats: &counters{
		http10: s.Counter("http10_found"), http11: s.Counter("http11_found"), http2: s.Counter("http2_found"),
		notFound: s.Counter("http_not_found"), readError: s.Counter("read_error"),
	}}
}

// Inspect implements filter.Listener. It does not wait on a connection that another filter has found to be TLS, and waits for no more
// than it takes to tell.
func (f *Filter) Inspect(ctx context.Context, c filter.PeekConn, info *streaminfo.Connection) (filter.ListenerVerdict, error) {
	if info.TransportProtocol != "" && info.TransportProtocol != "raw_buffer" {
		return filter.Continue, nil
	}
	for need := 1; ; {
		p, err := c.Peek(ctx, need)
		if err != nil && !(errors.Is(err, io.EOF) && len(p) > 0) {
			if errors.As(err, new(syscall.Errno)) { // neither its end nor ours
				f.stats.readError.Inc()
			}
			return filter.Close, err
		}
		protocol, known := parse(p)
		if !known && err == nil && len(p) < MaxLine {
			need = len(p) + 1
			continue
		}
		f.record(protocol, info)
		return filter.Continue, nil
	}
}

// protocols are the values of ALPN; read only.
var protocols = map[string][]string{HTTP10: {HTTP10}, HTTP11: {HTTP11}, H2C: {H2C}}

func (f *Filter) record(protocol string, info *streaminfo.Connection) {
	switch protocol {
	case HTTP10:
		f.stats.http10.Inc()
	case HTTP11:
		f.stats.http11.Inc()
	case H2C:
		f.stats.http2.Inc()
	default:
		f.stats.notFound.Inc()
		return
	}
	info.ALPN = protocols[protocol]
}
