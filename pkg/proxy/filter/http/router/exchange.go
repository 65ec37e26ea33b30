package httprouter

import (
	"errors"
	"sync"
	"time"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/filter"
	"github.com/weir-proxy/weir/pkg/proxy/http/codec"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
	"github.com/weir-proxy/weir/pkg/proxy/upstream"
)

// exchange is one request with all its attempts. It is pooled.
type exchange struct {
	f       *Filter
	s       *filter.Stream
	route   filter.Route
	cluster filter.Cluster
	limits  timeouts
	retry   retryState
	pick    upstream.PickContext
	opt     filter.StreamOptions
	host    *upstream.Host
	stream  codec.ClientStream // of the current attempt; nil between attempts
	send    sendBody
	recv    recvBody

	attempts   uint32
	internal   bool
	upgrade    bool
	inRequests bool // holds a place among the cluster's requests
	inRetries  bool
	sent       bool // the current attempt began to send
	ended      bool
	status     int // to record for the cluster; 0: none
	canary     bool

	global, perTry, idle, life deadline
	onInfo                     func(*message.Response)

	mu     sync.Mutex
	trying bool           // an attempt waits for the response: its timeouts run once the request is complete
	target filter.Aborter // what blocks now; nil while nothing does
	failed error          // ends the exchange
	tryErr error          // ends the attempt
}

func newExchange(f *Filter) *exchange {
	x := &exchange{f: f}
	x.send.x, x.recv.x = x, x
	x.global.timer.Init(f.deps.Wheel, func() { x.expire(&x.global, errTimeout, true) })
	x.perTry.timer.Init(f.deps.Wheel, func() { x.expire(&x.perTry, errPerTryTimeout, false) })
	x.idle.timer.Init(f.deps.Wheel, func() { x.expire(&x.idle, errPerTryIdle, false) })
	x.life.timer.Init(f.deps.Wheel, func() { x.expire(&x.life, errMaxDuration, false) })
	x.onInfo = func(r *message.Response) {
		if r.Status == 100 || r.Status == 103 {
			_ = x.s.Host.Informational(x.s, r) // the final response will meet the same fate
		}
	}
	return x
}

// Timeouts end an exchange or an attempt with these; read only.
var (
	errTimeout       = &upstream.Error{Kind: upstream.KindTimeout, BeforeResponse: true}
	errPerTryTimeout = &upstream.Error{Kind: upstream.KindPerTryTimeout, BeforeResponse: true}
	errPerTryIdle    = &upstream.Error{Kind: upstream.KindPerTryTimeout, BeforeResponse: true}
	errMaxDuration   = &upstream.Error{Kind: upstream.KindMaxDuration, BeforeResponse: true}
)

var (
	_ filter.Aborter = (*exchange)(nil)
	_ filter.Ender   = (*exchange)(nil)
)

func (x *exchange) begin(s *filter.Stream, rt filter.Route, c filter.Cluster) {
	a := rt.Route.Action
	x.s, x.route, x.cluster = s, rt, c
	x.attempts, x.sent, x.ended, x.status, x.canary = 0, false, false, 0, false
	x.failed, x.tryErr, x.target, x.trying = nil, nil, nil, false
	x.internal = s.Request.Headers.Get(message.XEnvoyInternal) == "true"
	x.upgrade = s.Request.Protocol != "" || s.Request.Method == "CONNECT"
	policy := rt.Rules.Retry()
	x.limits = x.f.takeTimeouts(s, a, policy)
	x.limits.life = c.Config().MaxStreamDuration
	x.retry.begin(policy, s.Request)
	x.pick = upstream.PickContext{
		MetadataMatch: a.MetadataMatch, HighPriority: a.HighPriority, OriginalDst: originalDst(s, c.Config()), Tried: x.pick.Tried[:0],
	}
	if policy != nil {
		x.pick.AvoidTried, x.pick.Attempts = policy.AvoidPreviousHosts, int(policy.HostSelectionAttempts)
	}
	rt.Rules.FinalizeRequest(s, &x.route, !x.f.cfg.SuppressEnvoyHeaders)
	x.opt = filter.StreamOptions{Version: s.Request.Version, HighPriority: a.HighPriority, Authority: s.Request.Authority}
	x.send.begin(s.Request.Body)
	if s.Request.Body == nil {
		x.requestDone()
	} else {
		s.Request.Body = &x.send
	}
}

