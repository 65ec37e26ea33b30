package h1

import (
	"github.com/weir-proxy/weir/pkg/observe/stats"
	"github.com/weir-proxy/weir/pkg/proxy/http/codec"
)

// Stats counts what peers do wrong. All methods do nothing on a nil value: peers that behave cost nothing. It is shared by
// connections and safe for concurrent use.
type Stats struct {
	own                                  *stats.Scope
	errors                               *stats.Counter
	droppedUnderscores, underscoreErrors *stats.Counter
}

// NewStats counts under Envoy's names, http1.*, below the scope envoy: the root for downstream connections, a cluster's for
// upstream ones. Below the scope own it counts weir.http1.rejected.<reason>, the reasons being those of codec.Error, of
// which there are some fifty; each is looked up when it happens. protocolErrors is Envoy's downstream_cx_protocol_error, counted where nobody else can: a
// handler is told of a malformed head, but not of a malformed body. It is nil for upstream connections, whose errors tell.
func NewStats(envoy, own *stats.Scope, protocolErrors *stats.Counter) *Stats {
	// HTTP/1 has no metadata frames, and no response is made before its turn.
	envoy.Counter("http1.metadata_not_supported_error")
	envoy.Counter("http1.response_flood")
	return &Stats{
		own: own, errors: protocolErrors, droppedUnderscores: envoy.Counter("http1.dropped_headers_with_underscores"),
		underscoreErrors: envoy.Counter("http1.requests_rejected_with_underscores_in_headers"),
	}
}

// rejected counts a message that was refused, or that came to a bad end.
func (s *Stats) rejected(bad *codec.Error) {
	if s == nil {
		return
	}
	if bad.Reason == "underscore_in_name" {
		s.underscoreErrors.Inc()
	}
	s.own.Counter("weir.http1.rejected." + bad.Reason).Inc()
}

// violated is rejected for what no handler is told of as such.
func (s *Stats) violated(bad *codec.Error) {
	if s != nil {
		s.rejected(bad)
	}
	if s != nil && s.errors != nil {
		s.errors.Inc()
	}
}

// dropped counts fields that were left out for their underscores.
func (s *Stats) dropped(n int) {
	if s != nil {
		s.droppedUnderscores.Add(uint64(n))
	}
}
