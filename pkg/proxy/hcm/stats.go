package hcm

import (
	"errors"
	"sync"

	"github.com/weir-proxy/weir/pkg/observe/stats"
	"github.com/weir-proxy/weir/pkg/proxy/http/h1"
	"github.com/weir-proxy/weir/pkg/proxy/http/h2"
)

// httpStats are the statistics of a connection manager: "http.<stat_prefix>.", and the response classes below the
// listener too.
type httpStats struct {
	scope *stats.Scope
	// two looks up http2.*, which all managers share and which is there from the first HTTP/2 connection on, as in Envoy.
	two func() *h2.Stats
	// one counts what HTTP/1 clients do wrong, in http1.*, as two is shared and made.
	one    func() *h1.Stats
	agents agents

	cxTotal, cxSSLTotal, cxHTTP1Total, cxHTTP2Total, cxUpgradesTotal          *stats.Counter
	cxDestroy, cxDestroyRemote, cxDestroyLocal                                *stats.Counter
	cxDestroyActive, cxDestroyLocalActive, cxDestroyRemoteActive              *stats.Counter
	cxProtocolError, cxRxBytes, cxTxBytes, cxDrainClose                       *stats.Counter
	cxIdleTimeout, cxMaxDuration, cxMaxRequests                               *stats.Counter
	rqTotal, rqHTTP1Total, rqHTTP2Total, rqCompleted, rqRxReset, rqTxReset    *stats.Counter
	rqNonRelativePath, rqTooLarge, rqFailedPath, rqUpgradeRefused             *stats.Counter
	rqIdleTimeout, rqHeaderTimeout, rqMaxDuration, rqTimeout, rqRedirected    *stats.Counter
	rqBeforeComplete, rqOverload, rqRejectedIP, rqPrematureResets             *stats.Counter
	cxActive, cxSSLActive, cxHTTP1Active, cxHTTP2Active, cxUpgrades, rqActive *stats.Gauge
	cxLength, rqTime                                                          *stats.Histogram
	class                                                                     [6]*stats.Counter
	listener                                                                  *stats.Scope
	listenerCompleted                                                         *stats.Counter
	listenerClass                                                             [6]*stats.Counter
}

