package httprouter

import (
	"net/netip"
	"strings"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/filter"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
	"github.com/weir-proxy/weir/pkg/proxy/router"
	"github.com/weir-proxy/weir/pkg/proxy/streaminfo"
	"github.com/weir-proxy/weir/pkg/proxy/upstream"
)

type flags = streaminfo.Flags

const (
	limitExceeded = streaminfo.UpstreamRetryLimitExceeded
	overflow      = streaminfo.UpstreamOverflow
)

func setHost(s *filter.Stream, to string, appendXFH bool) { router.SetHost(s, to, appendXFH) }

// originalDst is the destination that an ORIGINAL_DST cluster connects to.
func originalDst(s *filter.Stream, cfg *model.Cluster) netip.AddrPort {
	if cfg.Type != model.ClusterOriginalDst {
		return netip.AddrPort{}
	}
	if cfg.OriginalDst.UseHTTPHeader {
		if v, ok := s.Request.Lookup(originalDstHeader(cfg)); ok {
			if a, err := netip.ParseAddrPort(v); err == nil {
				return a
			}
		}
	}
	if s.Info.Conn == nil {
		return netip.AddrPort{}
	}
	return s.Info.Conn.OriginalDst
}

// respond prepares the upstream's response for the downstream. The error is errRestart for a redirect that is followed here.
func (x *exchange) respond() (*message.Response, error) {
	s, resp := x.s, x.s.Response
	a := x.route.Route.Action
	h := &resp.Headers
	if x.retry.done > 0 && !x.retry.wantsResponse(resp) {
		x.cluster.Stats().RqRetrySuccess.Inc()
		x.route.Count(filter.RecordRetrySuccess)
	}
	x.status, x.canary = resp.Status, h.Get(message.XEnvoyUpstreamCanary) == "true"
	if x.host != nil && x.host.FailHealthCheck != nil && h.Has(message.XEnvoyImmediateHealthCheckFail) {
		x.host.FailHealthCheck()
	}
	if a.InternalRedirect != nil && x.follows(a.InternalRedirect, resp) {
		return nil, errRestart
	}
	s.Info.Details = "via_upstream"
	if !x.f.cfg.SuppressEnvoyHeaders && s.Host.RequestComplete(s) {
		ms := (s.Info.Timing.FirstUpstreamRx - s.Info.Timing.LastDownstreamRx) / 1e6
		h.SetID(message.XEnvoyUpstreamServiceTime, s.Arena.Int(max(ms, 0)))
	}
	if x.route.VirtualHost.IncludeAttemptCountInResponse {
		h.SetID(message.XEnvoyAttemptCount, s.Arena.Int(int64(x.attempts)))
	}
	for _, c := range x.cookies {
		h.AddID(message.SetCookie, c)
	}
	s.Info.ResponseCode = resp.Status // for %RESPONSE_CODE% in what is added; nothing was sent yet
	x.route.Rules.FinalizeResponse(s, &x.route, resp)
	s.Info.ResponseCode = 0
	x.grpcLater = x.grpc && resp.Body != nil && !h.Has(message.GRPCStatus)
	if resp.Body == nil {
		s.Info.Timing.LastUpstreamRx = s.Info.Timing.FirstUpstreamRx
		x.disarm(&x.global)
		return resp, nil
	}
	x.recv.begin(resp.Body)
	resp.Body = &x.recv
	return resp, nil
}

// noteReset counts an attempt that ended without response.
func (x *exchange) noteReset(e *upstream.Error) {
	st := x.cluster.Stats()
	switch e.Kind {
	case upstream.KindTimeout:
		st.RqTimeout.Inc()
		x.route.Count(filter.RecordTimeout)
	case upstream.KindPerTryTimeout:
		if e == errPerTryIdle {
			st.RqPerTryIdleTimeout.Inc()
		} else {
			st.RqPerTryTimeout.Inc()
		}
	case upstream.KindMaxDuration:
		st.RqMaxDuration.Inc()
		st.RqTxReset.Inc()
	case upstream.KindTermination, upstream.KindRemoteReset, upstream.KindRefusedStream:
		st.RqRxReset.Inc()
	case upstream.KindProtocol:
		st.CxProtocolError.Inc()
		st.RqTxReset.Inc()
	}
	if x.host != nil && (e.Kind == upstream.KindTimeout || e.Kind == upstream.KindPerTryTimeout) {
		x.host.Stats.RqTimeout.Add(1)
		st.RqTxReset.Inc()
	}
	x.s.Info.Upstream.TransportFailure = e.Transport
}

