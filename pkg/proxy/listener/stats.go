package listener

import "github.com/weir-proxy/weir/pkg/observe/stats"

// managerStats are listener_manager.*, and weir's own reasons for closing connections under weir.listener.*.
type managerStats struct {
	added, modified, removed, stopped, success, failure, inPlace    *stats.Counter
	active, draining, chainsDraining                                *stats.Gauge
	noOriginalDst, noListener, panics, acceptErrors, globalOverflow *stats.Counter
	loops                                                           *stats.Counter
}

func newManagerStats(root *stats.Scope) *managerStats {
	s, w := root.Scope("listener_manager"), root.Scope("weir.listener")
	s.Gauge("total_listeners_warming").Set(0)
	return &managerStats{
		added: s.Counter("listener_added"), modified: s.Counter("listener_modified"), removed: s.Counter("listener_removed"),
		stopped: s.Counter("listener_stopped"), success: s.Counter("listener_create_success"),
		failure: s.Counter("listener_create_failure"), inPlace: s.Counter("listener_in_place_updated"),
		active: s.Gauge("total_listeners_active"), draining: s.Gauge("total_listeners_draining"),
		chainsDraining: s.Gauge("total_filter_chains_draining"),
		noOriginalDst:  w.Counter("captured_without_original_dst"), noListener: w.Counter("captured_without_listener"),
		loops:  w.Counter("captured_from_self"),
		panics: w.Counter("filter_panic"), acceptErrors: w.Counter("accept_error"),
		globalOverflow: w.Counter("downstream_global_cx_overflow"),
	}
}

// listenerStats are listener.<address>.*.
type listenerStats struct {
	scope                                                        *stats.Scope
	total, destroy, overflow, globalOverflow, noChain            *stats.Counter
	preTimeout, handshakeTimeout, filterError, filterRemoteClose *stats.Counter
	configMissing, networkConfigMissing                          *stats.Counter
	active, preActive                                            *stats.Gauge
	length                                                       *stats.Histogram
}

func newListenerStats(root *stats.Scope, prefix string) *listenerStats {
	s := root.Scope("listener." + prefix)
	s.Counter("downstream_cx_overload_reject") // there is no overload manager yet
	return &listenerStats{
		scope: s, total: s.Counter("downstream_cx_total"), destroy: s.Counter("downstream_cx_destroy"),
		overflow: s.Counter("downstream_cx_overflow"), globalOverflow: s.Counter("downstream_global_cx_overflow"),
		noChain: s.Counter("no_filter_chain_match"), preTimeout: s.Counter("downstream_pre_cx_timeout"),
		handshakeTimeout:  s.Counter("downstream_cx_transport_socket_connect_timeout"),
		filterError:       s.Counter("downstream_listener_filter_error"),
		filterRemoteClose: s.Counter("downstream_listener_filter_remote_close"),
		active:            s.Gauge("downstream_cx_active"),
		configMissing:     s.Counter("extension_config_missing"), networkConfigMissing: s.Counter("network_extension_config_missing"),
		preActive: s.Gauge("downstream_pre_cx_active"),
		length:    s.Histogram("downstream_cx_length_ms", stats.Milliseconds),
	}
}
