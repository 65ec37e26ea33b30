// Package metrics holds the statistics of a cluster under Envoy's names.
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
	RedirectFailed, RedirectSucceeded                      *stats.Counter
	MembershipChange, UpdateAttempt, UpdateSuccess         *stats.Counter
	UpdateFailure, UpdateEmpty, UpdateNoRebuild            *stats.Counter
	LBHealthyPanic, DefaultMatch                           *stats.Counter
	CxActive, RqActive, RqPendingActive                    *stats.Gauge
	MembershipTotal, MembershipHealthy, MembershipDegraded *stats.Gauge
	MembershipExcluded, MaxHostWeight                      *stats.Gauge
	CxConnectMS, CxLengthMS, RqPerCx                       *stats.Histogram
	// Breakers are by priority: default, then high.
	Breakers [2]Breakers
}

// Breakers are the gauges of the circuit breakers of a priority: 1 where the limit is reached.
type Breakers struct {
	CxOpen, CxPoolOpen, RqPendingOpen, RqOpen, RqRetryOpen *stats.Gauge
}

// NewCluster registers the statistics in the scope "cluster.<name>.", which it owns from then on.
func NewCluster(scope *stats.Scope) *Cluster {
	m := &Cluster{scope: scope, Responses: Responses{scope: scope}}
	trafficLayout.Fill(scope, m)
	stateLayout.Fill(scope, m)
	return m
}

// Scope is the scope "cluster.<name>.", for statistics that only some feature needs.
func (m *Cluster) Scope() *stats.Scope { return m.scope }

// Close gives the statistics up; the pointers go on working.
func (m *Cluster) Close() { m.scope.Close() }