// requestDone starts the timeouts of the exchange and of the attempt. It may run on the goroutine that sends the body.
func (x *exchange) requestDone() {
	if x.limits.global > 0 && !x.upgrade {
		x.arm(&x.global, x.limits.global)
	}
	x.armTry()
}

// Abort implements filter.Aborter: the downstream is gone or a timer of the connection manager fired.
func (x *exchange) Abort(err error) { x.stop(err, true) }

// stop ends the attempt, and the whole exchange when final.
func (x *exchange) stop(err error, final bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.stopLocked(err, final)
}

func (x *exchange) stopLocked(err error, final bool) {
	if final && x.failed == nil {
		x.failed = err
	}
	if x.tryErr == nil {
		x.tryErr = err
	}
	if x.target != nil {
		x.target.Abort(err)
	}
}

// blockOn names what an abort must reach from now on; the error is why it must not even begin.
func (x *exchange) blockOn(a filter.Aborter) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.failed != nil {
		return x.failed
	}
	if x.tryErr != nil {
		return x.tryErr
	}
	x.target = a
	return nil
}

// unblock forgets what was blocked on and returns why it was ended, if it was.
func (x *exchange) unblock() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.target = nil
	if x.failed != nil {
		return x.failed
	}
	return x.tryErr
}

// run makes attempts until one answers or no retry is left.
func (x *exchange) run() (*message.Response, error) {
	if err := x.cluster.TryRequest(x.opt.HighPriority); err != nil {
		return x.answer(asUpstream(err)), nil
	}
	x.inRequests = true
	for {
		err := x.attempt()
		if err == nil {
			if x.s.Response.Upgraded || !x.retry.wantsResponse(x.s.Response) || !x.again(0) {
				return x.respond(), nil
			}
		} else {
			bad := asUpstream(err)
			if bad.Kind == upstream.KindAborted {
				return nil, err
			}
			x.noteReset(bad)
			if !x.retry.wantsReset(bad.Kind, x.sent) || !x.again(bad.Flag()) {
				return x.answer(bad), nil
			}
		}
		if err := x.wait(); err != nil {
			if bad := asUpstream(err); bad.Kind != upstream.KindAborted {
				return x.answer(bad), nil
			}
			return nil, err
		}
	}
}

// asUpstream finds the upstream error in err; any other error means that we gave up ourselves.
func asUpstream(err error) *upstream.Error {
	var bad *upstream.Error
	if errors.As(err, &bad) {
		return bad
	}
	return &upstream.Error{Kind: upstream.KindAborted, Err: err}
}

// again decides whether another attempt is made, and clears the last one away. flag says how the attempt failed.
func (x *exchange) again(flag flags) bool {
	if x.send.used() && (x.send.overflow.Load() || !x.send.complete.Load()) {
		if x.send.overflow.Load() {
			x.cluster.Stats().RetryOrShadowAbandoned.Inc()
		} else {
			x.f.stats.retrySkipped.Inc()
		}
		return false
	}
	x.releaseRetry()
	switch x.retry.decide(x.cluster, x.opt.HighPriority) {
	case retryExhausted:
		if x.retry.done > 0 {
			x.s.Info.Flags |= limitExceeded
		}
		return false
	case retryOverflow:
		x.s.Info.Flags |= overflow
		return false
	case retryNo:
		return false
	}
	x.inRetries = true
	if x.host != nil {
		x.host.Stats.RqError.Add(1)
	}
	if flag == 0 && x.f.cfg.DynamicStats { // the response that nobody will see
		x.cluster.Stats().RecordResponse(x.s.Response.Status, x.sinceRequest(), false)
	}
	x.closeStream()
	x.send.rewind()
	return true
}

