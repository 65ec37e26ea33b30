package filter

import (
	"time"

	"github.com/weir-proxy/weir/pkg/observe/stats"
	"github.com/weir-proxy/weir/pkg/proxy/upstream/metrics"
)

// Records counts the requests of a virtual cluster (vhost.<virtual host>.vcluster.<name>.*) or of a route with a stat_prefix
// (vhost.<virtual host>.route.<prefix>.*).
type Records struct {
	*metrics.Responses
	// Name of the virtual cluster, or the stat_prefix.
	Name   string
	events [recordEvents]*stats.Counter
}

// RecordEvent is something that Records count beside responses.
type RecordEvent uint8

// Events, each a counter of the name that its comment gives.
const (
	RecordTotal              RecordEvent = iota // upstream_rq_total
	RecordRetry                                 // upstream_rq_retry
	RecordRetryLimitExceeded                    // upstream_rq_retry_limit_exceeded
	RecordRetryOverflow                         // upstream_rq_retry_overflow
	RecordRetrySuccess                          // upstream_rq_retry_success
	RecordTimeout                               // upstream_rq_timeout
	recordEvents
)

// NewRecords counts below a scope, which stays the caller's.
func NewRecords(name string, scope *stats.Scope) *Records {
	r := &Records{Responses: metrics.NewResponses(scope), Name: name}
	for event, counter := range [recordEvents]string{
		"upstream_rq_total", "upstream_rq_retry", "upstream_rq_retry_limit_exceeded", "upstream_rq_retry_overflow",
		"upstream_rq_retry_success", "upstream_rq_timeout",
	} {
		r.events[event] = scope.Counter(counter)
	}
	return r
}

// Count counts an event for the request's virtual cluster and route, where they have statistics.
func (r *Route) Count(e RecordEvent) {
	if r.VirtualCluster != nil {
		r.VirtualCluster.events[e].Inc()
	}
	if r.Records != nil {
		r.Records.events[e].Inc()
	}
}

// CountResponse counts a response that took d, like Count.
func (r *Route) CountResponse(status int, d time.Duration) {
	if r.VirtualCluster != nil {
		r.VirtualCluster.RecordResponse(status, d, false)
	}
	if r.Records != nil {
		r.Records.RecordResponse(status, d, false)
	}
}
