package metrics

import "github.com/weir-proxy/weir/pkg/observe/stats"

// The layouts are immutable.
var (
	trafficLayout = stats.NewLayout(declareTraffic).Deferred()
	stateLayout   = stats.NewLayout(declareState)
)

// declareTraffic names what only traffic moves (ClusterTrafficStats in Envoy, which can defer them).
func declareTraffic(f *stats.Fields, m *Cluster) {
	declareConnections(f, m)
	declareRequests(f, m)
	f.Counter("bind_errors", &m.BindErrors)
	f.Counter("retry_or_shadow_abandoned", &m.RetryOrShadowAbandoned)
	f.Counter("original_dst_host_invalid", nil)
	// A stream that cannot write stops reading by itself, and what waits does so in the kernel or in one buffer of a copy: there
	// is nothing to count beyond these zeros.
	f.Counter("upstream_flow_control_paused_reading_total", nil)
	f.Counter("upstream_flow_control_resumed_reading_total", nil)
	f.Counter("upstream_flow_control_backed_up_total", nil)
	f.Counter("upstream_flow_control_drained_total", nil)
	f.Counter("upstream_internal_redirect_failed_total", &m.RedirectFailed)
	f.Counter("upstream_internal_redirect_succeeded_total", &m.RedirectSucceeded)
	// HTTP/3 and 0-RTT upstream are not there yet. Dashboards and scripts ask for them by name.
	f.Counter("upstream_cx_http3_total", nil)
	f.Counter("upstream_http3_broken", nil)
	f.Counter("upstream_cx_connect_with_0_rtt", nil)
	f.Counter("upstream_rq_0rtt", nil)
}

func declareConnections(f *stats.Fields, m *Cluster) {
	f.Counter("upstream_cx_total", &m.CxTotal)
	f.Counter("upstream_cx_http1_total", &m.CxHTTP1Total)
	f.Counter("upstream_cx_http2_total", &m.CxHTTP2Total)
	f.Counter("upstream_cx_connect_fail", &m.CxConnectFail)
	f.Counter("upstream_cx_connect_timeout", &m.CxConnectTimeout)
	f.Counter("upstream_cx_connect_attempts_exceeded", &m.CxConnectAttempts)
	f.Counter("upstream_cx_idle_timeout", &m.CxIdleTimeout)
	f.Counter("upstream_cx_max_duration_reached", &m.CxMaxDuration)
	f.Counter("upstream_cx_max_requests", &m.CxMaxRequests)
	f.Counter("upstream_cx_overflow", &m.CxOverflow)
	f.Counter("upstream_cx_pool_overflow", &m.CxPoolOverflow)
	f.Counter("upstream_cx_none_healthy", &m.CxNoneHealthy)
	f.Counter("upstream_cx_destroy", &m.CxDestroy)
	f.Counter("upstream_cx_destroy_local", &m.CxDestroyLocal)
	f.Counter("upstream_cx_destroy_remote", &m.CxDestroyRemote)
	f.Counter("upstream_cx_destroy_with_active_rq", &m.CxDestroyWithActive)
	f.Counter("upstream_cx_destroy_local_with_active_rq", &m.CxDestroyLocalWithActive)
	f.Counter("upstream_cx_destroy_remote_with_active_rq", &m.CxDestroyRemoteWithActive)
	f.Counter("upstream_cx_close_notify", &m.CxCloseNotify)
	f.Counter("upstream_cx_rx_bytes_total", &m.CxRxBytes)
	f.Counter("upstream_cx_tx_bytes_total", &m.CxTxBytes)
	f.Counter("upstream_cx_protocol_error", &m.CxProtocolError)
	f.Gauge("upstream_cx_active", &m.CxActive)
	f.Gauge("upstream_cx_rx_bytes_buffered", nil)
	f.Gauge("upstream_cx_tx_bytes_buffered", nil)
	f.Histogram("upstream_cx_connect_ms", stats.Milliseconds, &m.CxConnectMS)
	f.Histogram("upstream_cx_length_ms", stats.Milliseconds, &m.CxLengthMS)
}

