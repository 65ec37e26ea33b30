package httprouter

import (
	"strconv"
	"time"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/observe/format"
	"github.com/weir-proxy/weir/pkg/proxy/filter"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
	"github.com/weir-proxy/weir/pkg/proxy/streaminfo"
)

// timeouts bound an exchange; 0 is unlimited.
type timeouts struct {
	// global runs from the end of the request, over all attempts.
	global time.Duration
	// perTry and perTryIdle run once the request is complete and the attempt has a connection: perTry until the head of the
	// response, perTryIdle between any two parts of it, without the time that the downstream takes to receive them.
	perTry, perTryIdle time.Duration
	// life bounds an attempt from the moment it has a connection until its response is complete: the cluster's
	// max_stream_duration.
	life time.Duration
}

// takeTimeouts works out the timeouts from the route and the request's x-envoy headers, removes those headers and tells
// the upstream how long it has.
func (f *Filter) takeTimeouts(s *filter.Stream, a *model.RouteAction, retry *model.RetryPolicy) timeouts {
	h := &s.Request.Headers
	t := timeouts{global: a.Timeout}
	if retry != nil {
		t.perTry, t.perTryIdle = retry.PerTryTimeout, retry.PerTryIdleTimeout
	}
	switch {
	case a.StreamTimeouts: // the connection manager bounds the stream instead
		t.global = 0
	case a.GRPCTimeoutMax >= 0 && format.IsGRPC(h.Get(message.ContentType)):
		t.global = grpcTimeout(h.Get(message.GRPCTimeout), a)
	}
	expected, ok := time.Duration(0), false
	if f.cfg.RespectExpectedTimeout {
		expected, ok = milliseconds(h, message.XEnvoyExpectedRQTimeoutMS)
	}
	if ok {
		t.global = expected
		h.DelID(message.XEnvoyUpstreamRQTimeoutMS)
	} else if d, ok := milliseconds(h, message.XEnvoyUpstreamRQTimeoutMS); ok {
		t.global = d
	}
	if d, ok := milliseconds(h, message.XEnvoyUpstreamRQPerTryTimeoutMS); ok {
		t.perTry = d
	}
	h.DelID(message.XEnvoyUpstreamRQTimeoutMS)
	h.DelID(message.XEnvoyUpstreamRQPerTryTimeoutMS)
	if t.global > 0 && t.perTry >= t.global {
		t.perTry = 0
	}
	left := t.global
	if t.perTry > 0 {
		left = t.perTry
	}
	if left > 0 && !f.cfg.SuppressEnvoyHeaders {
		h.SetID(message.XEnvoyExpectedRQTimeoutMS, s.Arena.Int(left.Milliseconds()))
	}
	return t
}

func milliseconds(h *message.Headers, id message.ID) (time.Duration, bool) {
	v := h.Get(id)
	if v == "" {
		return 0, false
	}
	n, err := strconv.ParseUint(v, 10, 32)
	if err != nil {
		return 0, false
	}
	return time.Duration(n) * time.Millisecond, true
}

// grpcTimeout bounds the client's grpc-timeout by the route's maximum and takes its offset off; 0 is unlimited.
func grpcTimeout(header string, a *model.RouteAction) time.Duration {
	t, ok := format.GRPCTimeout(header)
	if !ok {
		t = 0
	}
	if t > 0 && a.GRPCTimeoutOffset > 0 && a.GRPCTimeoutOffset < t {
		t -= a.GRPCTimeoutOffset
	}
	if max := a.GRPCTimeoutMax; max > 0 && (t == 0 || t > max) {
		t = max
	}
	return t
}

// checkStrictly answers a request with a bad value in one of the strictly checked headers; nil when all are fine.
func (f *Filter) checkStrictly(s *filter.Stream) *message.Response {
	for _, id := range f.cfg.StrictCheckHeaders {
		v := s.Request.Headers.Get(id)
		if v == "" {
			continue
		}
		ok := true
		switch id {
		case message.XEnvoyRetryOn, message.XEnvoyRetryGRPCOn:
			_, ok = parseRetryOn(v)
		default:
			_, err := strconv.ParseUint(v, 10, 32)
			ok = err == nil
		}
		if !ok {
			return s.Reply(filter.Reply{
				Status: 400, Details: "request_headers_failed_strict_check", Flags: streaminfo.InvalidEnvoyRequestHeaders,
				Body: "invalid header '" + id.Name() + "' with value '" + v + "'",
			})
		}
	}
	return nil
}