// answer is the reply to a request that no upstream answered.
func (x *exchange) answer(e *upstream.Error) *message.Response {
	s := x.s
	x.disarm(&x.global)
	r := filter.Reply{Status: 503, Flags: e.Flag()}
	switch e.Kind {
	case upstream.KindNoHost:
		r.Body, r.Details = "no healthy upstream", "no_healthy_upstream"
	case upstream.KindTimeout, upstream.KindPerTryTimeout:
		r.Status, r.Body, r.Details = 504, "upstream request timeout", timeoutDetails(e)
		if x.altCode {
			r.Status, r.Body = 204, ""
		}
	case upstream.KindMaxDuration:
		r.Status, r.Body, r.Details = 408, e.Reason(), maxDurationDetails
		if s.Host.RequestComplete(s) { // then it is not the client that is late
			r.Status = 504
		}
	default:
		x.describeReset(e, &r)
	}
	x.status = r.Status
	if x.route.VirtualHost.IncludeAttemptCountInResponse {
		modify, n := r.Modify, s.Arena.Int(int64(x.attempts))
		r.Modify = func(resp *message.Response) {
			resp.Headers.SetID(message.XEnvoyAttemptCount, n)
			if modify != nil {
				modify(resp)
			}
		}
	}
	return s.Reply(r)
}

// describeReset words the reply to a reset as Envoy does.
func (x *exchange) describeReset(e *upstream.Error, r *filter.Reply) {
	if e.Kind == upstream.KindProtocol {
		r.Status = 502
	}
	if e.Kind == upstream.KindOverflow {
		r.Modify = x.f.mark(markOverloaded)
	}
	retried, transport, detail := "", "", ""
	if x.attempts > 1 {
		retried = "retried and the latest "
	}
	if e.Transport != "" {
		transport, detail = ", transport failure reason: "+e.Transport, "|"+e.Transport
	}
	r.Body = "upstream connect error or disconnect/reset before headers. " + retried + "reset reason: " + e.Reason() + transport
	r.Details = unspaced("upstream_reset_before_response_started{" + e.Reason() + detail + "}")
}

func unspaced(s string) string { return strings.ReplaceAll(s, " ", "_") }

// broken notes that the response ended before it was complete.
func (x *exchange) broken(err error) {
	bad := asUpstream(err)
	if cause := x.unblock(); cause != nil {
		bad = asUpstream(cause)
	}
	if bad.Kind == upstream.KindAborted {
		return
	}
	x.noteReset(bad)
	if bad.Kind != upstream.KindTimeout { // who has begun to answer in time has done well, as in Envoy
		x.blame(bad, true)
	}
	x.f.stats.resetAfterStart.Inc()
	x.s.Info.Flags |= bad.Flag()
	x.s.Info.Details = unspaced("upstream_reset_after_response_started{" + bad.Reason() + "}")
	switch {
	case bad.Kind == upstream.KindTimeout || bad == errPerTryIdle:
		x.s.Info.Details = timeoutDetails(bad)
	case bad.Kind == upstream.KindMaxDuration:
		x.s.Info.Details = maxDurationDetails
	}
}

// maxDurationDetails is Envoy's word for an attempt that outlived the cluster's max_stream_duration.
const maxDurationDetails = "upstream_max_stream_duration_reached"

func timeoutDetails(e *upstream.Error) string {
	switch {
	case e == errPerTryIdle:
		return "upstream_per_try_idle_timeout"
	case e.Kind == upstream.KindPerTryTimeout:
		return "upstream_per_try_timeout"
	}
	return "upstream_response_timeout"
}

func originalDstHeader(cfg *model.Cluster) string {
	if cfg.OriginalDst.HTTPHeader != "" {
		return cfg.OriginalDst.HTTPHeader
	}
	return message.XEnvoyOriginalDstHost.Name()
}
