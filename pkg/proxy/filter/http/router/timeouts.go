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
	// life bounds an attempt from the moment it has a connection until its response is complete.
	life time.Duration
	// hedge lets an attempt go on after perTry, beside the next one.
	hedge bool
	// rewriteGRPC tells the upstream its time in grpc-timeout too.
	rewriteGRPC bool
}

// takeTimeouts works out the timeouts from the route and the request's x-envoy headers, removes those headers and tells
// the upstream how long it has.
func (f *Filter) takeTimeouts(s *filter.Stream, rt *filter.Route, retry *model.RetryPolicy, asked controls) timeouts {
	a := rt.Route.Action
	t := timeouts{global: a.Timeout}
	if retry != nil {
		t.perTry, t.perTryIdle = retry.PerTryTimeout, retry.PerTryIdleTimeout
	}
	if hp := a.Hedge; hp != nil {
		t.hedge = hp.OnPerTryTimeout
	} else if hp := rt.VirtualHost.Hedge; hp != nil {
		t.hedge = hp.OnPerTryTimeout
	}
	switch {
	case a.StreamTimeouts: // the connection manager bounds the stream instead
		t.global = 0
	case asked.grpc && a.GRPCTimeoutMax >= 0:
		t.global = grpcTimeout(s.Request.Headers.Get(message.GRPCTimeout), a)
		t.rewriteGRPC = true
	}
	if asked.set&timeoutControls != 0 {
		f.askedTimeouts(&s.Request.Headers, &t)
	}
	if t.global > 0 && t.perTry >= t.global {
		t.perTry = 0
	}
	t.hedge = t.hedge && t.perTry > 0
	t.tell(s, 0, !f.cfg.SuppressEnvoyHeaders)
	return t
}

// askedTimeouts takes the timeouts that the request's headers ask for, and removes those headers.
func (f *Filter) askedTimeouts(h *message.Headers, t *timeouts) {
	expected, ok := time.Duration(0), false
	if f.cfg.RespectExpectedTimeout {
		expected, ok = milliseconds(h, message.XEnvoyExpectedRQTimeoutMS)
	}
	if ok {
		t.global = expected
	} else if d, ok := milliseconds(h, message.XEnvoyUpstreamRQTimeoutMS); ok {
		t.global = d
	}
	if d, ok := milliseconds(h, message.XEnvoyUpstreamRQPerTryTimeoutMS); ok {
		t.perTry = d
	}
	if d, ok := milliseconds(h, message.XEnvoyUpstreamStreamDurationMS); ok {
		t.life = d
	}
	switch h.Get(message.XEnvoyHedgeOnPerTryTimeout) {
	case "true":
		t.hedge = true
	case "false":
		t.hedge = false
	}
	for _, id := range [...]message.ID{
		message.XEnvoyUpstreamRQTimeoutMS, message.XEnvoyUpstreamRQPerTryTimeoutMS, message.XEnvoyUpstreamStreamDurationMS,
		message.XEnvoyHedgeOnPerTryTimeout,
	} {
		h.DelID(id)
	}
}

// tell lets the upstream know how long it has, when that is bounded: the time of the attempt, or else what is left of the
// whole after elapsed.
func (t *timeouts) tell(s *filter.Stream, elapsed time.Duration, header bool) {
	left := t.perTry
	if left == 0 || t.hedge {
		left = t.global
	}
	if left == 0 {
		return
	}
	if t.global > 0 {
		// 0 would be unlimited; the timer is about to fire.
		left = max(min(left, t.global-elapsed), time.Millisecond)
	}
	h := &s.Request.Headers
	if header {
		h.SetID(message.XEnvoyExpectedRQTimeoutMS, s.Arena.Int(left.Milliseconds()))
	}
	if t.rewriteGRPC {
		h.SetID(message.GRPCTimeout, s.Arena.End(appendGRPCTimeout(s.Arena.Begin(), left)))
	}
}

// appendGRPCTimeout renders a timeout of at least 1 ms in the finest unit of at least milliseconds that eight digits can
// hold (gRPC over HTTP/2: Timeout).
func appendGRPCTimeout(dst []byte, d time.Duration) []byte {
	const most = 99_999_999
	n, unit := d.Milliseconds(), byte('m')
	for _, next := range [...]struct {
		factor int64
		unit   byte
	}{{1000, 'S'}, {60, 'M'}, {60, 'H'}} {
		if n <= most {
			break
		}
		n, unit = n/next.factor, next.unit
	}
	return append(strconv.AppendInt(dst, min(n, most), 10), unit)
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
