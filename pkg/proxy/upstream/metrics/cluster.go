// Package metrics holds the statistics of a cluster under Envoy's names, looked up once.
//
// It owns names and nothing else. It must not know hosts, connections or requests. All methods are safe for concurrent
// use; recording a response code takes a lock only the first time that a code occurs.
package metrics

import (
	"github.com/weir-proxy/weir/pkg/observe/stats"
)

// Cluster holds the statistics of one cluster (cluster.<name>.*).
type Cluster struct {
	Responses
	scope    *stats.Scope
	optional optional

	CxTotal, CxHTTP1Total, CxHTTP2Total                    *stats.Counter
	CxConnectFail, CxConnectTimeout, CxConnectAttempts     *stats.Counter
	CxIdleTimeout, CxMaxDuration, CxMaxRequests            *stats.Counter
	CxOverflow, CxPoolOverflow, CxNoneHealthy              *stats.Counter
	CxDestroy, CxDestroyLocal, CxDestroyRemote             *stats.Counter
	CxDestroyWithActive, CxDestroyLocalWithActive          *stats.Counter
	CxDestroyRemoteWithActive, CxCloseNotify               *stats.Counter
	CxRxBytes, CxTxBytes, CxProtocolError, BindErrors      *stats.Counter
	RqTotal, RqPendingTotal, RqPendingOverflow             *stats.Counter
	RqPendingFailureEject, RqCancelled, RqMaintenance      *stats.Counter
	RqTimeout, RqMaxDuration, RqPerTryTimeout              *stats.Counter
	RqPerTryIdleTimeout, RqRxReset, RqTxReset              *stats.Counter
	RqRetry, RqRetryBackoff, RqRetryRatelimited            *stats.Counter
	RqRetryLimitExceeded, RqRetrySuccess, RqRetryOverflow  *stats.Counter
	RqDropOverload, RetryOrShadowAbandoned                 *stats.Counter
	FlowPaused, FlowResumed, FlowBackedUp, FlowDrained     *stats.Counter
	RedirectFailed, RedirectSucceeded                      *stats.Counter
	MembershipChange, UpdateAttempt, UpdateSuccess         *stats.Counter
	UpdateFailure, UpdateEmpty, UpdateNoRebuild            *stats.Counter
	LBHealthyPanic, OriginalDstHostInvalid                 *stats.Counter
	CxActive, RqActive, RqPendingActive                    *stats.Gauge
	CxRxBuffered, CxTxBuffered                             *stats.Gauge
	MembershipTotal, MembershipHealthy, MembershipDegraded *stats.Gauge
	MembershipExcluded, MaxHostWeight                      *stats.Gauge
	CxConnectMS, CxLengthMS, RqPerCx                       *stats.Histogram
}