func declareRequests(f *stats.Fields, m *Cluster) {
	f.Counter("upstream_rq_total", &m.RqTotal)
	f.Counter("upstream_rq_pending_total", &m.RqPendingTotal)
	f.Counter("upstream_rq_pending_overflow", &m.RqPendingOverflow)
	f.Counter("upstream_rq_pending_failure_eject", &m.RqPendingFailureEject)
	f.Counter("upstream_rq_cancelled", &m.RqCancelled)
	f.Counter("upstream_rq_maintenance_mode", &m.RqMaintenance)
	f.Counter("upstream_rq_timeout", &m.RqTimeout)
	f.Counter("upstream_rq_max_duration_reached", &m.RqMaxDuration)
	f.Counter("upstream_rq_per_try_timeout", &m.RqPerTryTimeout)
	f.Counter("upstream_rq_per_try_idle_timeout", &m.RqPerTryIdleTimeout)
	f.Counter("upstream_rq_rx_reset", &m.RqRxReset)
	f.Counter("upstream_rq_tx_reset", &m.RqTxReset)
	f.Counter("upstream_rq_retry", &m.RqRetry)
	f.Counter("upstream_rq_retry_backoff_exponential", &m.RqRetryBackoff)
	f.Counter("upstream_rq_retry_backoff_ratelimited", &m.RqRetryRatelimited)
	f.Counter("upstream_rq_retry_limit_exceeded", &m.RqRetryLimitExceeded)
	f.Counter("upstream_rq_retry_success", &m.RqRetrySuccess)
	f.Counter("upstream_rq_retry_overflow", &m.RqRetryOverflow)
	f.Counter("upstream_rq_drop_overload", &m.RqDropOverload)
	f.Gauge("upstream_rq_active", &m.RqActive)
	f.Gauge("upstream_rq_pending_active", &m.RqPendingActive)
	f.Histogram("upstream_rq_per_cx", stats.Unspecified, &m.RqPerCx)
}

// declareState names what the configuration, its endpoints and load balancing move.
func declareState(f *stats.Fields, m *Cluster) {
	f.Counter("membership_change", &m.MembershipChange)
	f.Counter("update_attempt", &m.UpdateAttempt)
	f.Counter("update_success", &m.UpdateSuccess)
	f.Counter("update_failure", &m.UpdateFailure)
	f.Counter("update_empty", &m.UpdateEmpty)
	f.Counter("update_no_rebuild", &m.UpdateNoRebuild)
	f.Counter("default.total_match_count", &m.DefaultMatch)
	f.Gauge("membership_total", &m.MembershipTotal)
	f.Gauge("membership_healthy", &m.MembershipHealthy)
	f.Gauge("membership_degraded", &m.MembershipDegraded)
	f.Gauge("membership_excluded", &m.MembershipExcluded)
	f.Gauge("max_host_weight", &m.MaxHostWeight)
	f.Counter("lb_healthy_panic", &m.LBHealthyPanic)
	f.Gauge("warming_state", nil) // a cluster that warms is not here yet
	// The subscription to the endpoints moves these two. Its assignment outlives updates of the cluster, so that none ever
	// waits for what is there already, and takes it from a cache after a timeout.
	f.Counter("assignment_stale", nil)
	f.Counter("assignment_timeout_received", nil)
	f.Counter("assignment_use_cached", nil)
	// Zone aware routing and subsets are not there yet. Dashboards and scripts ask for them by name.
	f.Counter("lb_recalculate_zone_structures", nil)
	f.Counter("lb_zone_cluster_too_small", nil)
	f.Counter("lb_zone_routing_all_directly", nil)
	f.Counter("lb_zone_routing_sampled", nil)
	f.Counter("lb_zone_routing_cross_zone", nil)
	f.Counter("lb_local_cluster_not_ok", nil)
	f.Counter("lb_zone_number_differs", nil)
	f.Counter("lb_zone_no_capacity_left", nil)
	f.Counter("lb_subsets_created", nil)
	f.Counter("lb_subsets_removed", nil)
	f.Counter("lb_subsets_selected", nil)
	f.Counter("lb_subsets_fallback", nil)
	f.Counter("lb_subsets_fallback_panic", nil)
	f.Gauge("lb_subsets_active", nil)
	f.Gauge("lb_subsets_single_host_per_subset_duplicate", nil)
	declareBreakers(f, &m.Breakers[0], "circuit_breakers.default.")
	declareBreakers(f, &m.Breakers[1], "circuit_breakers.high.")
}

func declareBreakers(f *stats.Fields, b *Breakers, prefix string) {
	f.GaugeIn(prefix, "cx_open", &b.CxOpen)
	f.GaugeIn(prefix, "cx_pool_open", &b.CxPoolOpen)
	f.GaugeIn(prefix, "rq_pending_open", &b.RqPendingOpen)
	f.GaugeIn(prefix, "rq_open", &b.RqOpen)
	f.GaugeIn(prefix, "rq_retry_open", &b.RqRetryOpen)
}
