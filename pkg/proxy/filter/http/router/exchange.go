package httprouter

import (
	"sync"

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
	passed  passedPriorities
	opt     filter.StreamOptions
	host    *upstream.Host
	stream  codec.ClientStream // of the current attempt; nil between attempts
	send    sendBody
	recv    recvBody
	chained *upstreamRun // of attempts that go through upstream filters; nil before the first one

	attempts  uint32
	internal  bool
	grpc      bool
	upgrade   bool
	tunnel    bool // the upstream is spoken to in TCP
	inRetries bool
	special   bool // the cluster or the router asks for what few do: see specialOf
	sent      bool // the current attempt began to send
	ended     bool
	altCode   bool // x-envoy-upstream-rq-timeout-alt-response
	grpcLater bool // the trailers decide whether the host did well
	canary    bool
	status    int // to record for the cluster; 0: none
	altStats  string
	cookies   []string // to set on the response, for hash policies
	race      *race    // attempts beside each other; nil where there is one at a time
	tryBegan  int64    // when the attempt that is to be logged began, as in streaminfo.Timing; 0: there is none

	global, perTry, idle, life, logTick deadline
	onInfo                              func(*message.Response)

	mu       sync.Mutex
	trying   bool           // an attempt waits for the response: its timeouts run once the request is complete
	target   filter.Aborter // what blocks now; nil while nothing does
	failed   error          // ends the exchange
	tryErr   error          // ends the attempt
	periodic *periodicLog   // what is logged while an attempt goes on; nil for nothing
}

func newExchange(f *Filter) *exchange {
	x := &exchange{f: f}
	x.send.x, x.recv.x = x, x
	x.global.init(f.deps.Wheel, func() { x.stop(errTimeout, true) })
	x.perTry.init(f.deps.Wheel, func() { x.stop(errPerTryTimeout, false) })
	x.idle.init(f.deps.Wheel, func() { x.stop(errPerTryIdle, false) })
	x.life.init(f.deps.Wheel, func() { x.stop(errMaxDuration, false) })
	x.logTick.init(f.deps.Wheel, x.logPeriodically)
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

// begin takes from the request what it says about its way, and makes it ready to be sent.
func (x *exchange) begin(s *filter.Stream, rt *filter.Route, c filter.Cluster) {
	a, cfg := rt.Route.Action, c.Config()
	x.s, x.route, x.cluster, x.special = s, *rt, c, x.f.specialOf(cfg)
	x.attempts, x.sent, x.ended, x.status, x.canary, x.grpcLater = 0, false, false, 0, false, false
	x.failed, x.tryErr, x.target, x.trying, x.tryBegan = nil, nil, nil, false, 0
	asked := controlsOf(&s.Request.Headers)
	x.grpc = asked.grpc
	x.internal = asked.has(message.XEnvoyInternal) && s.Request.Headers.Get(message.XEnvoyInternal) == "true"
	x.upgrade = s.Request.Protocol != "" || s.Request.Method == "CONNECT"
	x.tunnel = len(a.Upgrades) > 0 && terminates(a, s.Request)
	policy := rt.Rules.Retry()
	x.limits = x.f.takeTimeouts(s, rt, policy, asked)
	if x.limits.life == 0 {
		x.limits.life = cfg.MaxStreamDuration
	}
	x.retry.begin(policy, s.Request, asked, x.f.deps.Runtime)
	x.pick.MetadataMatch, x.pick.HighPriority = a.MetadataMatch, a.HighPriority
	if cfg.Type == model.ClusterOriginalDst {
		x.pick.OriginalDst = originalDst(s, cfg)
	}
	if policy != nil {
		x.pick.AvoidTried, x.pick.Attempts = policy.AvoidPreviousHosts, int(policy.HostSelectionAttempts)
	}
	if len(a.HashPolicy) > 0 && c.WantsHash() {
		x.pick.Hash, x.pick.HasHash = x.hash(a.HashPolicy)
	}
	if asked.set&rareControls != 0 {
		x.takeRare(asked)
	}
	rt.Rules.FinalizeRequest(s, &x.route, !x.f.cfg.SuppressEnvoyHeaders)
	x.opt = filter.StreamOptions{Version: s.Request.Version, HighPriority: a.HighPriority, Authority: s.Request.Authority, Origin: s.Info.Conn.Origin()}
	x.pick.Origin = x.opt.Origin
	x.beginBody(a)
}

// beginBody puts itself between the request's body and those who send it.
func (x *exchange) beginBody(a *model.RouteAction) {
	s := x.s
	if x.limits.hedge {
		x.race = newRace(x)
	}
	x.send.begin(s.Request.Body, (x.retry.on != 0 || a.InternalRedirect != nil) && !x.upgrade && !x.tunnel)
	if mirrors := x.route.Mirrors(); len(mirrors) > 0 && !x.upgrade && !x.tunnel {
		x.mirror(mirrors)
	}
	if s.Request.Body == nil {
		x.requestDone()
	} else {
		s.Request.Body = &x.send
	}
}

// requestDone starts the timeouts of the exchange and of the attempt. It may run on the goroutine that sends the body.
func (x *exchange) requestDone() {
	if x.limits.global > 0 && !x.upgrade && !x.tunnel {
		info := x.s.Info
		at := x.send.endAt.Load()
		if at == 0 && x.s.Host.RequestComplete(x.s) {
			at = info.Timing.LastDownstreamRx
		}
		if at == 0 {
			x.arm(&x.global, x.limits.global)
		} else { // the clock was read already
			x.global.until(x.f.deps.Wheel.At(info.Start) + at + int64(x.limits.global))
		}
	}
	x.armTry()
	if x.race != nil {
		x.race.requestDone()
	}
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
	if x.tryBegan != 0 {
		x.endLog(x.s.Info.Flags)
	}
	if x.special {
		x.trackBudget()
	}
	x.record()
}

// Release implements filter.Ender.
func (x *exchange) Release() {
	x.End()
	x.closeStream()
	if x.race != nil {
		x.race.release()
		x.race = nil
	}
	if x.chained != nil {
		x.chained.end()
	}
	x.disarm(&x.global) // the goroutine that sent the body may have armed it after End
	x.s.Request.Body = x.send.src
	clear(x.pick.Tried)
	x.s, x.cluster, x.host, x.route = nil, nil, nil, filter.Route{}
	x.retry.release()
	// The wheel may know the timers for as long as a timeout: nothing of the request may stay reachable through them.
	x.opt, x.pick = filter.StreamOptions{}, upstream.PickContext{Tried: x.pick.Tried[:0]}
	x.passed, x.altStats, x.cookies, x.altCode = passedPriorities{}, "", nil, false
	x.target, x.failed, x.tryErr = nil, nil, nil
	x.send.release()
	x.recv.release()
	x.f.pool.Put(x)
}
