package httprouter

import (
	"context"
	"time"

	"github.com/weir-proxy/weir/pkg/proxy/filter"
	"github.com/weir-proxy/weir/pkg/proxy/http/codec"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
	"github.com/weir-proxy/weir/pkg/proxy/upstream"
)

// attempt sends the request to one host and waits for the head of the response.
func (x *exchange) attempt() error {
	h, err := x.choose()
	if err != nil {
		return err
	}
	return x.try(h)
}

// try sends the request to a host and waits for the head of the response.
func (x *exchange) try(h *upstream.Host) error {
	x.attempts++
	x.sent = false
	x.describeAttempt(h)
	if x.attempts > 1 {
		x.mu.Lock()
		x.tryErr = nil
		x.mu.Unlock()
	}
	if x.f.deps.UpstreamLogs != nil {
		x.beginLog()
	}
	if x.special {
		x.nameServer()
	}
	if x.tunnel {
		if err := x.dial(h); err != nil {
			return err
		}
	} else if x.stream = x.cluster.Reuse(h, &x.opt); x.stream == nil {
		if err := x.connect(h); err != nil {
			return err
		}
	}
	x.route.Count(filter.RecordTotal)
	if x.tryBegan != 0 {
		x.logReady()
	}
	return x.roundTrip()
}

// connect opens a new connection; the context is only made here, since most requests find a pooled one.
func (x *exchange) connect(h *upstream.Host) error {
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	if err := x.blockOn(canceller(cancel)); err != nil {
		return err
	}
	st, err := x.cluster.Connect(ctx, h, &x.opt)
	if cause := x.unblock(); cause != nil {
		if err == nil {
			st.Close()
		}
		return cause
	}
	if err != nil {
		return err
	}
	x.stream = st
	return nil
}

func schemeOf(c codec.ConnInfo) string {
	if c.TLS != nil {
		return "https"
	}
	return "http"
}

type canceller context.CancelCauseFunc

// Abort implements filter.Aborter.
func (c canceller) Abort(err error) { c(err) }

// roundTrip exchanges the heads.
func (x *exchange) roundTrip() error {
	s, info := x.s, x.s.Info
	x.describeConn(x.stream.Conn())
	if s.MatchScheme {
		s.Request.Scheme = schemeOf(x.stream.Conn())
	}
	if err := x.blockOn(x.stream); err != nil {
		return err
	}
	x.sent = true
	now := time.Now()
	info.Timing.FirstUpstreamTx = info.Since(now)
	if s.Request.Body == nil {
		info.Timing.LastUpstreamTx = info.Timing.FirstUpstreamTx
	}
	s.Response.Reset()
	x.beginTry()
	if x.limits.life > 0 {
		x.arm(&x.life, x.limits.life)
	}
	var err error
	if x.special {
		err = x.roundTripSpecially()
	} else {
		err = x.stream.RoundTrip(s.Request, s.Response, x.onInfo)
	}
	x.endTry()
	if err != nil {
		if cause := x.unblock(); cause != nil {
			return cause
		}
		return err
	}
	info.Timing.FirstUpstreamRx = info.Since(time.Now())
	return nil
}

func (x *exchange) describeAttempt(h *upstream.Host) {
	s := x.s
	x.host = h
	up := &s.Info.Upstream
	up.Host, up.Pipe, up.Hostname, up.AttemptCount = h.Address, h.Pipe, h.Hostname, x.attempts
	x.s.Info.Conn.Endpoint(&h.Address)
	up.TransportFailure = ""
	if h.Endpoint != nil {
		s.Format.HostMetadata = h.Endpoint.Metadata
	}
	s.Format.ClusterMetadata = x.cluster.Config().Metadata
	if x.route.VirtualHost.IncludeAttemptCount {
		s.Request.Headers.SetID(message.XEnvoyAttemptCount, s.Arena.Int(int64(x.attempts)))
	}
	if x.attempts > 1 && (x.limits.global > 0 || x.limits.perTry > 0) {
		x.limits.tell(s, x.sinceRequest(), !x.f.cfg.SuppressEnvoyHeaders)
	}
	if a := x.route.Route.Action; a.AutoHostRewrite && h.Hostname != "" && h.Hostname != s.Request.Authority {
		setHost(s, h.Hostname, a.AppendXFH && x.attempts == 1)
	}
	if x.pick.AvoidTried {
		x.pick.Tried = append(x.pick.Tried, h)
	}
	if p := x.retry.policy; p != nil && p.PriorityUpdateFrequency > 0 {
		x.passed.passedBy(h)
	}
}

func (x *exchange) describeConn(c codec.ConnInfo) {
	up := &x.s.Info.Upstream
	up.Local, up.ConnectionID, up.TLS, up.Protocol = c.Local, c.ID, c.TLS, c.Version.String()
	if c.Version == message.HTTP10 { // which no codec speaks to an upstream: it is the bare connection of a tunnel
		up.Protocol = ""
	}
}
