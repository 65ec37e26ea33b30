// Package tlsinspector is the listener filter envoy.filters.listener.tls_inspector: it reads the TLS ClientHello, without
// consuming it, for the server name and the protocols that the client offers.
//
// It owns its parser and the tls_inspector.* statistics. It must not know filter chains or TLS itself. A Filter is
// immutable and shared by all connections.
package tlsinspector

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/weir-proxy/weir/pkg/observe/stats"
	"github.com/weir-proxy/weir/pkg/proxy/filter"
	"github.com/weir-proxy/weir/pkg/proxy/streaminfo"
)

// Filter is a configured inspector.
type Filter struct {
	closeOnError bool
	stats        *counters
}

var _ filter.Listener = (*Filter)(nil)

type counters struct {
	found, notFound, alpnFound, alpnNotFound, sniFound, sniNotFound, tooLarge *stats.Counter
	bytes                                                                     *stats.Histogram
}

// New makes an inspector that shows its counts nowhere: WithStats gives the one to use. closeOnError closes connections
// whose ClientHello is malformed instead of taking them for plain text.
func New(closeOnError bool) *Filter {
	return &Filter{closeOnError: closeOnError, stats: &counters{
		found: &stats.Counter{}, notFound: &stats.Counter{}, alpnFound: &stats.Counter{}, alpnNotFound: &stats.Counter{},
		sniFound: &stats.Counter{}, sniNotFound: &stats.Counter{}, tooLarge: &stats.Counter{}, bytes: &stats.Histogram{},
	}}
}

// WithStats gives a copy that counts below root as tls_inspector.*.
func (f *Filter) WithStats(root *stats.Scope) filter.Listener {
	s := root.Scope("tls_inspector")
	return &Filter{closeOnError: f.closeOnError, stats: &counters{
		found: s.Counter("tls_found"), notFound: s.Counter("tls_not_found"),
		alpnFound: s.Counter("alpn_found"), alpnNotFound: s.Counter("alpn_not_found"),
		sniFound: s.Counter("sni_found"), sniNotFound: s.Counter("sni_not_found"),
		tooLarge: s.Counter("client_hello_too_large"), bytes: s.Histogram("bytes_processed", stats.Bytes),
	}}
}

// Inspect implements filter.Listener.
func (f *Filter) Inspect(ctx context.Context, c filter.PeekConn, info *streaminfo.Connection) (filter.ListenerVerdict, error) {
	need := 1
	for {
		p, err := c.Peek(ctx, need)
		if err != nil && !(errors.Is(err, io.EOF) && len(p) > 0) {
			return filter.Close, err
		}
		ended := err != nil
		hello, more, err := parse(p)
		switch {
		case err == nil && more > 0 && ended:
			return filter.Close, fmt.Errorf("read ClientHello: %w", io.ErrUnexpectedEOF)
		case err == nil && more > 0:
			need = more
			continue
		case err == nil:
			f.record(&hello, info)
		case errors.Is(err, errTooLarge):
			f.stats.tooLarge.Inc()
			return filter.Close, fmt.Errorf("read ClientHello: %w", err)
		default:
			f.stats.notFound.Inc()
			if f.closeOnError && errors.Is(err, errMalformed) {
				return filter.Close, fmt.Errorf("read ClientHello: %w", err)
			}
		}
		f.stats.bytes.Record(uint64(len(p)))
		return filter.Continue, nil
	}
}

func (f *Filter) record(h *Hello, info *streaminfo.Connection) {
	f.stats.found.Inc()
	info.TransportProtocol = "tls"
	if h.ServerName != "" {
		info.ServerName = h.ServerName
		f.stats.sniFound.Inc()
	} else {
		f.stats.sniNotFound.Inc()
	}
	if len(h.ALPN) > 0 {
		info.ALPN = h.ALPN
		f.stats.alpnFound.Inc()
	} else {
		f.stats.alpnNotFound.Inc()
	}
}
