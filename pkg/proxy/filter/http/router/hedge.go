package httprouter

import (
	"time"

	"github.com/weir-proxy/weir/pkg/proxy/filter"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
	"github.com/weir-proxy/weir/pkg/proxy/upstream"
	"github.com/weir-proxy/weir/pkg/proxy/upstream/outlier"
)

// race makes attempts that go on after their per-try timeout, while the next one is under way already
// (hedge_on_per_try_timeout). The first response that is not to be retried wins; the others are ended. It belongs to the
// goroutine of its exchange; each attempt runs on a goroutine of its own, which ends before release returns.
type race struct {
	x       *exchange
	wake    waiter        // the exchange was stopped
	ready   chan struct{} // closed when the request is complete
	results chan *attempt // of attempts that are over
	late    chan *attempt // attempts whose per-try timeout is over
	all     []*attempt
	winner  *attempt
	waiting int  // attempts under way
	pending bool // a retry is about to begin
}

// attempt is one attempt of a race: an exchange with a stream of its own.
type attempt struct {
	x     *exchange
	d     *detached
	host  *upstream.Host
	err   error
	timer *time.Timer
	late  bool // its per-try timeout has led to a retry
	over  bool
}

// maxRace bounds the attempts of a race, whatever a request asks for.
const maxRace = 64

func newRace(x *exchange) *race {
	return &race{
		x: x, wake: make(waiter, 1), ready: make(chan struct{}),
		results: make(chan *attempt, maxRace), late: make(chan *attempt, maxRace),
	}
}

// requestDone lets the per-try timeouts begin.
func (r *race) requestDone() { close(r.ready) }

// run returns what the exchange answers.
func (r *race) run() (*message.Response, error) {
	x := r.x
	if err := x.blockOn(r.wake); err != nil {
		return r.gaveUp(err)
	}
	if bad := r.launch(); bad != nil {
		return x.answer(bad), nil
	}
	backOff := time.NewTimer(time.Hour)
	defer backOff.Stop()
	ready := r.ready
	for {
		retry := false
		select {
		case <-r.wake:
			return r.gaveUp(x.unblock())
		case <-ready:
			ready = nil
			r.startTimers()
		case a := <-r.late:
			retry = r.tooLate(a)
		case a := <-r.results:
			r.waiting--
			a.stop()
			var done bool
			if retry, done = r.judge(a); done {
				return r.finish(a)
			}
		case <-backOff.C:
			r.pending = false
			if bad := r.launch(); bad != nil && r.waiting == 0 {
				return x.answer(bad), nil
			}
		}
		if retry {
			r.pending = true
			backOff.Reset(x.retry.wait(x.cluster))
		}
	}
}

// launch begins an attempt.
func (r *race) launch() *upstream.Error {
	x := r.x
	h, err := x.choose()
	if err != nil {
		return asUpstream(err)
	}
	if len(r.all) >= maxRace {
		return &upstream.Error{Kind: upstream.KindOverflow, BeforeResponse: true}
	}
	a := newAttempt(x)
	x.attempts++
	x.host = h
	up := &x.s.Info.Upstream
	up.Host, up.Pipe, up.Hostname, up.AttemptCount = h.Address, h.Pipe, h.Hostname, x.attempts
	x.s.Info.Conn.Endpoint(&h.Address)
	if x.pick.AvoidTried {
		x.pick.Tried = append(x.pick.Tried, h)
	}
	a.host = h
	r.all = append(r.all, a)
	r.waiting++
	go func() {
		a.err = a.try(h)
		r.results <- a
	}()
	if x.send.complete.Load() {
		r.startTimers()
	}
	return nil
}

// try makes an error of a panic.
func (a *attempt) try(h *upstream.Host) (err error) {
	defer func() {
		if bad := upstream.Recovered(recover()); bad != nil {
			err = bad
		}
	}()
	return a.x.try(h)
}

// newAttempt makes the next attempt of an exchange.
func newAttempt(x *exchange) *attempt {
	a := &attempt{x: x.f.pool.Get().(*exchange), d: detach(x.s)}
	c := a.x
	c.s, c.route, c.cluster, c.opt = &a.d.Stream, x.route, x.cluster, x.opt
	c.limits = timeouts{life: x.limits.life}
	c.attempts, c.ended, c.internal, c.grpc, c.upgrade, c.tunnel = x.attempts, false, x.internal, x.grpc, x.upgrade, x.tunnel
	c.failed, c.tryErr, c.target, c.trying, c.status, c.tryBegan = nil, nil, nil, false, 0, 0
	c.send.begin(nil, false)
	if x.send.src != nil {
		a.d.req.Body = &x.send
		if x.send.complete.Load() {
			a.d.req.Body = x.send.replay()
		}
	}
	return a
}

// startTimers starts the per-try timeouts of the attempts that have none yet.
func (r *race) startTimers() {
	for _, a := range r.all {
		if a.timer == nil && !a.over {
			a.timer = time.AfterFunc(r.x.limits.perTry, func() { r.late <- a })
		}
	}
}