// newHTTPStats looks all of them up, so that they are shown from the start.
func newHTTPStats(root, listener *stats.Scope, prefix string) *httpStats {
	sc := root.Scope("http." + prefix)
	s := &httpStats{scope: sc, two: sync.OnceValue(func() *h2.Stats { return h2.NewStats(root) })}
	for name, at := range map[string]**stats.Counter{
		"cx_total": &s.cxTotal, "cx_ssl_total": &s.cxSSLTotal, "cx_http1_total": &s.cxHTTP1Total, "cx_http2_total": &s.cxHTTP2Total,
		"cx_upgrades_total": &s.cxUpgradesTotal, "cx_destroy": &s.cxDestroy, "cx_destroy_remote": &s.cxDestroyRemote,
		"cx_destroy_local": &s.cxDestroyLocal, "cx_destroy_active_rq": &s.cxDestroyActive,
		"cx_destroy_local_active_rq": &s.cxDestroyLocalActive, "cx_destroy_remote_active_rq": &s.cxDestroyRemoteActive,
		"cx_protocol_error": &s.cxProtocolError, "cx_rx_bytes_total": &s.cxRxBytes, "cx_tx_bytes_total": &s.cxTxBytes,
		"cx_drain_close": &s.cxDrainClose, "cx_idle_timeout": &s.cxIdleTimeout, "cx_max_duration_reached": &s.cxMaxDuration,
		"cx_max_requests_reached": &s.cxMaxRequests, "rq_total": &s.rqTotal, "rq_http1_total": &s.rqHTTP1Total,
		"rq_http2_total": &s.rqHTTP2Total, "rq_completed": &s.rqCompleted, "rq_rx_reset": &s.rqRxReset, "rq_tx_reset": &s.rqTxReset,
		"rq_non_relative_path": &s.rqNonRelativePath, "rq_too_large": &s.rqTooLarge, "rq_failed_path_normalization": &s.rqFailedPath,
		"rq_ws_on_non_ws_route": &s.rqUpgradeRefused, "rq_idle_timeout": &s.rqIdleTimeout, "rq_header_timeout": &s.rqHeaderTimeout,
		"rq_max_duration_reached": &s.rqMaxDuration, "rq_timeout": &s.rqTimeout,
		"rq_redirected_with_normalized_path": &s.rqRedirected, "rq_response_before_rq_complete": &s.rqBeforeComplete,
		"rq_too_many_premature_resets": &s.rqPrematureResets,
		"rq_overload_close":            &s.rqOverload, "rq_rejected_via_ip_detection": &s.rqRejectedIP, "rq_1xx": &s.class[1], "rq_2xx": &s.class[2], "rq_3xx": &s.class[3],
		"rq_4xx": &s.class[4], "rq_5xx": &s.class[5],
	} {
		*at = sc.Counter("downstream_" + name)
	}
	s.one = sync.OnceValue(func() *h1.Stats { return h1.NewStats(root, sc, s.cxProtocolError) })
	s.agents = newAgents(sc)
	for name, at := range map[string]**stats.Gauge{
		"cx_active": &s.cxActive, "cx_ssl_active": &s.cxSSLActive, "cx_http1_active": &s.cxHTTP1Active,
		"cx_http2_active": &s.cxHTTP2Active, "cx_upgrades_active": &s.cxUpgrades, "rq_active": &s.rqActive,
	} {
		*at = sc.Gauge("downstream_" + name)
	}
	idle(sc)
	s.cxLength = sc.Histogram("downstream_cx_length_ms", stats.Milliseconds)
	s.rqTime = sc.Histogram("downstream_rq_time", stats.Milliseconds)
	if listener != nil {
		lsc := listener.Scope("http." + prefix)
		s.listener = lsc
		s.listenerCompleted = lsc.Counter("downstream_rq_completed")
		for i, name := range []string{"1xx", "2xx", "3xx", "4xx", "5xx"} {
			s.listenerClass[i+1] = lsc.Counter("downstream_rq_" + name)
		}
	}
	return s
}

// idle are the statistics that each connection manager of Envoy has and that stay at zero here: there is no HTTP/3, no tracing
// and no overload manager yet, and bytes are copied rather than buffered. Dashboards and scripts ask for them by name.
func idle(sc *stats.Scope) {
	for _, name := range []string{
		"downstream_cx_http3_total", "downstream_rq_http3_total", "downstream_cx_overload_disable_keepalive",
		"downstream_flow_control_paused_reading_total", "downstream_flow_control_resumed_reading_total",
		"tracing.random_sampling", "tracing.service_forced", "tracing.client_enabled", "tracing.not_traceable", "tracing.health_check",
	} {
		sc.Counter(name)
	}
	sc.Gauge("downstream_cx_http3_active")
	for _, name := range []string{"downstream_cx_rx_bytes_buffered", "downstream_cx_tx_bytes_buffered"} {
		sc.Gauge(name).Set(0)
	}
}

func (s *httpStats) close() {
	s.scope.Close()
	if s.listener != nil {
		s.listener.Close()
	}
}

// response counts a response by its class.
func (s *httpStats) response(status int) {
	s.rqCompleted.Inc()
	class := status / 100
	if 1 <= class && class <= 5 {
		s.class[class].Inc()
	}
	if s.listenerCompleted == nil {
		return
	}
	s.listenerCompleted.Inc()
	if 1 <= class && class <= 5 {
		s.listenerClass[class].Inc()
	}
}

// ended counts why an HTTP/2 connection ended; errors of requests count where they are answered.
func (s *httpStats) ended(err error) {
	switch {
	case errors.Is(err, h2.ErrPrematureResets):
		s.rqPrematureResets.Inc()
	case h2.IsViolation(err):
		s.cxProtocolError.Inc()
	}
}
