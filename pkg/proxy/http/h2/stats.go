package h2

import "github.com/weir-proxy/weir/pkg/observe/stats"

// Stats are the statistics of the codec under Envoy's names (http2.*), shared by all connections of a scope.
type Stats struct {
	// DeferredStreamClose is the number of streams that the peer has ended while what it sent before was not read yet.
	// PendingSendBytes are handed to the system by a write that has not returned.
	StreamsActive, PendingSendBytes, DeferredStreamClose *stats.Gauge

	DroppedHeadersWithUnderscores        *stats.Counter
	GoAwaySent                           *stats.Counter
	HeaderOverflow                       *stats.Counter
	HeadersCBNoStream                    *stats.Counter
	InboundEmptyFramesFlood              *stats.Counter
	InboundPriorityFramesFlood           *stats.Counter
	InboundWindowUpdateFramesFlood       *stats.Counter
	KeepaliveTimeout                     *stats.Counter
	MetadataEmptyFrames                  *stats.Counter
	OutboundControlFlood                 *stats.Counter
	OutboundFlood                        *stats.Counter
	RequestsRejectedUnderscoresInHeaders *stats.Counter
	RxMessagingError, RxReset, TxReset   *stats.Counter
	StreamRefusedErrors                  *stats.Counter
	Trailers                             *stats.Counter
	TxFlushTimeout                       *stats.Counter
}

// NewStats looks the statistics up in scope: "http2.rx_reset" and so on below its prefix. A nil scope gives statistics that
// work and are not shown. It is for configuration time, not per connection.
func NewStats(scope *stats.Scope) *Stats {
	counter := func(name string) *stats.Counter {
		if scope == nil {
			return new(stats.Counter)
		}
		return scope.Counter("http2." + name)
	}
	gauge := func(name string) *stats.Gauge {
		if scope == nil {
			return new(stats.Gauge)
		}
		return scope.Gauge("http2." + name)
	}
	return &Stats{
		StreamsActive:                        gauge("streams_active"),
		PendingSendBytes:                     gauge("pending_send_bytes"),
		DeferredStreamClose:                  gauge("deferred_stream_close"),
		DroppedHeadersWithUnderscores:        counter("dropped_headers_with_underscores"),
		GoAwaySent:                           counter("goaway_sent"),
		HeaderOverflow:                       counter("header_overflow"),
		HeadersCBNoStream:                    counter("headers_cb_no_stream"),
		InboundEmptyFramesFlood:              counter("inbound_empty_frames_flood"),
		InboundPriorityFramesFlood:           counter("inbound_priority_frames_flood"),
		InboundWindowUpdateFramesFlood:       counter("inbound_window_update_frames_flood"),
		KeepaliveTimeout:                     counter("keepalive_timeout"),
		MetadataEmptyFrames:                  counter("metadata_empty_frames"),
		OutboundControlFlood:                 counter("outbound_control_flood"),
		OutboundFlood:                        counter("outbound_flood"),
		RequestsRejectedUnderscoresInHeaders: counter("requests_rejected_with_underscores_in_headers"),
		RxMessagingError:                     counter("rx_messaging_error"),
		RxReset:                              counter("rx_reset"),
		TxReset:                              counter("tx_reset"),
		StreamRefusedErrors:                  counter("stream_refused_errors"),
		Trailers:                             counter("trailers"),
		TxFlushTimeout:                       counter("tx_flush_timeout"),
	}
}