// logLoser writes the upstream log of an attempt that another one was preferred to.
func (a *attempt) logLoser() {
	flag := flags(0)
	if a.err != nil {
		flag = asUpstream(a.err).Flag()
	}
	a.x.endLog(flag)
}

func (a *attempt) stop() {
	a.over = true
	if a.timer != nil {
		a.timer.Stop()
	}
}

// tooLate handles an attempt that goes on after its timeout, and tells whether another one begins.
func (r *race) tooLate(a *attempt) (retry bool) {
	if a.over || a.late {
		return false
	}
	a.late = true
	x := r.x
	a.host.Outlier.PutInstead(outlier.TimedOut, x.timeoutStatus()) // whatever comes of it later, this is its outcome, as in Envoy
	x.cluster.Stats().RqPerTryTimeout.Inc()
	if x.retry.on == 0 || !x.mayRetry() {
		return false
	}
	x.timedOut(true)
	return true
}

// judge tells what an attempt that is over leads to: another one, the end of the exchange, or nothing while others go on.
func (r *race) judge(a *attempt) (retry, done bool) {
	x := r.x
	x.host = a.x.host
	others := r.waiting > 0 || r.pending
	if a.err == nil {
		if !a.late {
			a.x.praise()
		}
		resp := &a.d.resp
		if x.retry.on == 0 || resp.Upgraded || !x.retry.wantsResponse(resp) {
			return false, true
		}
		x.retry.noteLimit(&resp.Headers, time.Now())
		retry = !a.late && x.mayRetry()
		if !retry && !others {
			return false, true
		}
		a.x.host.Stats.RqError.Add(1)
		x.chargeUnseen(resp.Status)
	} else {
		bad := asUpstream(a.err)
		if bad.Kind == upstream.KindAborted {
			return false, !others
		}
		x.noteReset(bad)
		if !a.late {
			x.blame(bad, a.x.sent)
		}
		retry = !a.late && x.retry.wantsReset(bad.Kind, a.x.sent) && x.mayRetry()
		if !retry && !others {
			return false, true
		}
	}
	a.x.closeStream()
	if retry {
		x.timedOut(false)
	}
	return retry, false
}

// finish answers with what an attempt led to.
func (r *race) finish(a *attempt) (*message.Response, error) {
	x := r.x
	x.host = a.x.host
	info, from := x.s.Info, &a.d.info
	info.Upstream = from.Upstream
	info.Upstream.AttemptCount = x.attempts
	t := &info.Timing
	t.FirstUpstreamTx, t.LastUpstreamTx, t.FirstUpstreamRx = from.Timing.FirstUpstreamTx, from.Timing.LastUpstreamTx, from.Timing.FirstUpstreamRx
	x.s.Format.HostMetadata, x.s.Format.ClusterMetadata = a.d.Format.HostMetadata, a.d.Format.ClusterMetadata
	if a.err != nil {
		bad := asUpstream(a.err)
		if bad.Kind == upstream.KindAborted {
			return nil, a.err
		}
		return x.answer(bad), nil
	}
	r.winner = a
	x.tryBegan = a.x.tryBegan
	if x.f.cfg.UpstreamLogInterval > 0 {
		a.x.endPeriodic()
	}
	x.stream, a.x.stream = a.x.stream, nil
	a.x.mu.Lock()
	a.x.target = nil
	a.x.mu.Unlock()
	*x.s.Response, a.d.resp = a.d.resp, message.Response{}
	r.end()
	x.unblock()
	if err := x.blockOn(x.stream); err != nil {
		return r.gaveUp(err)
	}
	return x.respond()
}

// gaveUp ends all attempts and answers why. Of those that were under way, the ones that have had their timeout were judged then.
func (r *race) gaveUp(err error) (*message.Response, error) {
	var open []*upstream.Host
	for _, a := range r.all {
		if !a.over && !a.late {
			open = append(open, a.host)
		}
	}
	r.end()
	bad := asUpstream(err)
	if bad.Kind == upstream.KindAborted {
		return nil, err
	}
	r.x.noteReset(bad)
	for _, h := range open {
		r.x.blameHost(h, bad, true)
	}
	return r.x.answer(bad), nil
}

// errRaceOver ends the attempts that have lost; read only.
var errRaceOver = &upstream.Error{Kind: upstream.KindAborted}

// end ends the attempts that are still under way and waits for them.
func (r *race) end() {
	for _, a := range r.all {
		if !a.over {
			a.x.Abort(errRaceOver)
		}
	}
	for r.waiting > 0 {
		(<-r.results).stop()
		r.waiting--
	}
}

// release gives the attempts back.
func (r *race) release() {
	r.end()
	for _, a := range r.all {
		if a.x.tryBegan != 0 && a != r.winner {
			a.logLoser()
		}
		a.x.ended = true
		a.x.Release()
	}
	r.all = nil
}

var _ filter.Aborter = waiter(nil)
