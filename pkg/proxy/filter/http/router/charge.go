package httprouter

import (
	"strconv"
	"time"

	"github.com/weir-proxy/weir/pkg/proxy/http/message"
)

// sinceRequest is the time since the request was complete, 0 when it is not.
func (x *exchange) sinceRequest() time.Duration {
	info := x.s.Info
	if !x.s.Host.RequestComplete(x.s) {
		return 0
	}
	return time.Duration(info.Since(time.Now()) - info.Timing.LastDownstreamRx)
}

// spent is the time from the end of the request to that of the response, 0 when the request was not complete. The clock is
// only read when nothing else has told when the response ended.
func (x *exchange) spent() time.Duration {
	info := x.s.Info
	if end := info.Timing.LastUpstreamRx; end != 0 && info.Timing.LastDownstreamRx != 0 {
		return time.Duration(max(end-info.Timing.LastDownstreamRx, 0))
	}
	return x.sinceRequest()
}

// record counts the outcome for the cluster, the host and whom the route names beside them.
func (x *exchange) record() {
	if x.status == 0 {
		return
	}
	if x.f.cfg.DynamicStats && !x.s.Info.HealthCheck {
		x.charge(x.status, x.spent())
	}
	if x.host == nil {
		return
	}
	failed := x.status >= 500
	if x.grpc && !failed {
		failed = x.grpcFailed()
	}
	if failed {
		x.host.Stats.RqError.Add(1)
	} else {
		x.host.Stats.RqSuccess.Add(1)
	}
}

// charge counts a response by its code in every tree of statistics.
func (x *exchange) charge(status int, d time.Duration) {
	st := x.cluster.Stats()
	if x.grpc && x.f.cfg.SuppressGRPCFailureStats {
		status = 0 // counts as completed only
	}
	st.RecordResponse(status, d, x.canary)
	st.RecordOrigin(status, d, x.internal)
	x.route.CountResponse(status, d)
	if x.altStats != "" {
		x.f.alt.of(x.cluster, x.altStats).RecordResponse(status, d, x.canary)
	}
}

// chargeUnseen counts a response that nobody will see.
func (x *exchange) chargeUnseen(status int) {
	if x.f.cfg.DynamicStats {
		d, canary := x.sinceRequest(), x.canary
		x.canary = false
		x.charge(status, d)
		x.canary = canary
	}
}

// grpcFailed tells whether a gRPC response, whose HTTP status always looks well, says that the server is at fault.
func (x *exchange) grpcFailed() bool {
	status := x.s.Response.Headers.Get(message.GRPCStatus)
	if x.grpcLater {
		if !x.recv.done || x.recv.trailers == nil {
			return true
		}
		if status = x.recv.trailers.Get(message.GRPCStatus); status == "" {
			return true
		}
	}
	n, err := strconv.Atoi(status)
	return status != "" && (err != nil || grpcServerError(n))
}

// grpcServerError tells the gRPC codes that stand for an HTTP status of 500 and more (grpc/doc/statuscodes.md).
func grpcServerError(code int) bool {
	switch code {
	case 2, 4, 12, 13, 14, 15: // UNKNOWN, DEADLINE_EXCEEDED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE, DATA_LOSS
		return true
	}
	return code < 0 || code > 16
}