// wait backs off before the next attempt.
func (x *exchange) wait() error {
	w := make(waiter, 1)
	x.mu.Lock()
	x.target, x.tryErr = w, nil
	err := x.failed
	x.mu.Unlock()
	if err != nil {
		return err
	}
	t := time.NewTimer(x.retry.backOff())
	defer t.Stop()
	select {
	case <-t.C:
	case <-w:
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.target, x.tryErr = nil, nil
	return x.failed
}

// waiter ends a back-off; its capacity is one.
type waiter chan error

// Abort implements filter.Aborter.
func (w waiter) Abort(err error) {
	select {
	case w <- err:
	default:
	}
}

func (x *exchange) releaseRetry() {
	if x.inRetries {
		x.cluster.ReleaseRetry(x.opt.HighPriority)
		x.inRetries = false
	}
}

func (x *exchange) closeStream() {
	x.endTry()
	x.endLife()
	if x.stream == nil {
		return
	}
	x.mu.Lock()
	x.target = nil
	x.mu.Unlock()
	if x.s.Response.Body != nil {
		_ = x.s.Response.Body.Close()
	}
	x.stream.Close()
	x.stream = nil
}

// sinceRequest is the time since the request was complete, 0 when it is not.
func (x *exchange) sinceRequest() time.Duration {
	info := x.s.Info
	if !x.s.Host.RequestComplete(x.s) {
		return 0
	}
	return time.Duration(info.Since(time.Now()) - info.Timing.LastDownstreamRx)
}

// End implements filter.Ender.
func (x *exchange) End() {
	if x.ended {
		return
	}
	x.ended = true
	x.disarm(&x.global)
	x.endTry()
	x.endLife()
	x.releaseRetry()
	if at := x.send.endAt.Load(); at != 0 {
		x.s.Info.Timing.LastUpstreamTx = at
	}
	if x.stream != nil {
		n := x.stream.Counts()
		up := &x.s.Info.Upstream
		up.HeaderSent, up.HeaderReceived = n.RequestHeader, n.ResponseHeader
		up.WireSent = n.RequestHeader + n.RequestBody
		up.WireReceived = n.ResponseHeader + n.ResponseBody + n.ResponseTrailer
	}
	x.record()
	if x.inRequests {
		x.cluster.ReleaseRequest(x.opt.HighPriority)
		x.inRequests = false
	}
}

// record counts the outcome for the cluster and the host.
func (x *exchange) record() {
	if x.status == 0 {
		return
	}
	if x.f.cfg.DynamicStats {
		d := x.sinceRequest()
		st := x.cluster.Stats()
		st.RecordResponse(x.status, d, x.canary)
		st.RecordOrigin(x.status, d, x.internal)
	}
	if x.host == nil {
		return
	}
	if x.status >= 500 {
		x.host.Stats.RqError.Add(1)
	} else {
		x.host.Stats.RqSuccess.Add(1)
	}
}

// Release implements filter.Ender.
func (x *exchange) Release() {
	x.End()
	x.closeStream()
	x.disarm(&x.global) // the goroutine that sent the body may have armed it after End
	x.s.Request.Body = x.send.src
	clear(x.pick.Tried)
	x.s, x.cluster, x.host, x.route = nil, nil, nil, filter.Route{}
	x.retry = retryState{}
	// The wheel may know the timers for as long as a timeout: nothing of the request may stay reachable through them.
	x.opt, x.pick = filter.StreamOptions{}, upstream.PickContext{Tried: x.pick.Tried[:0]}
	x.target, x.failed, x.tryErr = nil, nil, nil
	x.send.release()
	x.recv.release()
	x.f.pool.Put(x)
}

func originalDstHeader(cfg *model.Cluster) string {
	if cfg.OriginalDst.HTTPHeader != "" {
		return cfg.OriginalDst.HTTPHeader
	}
	return message.XEnvoyOriginalDstHost.Name()
}
