package udpproxy

import (
	"sync/atomic"
	"time"

	"github.com/weir-proxy/weir/pkg/observe/stats"
	"github.com/weir-proxy/weir/pkg/proxy/streaminfo"
)

// counters are udp.<stat_prefix>.*.
type counters struct {
	total, noRoute, idle                               *stats.Counter
	rxBytes, rxDatagrams, txBytes, txDatagrams, txErrs *stats.Counter
	active                                             *stats.Gauge
}

func newCounters(s *stats.Scope) counters {
	s.Counter("downstream_sess_rx_errors")     // errors of a listener's socket belong to no session here
	s.Counter("session_filter_config_missing") // there are no session filters
	return counters{
		total: s.Counter("downstream_sess_total"), noRoute: s.Counter("downstream_sess_no_route"), idle: s.Counter("idle_timeout"),
		rxBytes: s.Counter("downstream_sess_rx_bytes"), rxDatagrams: s.Counter("downstream_sess_rx_datagrams"),
		txBytes: s.Counter("downstream_sess_tx_bytes"), txDatagrams: s.Counter("downstream_sess_tx_datagrams"),
		txErrs: s.Counter("downstream_sess_tx_errors"), active: s.Gauge("downstream_sess_active"),
	}
}

// clusterCounters are cluster.<name>.udp.*.
type clusterCounters struct {
	scope                                                   *stats.Scope
	rxDatagrams, rxDropped, rxErrors, txDatagrams, txErrors *stats.Counter
}

func newClusterCounters(s *stats.Scope) *clusterCounters {
	return &clusterCounters{
		scope: s, rxDatagrams: s.Counter("sess_rx_datagrams"), rxDropped: s.Counter("sess_rx_datagrams_dropped"),
		rxErrors: s.Counter("sess_rx_errors"), txDatagrams: s.Counter("sess_tx_datagrams"), txErrors: s.Counter("sess_tx_errors"),
	}
}

// totals are what the access log of the proxy as a whole tells; those of a session have the same names.
type totals struct {
	received, sent, datagramsReceived, datagramsSent, sendErrors, noRoute, sessions, idle atomic.Uint64
}

// metadata is the dynamic metadata under the name of a kind of log.
func (t *totals) metadata() map[string]any {
	return map[string]any{
		"bytes_received": float64(t.received.Load()), "bytes_sent": float64(t.sent.Load()),
		"datagrams_received": float64(t.datagramsReceived.Load()), "datagrams_sent": float64(t.datagramsSent.Load()),
		"errors_sent": float64(t.sendErrors.Load()),
	}
}

// info is what the access log of the proxy is written from.
func (p *Proxy) info() *streaminfo.Info {
	fields := p.totals.metadata()
	fields["errors_received"] = float64(0)
	fields["no_route"] = float64(p.totals.noRoute.Load())
	fields["session_total"] = float64(p.totals.sessions.Load())
	fields["idle_timeout"] = float64(p.totals.idle.Load())
	return &streaminfo.Info{
		Conn: &streaminfo.Connection{Start: p.start, Listener: p.deps.Listener}, Start: p.start, Duration: time.Since(p.start),
		BytesReceived: p.totals.received.Load(), BytesSent: p.totals.sent.Load(), Dynamic: map[string]map[string]any{"udp.proxy.proxy": fields},
	}
}