// NewCluster looks the statistics up in the scope "cluster.<name>.", which it owns from then on.
func NewCluster(scope *stats.Scope) *Cluster {
	m := &Cluster{scope: scope, Responses: Responses{scope: scope}}
	counters := map[string]**stats.Counter{
		"upstream_cx_total": &m.CxTotal, "upstream_cx_http1_total": &m.CxHTTP1Total, "upstream_cx_http2_total": &m.CxHTTP2Total,
		"upstream_cx_connect_fail": &m.CxConnectFail, "upstream_cx_connect_timeout": &m.CxConnectTimeout,
		"upstream_cx_connect_attempts_exceeded": &m.CxConnectAttempts, "upstream_cx_idle_timeout": &m.CxIdleTimeout,
		"upstream_cx_max_duration_reached": &m.CxMaxDuration, "upstream_cx_max_requests": &m.CxMaxRequests,
		"upstream_cx_overflow": &m.CxOverflow, "upstream_cx_pool_overflow": &m.CxPoolOverflow,
		"upstream_cx_none_healthy": &m.CxNoneHealthy, "upstream_cx_destroy": &m.CxDestroy,
		"upstream_cx_destroy_local": &m.CxDestroyLocal, "upstream_cx_destroy_remote": &m.CxDestroyRemote,
		"upstream_cx_destroy_with_active_rq":        &m.CxDestroyWithActive,
		"upstream_cx_destroy_local_with_active_rq":  &m.CxDestroyLocalWithActive,
		"upstream_cx_destroy_remote_with_active_rq": &m.CxDestroyRemoteWithActive,
		"upstream_cx_close_notify":                  &m.CxCloseNotify, "upstream_cx_rx_bytes_total": &m.CxRxBytes,
		"upstream_cx_tx_bytes_total": &m.CxTxBytes, "upstream_cx_protocol_error": &m.CxProtocolError, "bind_errors": &m.BindErrors,
		"upstream_rq_total": &m.RqTotal, "upstream_rq_pending_total": &m.RqPendingTotal,
		"upstream_rq_pending_overflow": &m.RqPendingOverflow, "upstream_rq_pending_failure_eject": &m.RqPendingFailureEject,
		"upstream_rq_cancelled": &m.RqCancelled, "upstream_rq_maintenance_mode": &m.RqMaintenance,
		"upstream_rq_timeout": &m.RqTimeout, "upstream_rq_max_duration_reached": &m.RqMaxDuration,
		"upstream_rq_per_try_timeout": &m.RqPerTryTimeout, "upstream_rq_per_try_idle_timeout": &m.RqPerTryIdleTimeout,
		"upstream_rq_rx_reset": &m.RqRxReset, "upstream_rq_tx_reset": &m.RqTxReset, "upstream_rq_retry": &m.RqRetry,
		"upstream_rq_retry_backoff_exponential": &m.RqRetryBackoff, "upstream_rq_retry_backoff_ratelimited": &m.RqRetryRatelimited,
		"upstream_rq_retry_limit_exceeded": &m.RqRetryLimitExceeded, "upstream_rq_retry_success": &m.RqRetrySuccess,
		"upstream_rq_retry_overflow": &m.RqRetryOverflow, "upstream_rq_drop_overload": &m.RqDropOverload,
		"retry_or_shadow_abandoned":                   &m.RetryOrShadowAbandoned,
		"upstream_flow_control_paused_reading_total":  &m.FlowPaused,
		"upstream_flow_control_resumed_reading_total": &m.FlowResumed,
		"upstream_flow_control_backed_up_total":       &m.FlowBackedUp,
		"upstream_flow_control_drained_total":         &m.FlowDrained,
		"upstream_internal_redirect_failed_total":     &m.RedirectFailed,
		"upstream_internal_redirect_succeeded_total":  &m.RedirectSucceeded,
		"membership_change":                           &m.MembershipChange, "update_attempt": &m.UpdateAttempt, "update_success": &m.UpdateSuccess,
		"update_failure": &m.UpdateFailure, "update_empty": &m.UpdateEmpty, "update_no_rebuild": &m.UpdateNoRebuild,
		"lb_healthy_panic": &m.LBHealthyPanic, "original_dst_host_invalid": &m.OriginalDstHostInvalid,
	}
	for name, field := range counters {
		*field = scope.Counter(name)
	}
	gauges := map[string]**stats.Gauge{
		"upstream_cx_active": &m.CxActive, "upstream_rq_active": &m.RqActive, "upstream_rq_pending_active": &m.RqPendingActive,
		"upstream_cx_rx_bytes_buffered": &m.CxRxBuffered, "upstream_cx_tx_bytes_buffered": &m.CxTxBuffered,
		"membership_total": &m.MembershipTotal, "membership_healthy": &m.MembershipHealthy,
		"membership_degraded": &m.MembershipDegraded, "membership_excluded": &m.MembershipExcluded,
		"max_host_weight": &m.MaxHostWeight,
	}
	for name, field := range gauges {
		*field = scope.Gauge(name)
	}
	idle(scope)
	m.CxConnectMS = scope.Histogram("upstream_cx_connect_ms", stats.Milliseconds)
	m.CxLengthMS = scope.Histogram("upstream_cx_length_ms", stats.Milliseconds)
	m.RqPerCx = scope.Histogram("upstream_rq_per_cx", stats.Unspecified)
	return m
}

// Scope is the scope "cluster.<name>.", for statistics that only some feature needs.
func (m *Cluster) Scope() *stats.Scope { return m.scope }

// Close gives the statistics up; the pointers go on working.
func (m *Cluster) Close() { m.scope.Close() }
