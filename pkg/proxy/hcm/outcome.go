package hcm

import (
	"errors"

	"github.com/weir-proxy/weir/pkg/observe/format"
	"github.com/weir-proxy/weir/pkg/proxy/filter"
	"github.com/weir-proxy/weir/pkg/proxy/http/codec"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
	"github.com/weir-proxy/weir/pkg/proxy/streaminfo"
	"github.com/weir-proxy/weir/pkg/proxy/upstream"
)

// abandoned turns an abort into the reply that tells of it, or into nothing.
func (s *stream) abandoned(a *abortion) (*message.Response, error) {
	if a.status == 0 {
		s.ended(a)
		return nil, a
	}
	r := filter.Reply{Status: a.status, Body: a.body, Details: a.details, Flags: a.flags}
	if a.flags == streaminfo.DurationTimeout && format.IsGRPC(s.Request.Headers.Get(message.ContentType)) {
		r.Modify = deadlineExceeded
	}
	return s.Reply(&s.Stream, r), nil
}

// Rescue implements filter.Rescuer.
func (s *stream) Rescue(_ *filter.Stream, err error) (*message.Response, error) {
	if a := s.abortion(); a != nil {
		if a.status == 0 || a == s.rescued {
			return nil, err
		}
		s.rescued = a
		return s.abandoned(a)
	}
	var bad *codec.Error
	if errors.As(err, &bad) && bad.Status != 0 {
		return s.rejected(bad)
	}
	return nil, err
}

// deadlineExceeded makes a reply DEADLINE_EXCEEDED, which no HTTP status is mapped to.
func deadlineExceeded(r *message.Response) { r.Headers.SetID(message.GRPCStatus, "4") }

// failed turns an error of the filters into a reply, or into nothing when the downstream is to blame.
func (s *stream) failed(err error) (*message.Response, error) {
	var bad *codec.Error
	if errors.As(err, &bad) && bad.Status != 0 {
		return s.rejected(bad)
	}
	if s.panicked(err) {
		return nil, err
	}
	if up, ok := errors.AsType[*upstream.Error](err); ok && up.Kind != upstream.KindAborted {
		return nil, err // of a response that a filter wanted to have as a whole; the router has said why
	}
	s.ended(errDownstreamGone)
	return nil, err
}

// panicked tells whether a goroutine of the exchange has panicked, which ends the connection as if it were our own one.
func (s *stream) panicked(err error) bool {
	p, ok := errors.AsType[*upstream.Panic](err)
	if ok && s.conn.fc.Panicked != nil {
		s.conn.fc.Panicked(p.Value, p.Stack)
	}
	return ok
}

// ended notes why the stream ends without a whole response: when the client has left, whether it took the connection with it.
func (s *stream) ended(a *abortion) {
	s.info.Flags |= a.flags
	s.info.Details = a.details
	if a != errDownstreamGone {
		return
	}
	s.conn.m.stats.rqRxReset.Inc()
	if r, ok := s.src.(resetter); ok && r.PeerReset() {
		s.info.Flags = s.info.Flags&^a.flags | streaminfo.DownstreamRemoteReset
		s.info.Details = "http2.remote_reset"
	}
}

// rejected answers a request that violates the protocol.
func (s *stream) rejected(bad *codec.Error) (*message.Response, error) {
	if lacking(bad) {
		return s.Reply(&s.Stream, filter.Reply{Status: bad.Status, Details: bad.Details}), nil
	}
	s.info.Flags |= streaminfo.DownstreamProtocolError
	if bad.Status == 0 {
		s.info.Details = bad.Details
		return nil, bad
	}
	if bad.Status == 431 {
		s.conn.m.stats.rqTooLarge.Inc()
	}
	return s.Reply(&s.Stream, filter.Reply{Status: bad.Status, Body: rejectionBody(bad.Status), Details: bad.Details}), nil
}

// expired answers a request whose head did not come to its end.
func (s *stream) expired() *message.Response {
	s.conn.m.stats.rqHeaderTimeout.Inc()
	return s.Reply(&s.Stream, filter.Reply{Status: errHeadTimeout.Status, Body: "request header timeout", Details: errHeadTimeout.Details})
}

// lacking tells a request that Envoy's codec takes for one, and the connection manager refuses: that is no protocol error.
func lacking(bad *codec.Error) bool {
	return bad.Details == "low_version" || bad.Details == "missing_host_header"
}

// rejectionBody is what Envoy's codec error replies say.
func rejectionBody(status int) string {
	switch status {
	case 400:
		return "Bad Request"
	case 426:
		return "Upgrade Required"
	case 431:
		return "Request Header Fields Too Large"
	case 413:
		return "Payload Too Large"
	case 501:
		return "Not Implemented"
	}
	return ""
}

// broken notes why a response could not be sent to its end.
func (s *stream) broken(err error) {
	switch a := s.abortion(); {
	case s.panicked(err):
	case a != nil: // which broke the response of the upstream, too
		s.ended(a)
	case s.respBody.failed != nil: // the router has said why
		s.conn.m.stats.rqTxReset.Inc()
	default:
		s.ended(errDownstreamGone)
	}
	s.noteCutOff()
}

// noteCutOff notes that the stream ends without a whole response because of us, which ends an HTTP/1 connection.
func (s *stream) noteCutOff() {
	if s.info.Flags&(streaminfo.DownstreamConnectionTermination|streaminfo.DownstreamRemoteReset) != 0 || s.Request.Version >= message.HTTP2 {
		return
	}
	s.conn.mu.Lock()
	s.conn.cutOff = true
	s.conn.mu.Unlock()
}
