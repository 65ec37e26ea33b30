package httprouter

import (
	"strconv"

	"github.com/weir-proxy/weir/pkg/proxy/http/message"
	"github.com/weir-proxy/weir/pkg/proxy/upstream"
	"github.com/weir-proxy/weir/pkg/proxy/upstream/outlier"
)

// praise reports the head of a response to outlier detection, which judges it.
func (x *exchange) praise() {
	host := x.host.Outlier
	if host == nil {
		return
	}
	host.Put(outlier.Connected)
	status := x.s.Response.Status
	if x.grpc {
		if code, err := strconv.Atoi(x.s.Response.Headers.Get(message.GRPCStatus)); err == nil {
			status = grpcToHTTP(code)
		}
	}
	host.PutStatus(status)
}

// blame reports an attempt that ended before a response was complete to outlier detection. sent tells that there was a connection.
func (x *exchange) blame(e *upstream.Error, sent bool) { x.blameHost(x.host, e, sent) }

// blameHost is blame for an attempt at a host.
func (x *exchange) blameHost(h *upstream.Host, e *upstream.Error, sent bool) {
	if h == nil || h.Outlier == nil {
		return
	}
	host := h.Outlier
	switch e.Kind {
	case upstream.KindTimeout, upstream.KindPerTryTimeout:
		if sent {
			host.Put(outlier.Connected)
		}
		host.PutInstead(outlier.TimedOut, x.timeoutStatus())
	case upstream.KindConnect, upstream.KindConnectTimeout, upstream.KindLocal:
		host.Put(outlier.ConnectFailed)
	case upstream.KindTermination, upstream.KindRemoteReset, upstream.KindRefusedStream, upstream.KindProtocol:
		host.Put(outlier.Connected)
		host.Put(outlier.ConnectFailed)
	}
}

// timeoutStatus is what the client is answered when the upstream is too slow.
func (x *exchange) timeoutStatus() int {
	if x.altCode {
		return 204
	}
	return 504
}

// grpcToHTTP is the HTTP status that a gRPC status stands for, as Envoy has it.
func grpcToHTTP(code int) int {
	if code < 0 || code >= len(grpcStatuses) {
		return 500
	}
	return grpcStatuses[code]
}

var grpcStatuses = [...]int{
	0:  200, // OK
	1:  499, // CANCELLED
	2:  500, // UNKNOWN
	3:  400, // INVALID_ARGUMENT
	4:  504, // DEADLINE_EXCEEDED
	5:  404, // NOT_FOUND
	6:  409, // ALREADY_EXISTS
	7:  403, // PERMISSION_DENIED
	8:  429, // RESOURCE_EXHAUSTED
	9:  400, // FAILED_PRECONDITION
	10: 409, // ABORTED
	11: 400, // OUT_OF_RANGE
	12: 501, // UNIMPLEMENTED
	13: 500, // INTERNAL
	14: 503, // UNAVAILABLE
	15: 500, // DATA_LOSS
	16: 401, // UNAUTHENTICATED
}
