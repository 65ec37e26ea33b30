package tcpproxy

import "github.com/weir-proxy/weir/pkg/observe/stats"

// counters are tcp.<stat_prefix>.*.
type counters struct {
	total, noRoute, rx, tx, idle, maxDuration *stats.Counter
}

func newCounters(s *stats.Scope) counters {
	// Bytes wait in sockets and pipes of the kernel, and reading stops by itself.
	s.Gauge("downstream_cx_rx_bytes_buffered").Set(0)
	s.Gauge("downstream_cx_tx_bytes_buffered").Set(0)
	s.Counter("downstream_flow_control_paused_reading_total")
	s.Counter("downstream_flow_control_resumed_reading_total")
	s.Counter("early_data_received_count_total")
	// What a client has sent is with the upstream's socket before its end is noticed: nothing is left to be flushed afterwards.
	s.Counter("upstream_flush_total")
	s.Gauge("upstream_flush_active")
	return counters{
		total: s.Counter("downstream_cx_total"), noRoute: s.Counter("downstream_cx_no_route"),
		rx: s.Counter("downstream_cx_rx_bytes_total"), tx: s.Counter("downstream_cx_tx_bytes_total"),
		idle: s.Counter("idle_timeout"), maxDuration: s.Counter("max_downstream_connection_duration"),
	}
}
