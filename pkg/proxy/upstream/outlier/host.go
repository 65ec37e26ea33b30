package outlier

import (
	"math"
	"sync/atomic"
	"time"
)

// Host is what is known of one host. A nil *Host knows nothing, and is never ejected.
type Host struct {
	// Owner is what the host stands for.
	Owner any

	d       *Detector
	ejected atomic.Bool
	// errors in a row
	consecutive5xx, gateway, way atomic.Uint32
	// seen is the traffic of the present interval by origin, rate the success rate of the last one, as bits of a float64.
	seen [origins]traffic
	rate [origins]atomic.Uint64

	// Detector.mu guards what follows.
	ejections         uint32
	backoff           uint32 // ejections that the next one's length goes by
	jitter            time.Duration
	ejectedAt, backAt time.Time // zero for never
}

// traffic counts the requests of an interval.
type traffic struct{ total, ok atomic.Uint64 }

// noRate is the bits of -1: there were too few requests.
var noRate = math.Float64bits(-1)

// Result is what became of an attempt to reach a host, other than the status of its answer.
type Result uint8

// Results.
const (
	// Connected: a connection was made, on which an answer is awaited.
	Connected Result = iota
	// ConnectedFinally: a connection was made, and nothing else will be reported.
	ConnectedFinally
	// ConnectFailed: no connection could be made, or it ended before an answer.
	ConnectFailed
	// TimedOut: there was no connection, or no answer, in time.
	TimedOut
)

// What a result stands for where origins are not kept apart.
var statuses = [...]int{Connected: 0, ConnectedFinally: 200, ConnectFailed: 503, TimedOut: 504}

// Put reports a result.
func (h *Host) Put(r Result) { h.PutInstead(r, statuses[r]) }

// PutInstead is Put with the status that the result stands for where origins are not kept apart.
func (h *Host) PutInstead(r Result, status int) {
	switch {
	case h == nil:
	case !h.d.Config().SplitLocalOrigin:
		if status != 0 {
			h.PutStatus(status)
		}
	case r == Connected || r == ConnectedFinally:
		h.seen[local].count(1, true)
		h.way.Store(0)
	default:
		h.seen[local].count(1, false)
		h.inARow(&h.way, ConsecutiveLocalOrigin)
	}
}

// PutStatus reports the status of an answer (RFC 9110 section 15).
func (h *Host) PutStatus(status int) {
	if h == nil {
		return
	}
	failed := status >= 500 && status < 600
	h.seen[external].count(1, !failed)
	if !failed {
		if h.consecutive5xx.Load() != 0 {
			h.consecutive5xx.Store(0)
		}
		if h.gateway.Load() != 0 {
			h.gateway.Store(0)
		}
		return
	}
	if status >= 502 && status <= 504 {
		h.inARow(&h.gateway, ConsecutiveGatewayFailure)
	} else {
		h.gateway.Store(0)
	}
	h.inARow(&h.consecutive5xx, Consecutive5xx)
}

// PutMany reports so many connections that were made and that failed, of which only the numbers are known: they count as failed
// in a row when none was made.
func (h *Host) PutMany(made, failed int) {
	switch {
	case h == nil || made+failed == 0:
	case made == 0:
		for range failed {
			h.Put(ConnectFailed)
		}
	default:
		o := external
		if h.d.Config().SplitLocalOrigin {
			o = local
		}
		h.seen[o].count(uint64(made-1), true)
		h.seen[o].count(uint64(failed), false)
		h.Put(ConnectedFinally)
	}
}

func (t *traffic) count(n uint64, ok bool) {
	if ok {
		t.ok.Add(n)
	}
	t.total.Add(n)
}

// inARow counts an error, and has the host ejected when it is one too many.
func (h *Host) inARow(n *atomic.Uint32, r Reason) {
	if uint64(n.Add(1)) == h.d.number(reasons[r].threshold, h.d.limit(r)) {
		h.d.consecutive(h, r)
	}
}

// Ejected tells whether the host is out.
func (h *Host) Ejected() bool { return h != nil && h.ejected.Load() }

// SuccessRates are the host's success rates in the last interval, of what it answered and of what happened on the way to it, in
// percent; -1 when it had too few requests.
func (h *Host) SuccessRates() (answers, way float64) {
	if h == nil {
		return -1, -1
	}
	return math.Float64frombits(h.rate[external].Load()), math.Float64frombits(h.rate[local].Load())
}

// Passed reports that the host has passed an active health check, which lets it back unless that was configured away.
func (h *Host) Passed() {
	if h.Ejected() && !h.d.Config().KeepOnHealthCheck {
		h.d.letBack(h)
	}
}

// Remove ends that the host is watched. Results that are reported later come to nothing.
func (h *Host) Remove() {
	h.d.mu.Lock()
	defer h.d.mu.Unlock()
	h.d.forget(h)
}

// forgive starts the counts of errors in a row anew.
func (h *Host) forgive() {
	h.consecutive5xx.Store(0)
	h.gateway.Store(0)
	h.way.Store(0)
}
