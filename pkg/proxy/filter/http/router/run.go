package httprouter

import (
	"time"

	"github.com/weir-proxy/weir/pkg/proxy/http/message"
	"github.com/weir-proxy/weir/pkg/proxy/upstream"
)

// run makes attempts until one answers or no retry is left.
func (x *exchange) run() (*message.Response, error) {
	if x.race != nil {
		return x.race.run()
	}
	for {
		err := x.attempt()
		if err == nil {
			x.praise()
			if !x.rejects() {
				return x.respond()
			}
		} else {
			bad := asUpstream(err)
			if bad.Kind == upstream.KindAborted {
				return nil, err
			}
			x.noteReset(bad)
			x.blame(bad, x.sent)
			if !x.retry.wantsReset(bad.Kind, x.sent) || !x.again(bad.Flag()) {
				return x.answer(bad), nil
			}
			x.timedOut(bad.Kind == upstream.KindPerTryTimeout)
		}
		if err := x.wait(); err != nil {
			if bad := asUpstream(err); bad.Kind != upstream.KindAborted {
				return x.answer(bad), nil
			}
			return nil, err
		}
	}
}

// rejects tells whether the response is dropped for another attempt, which it then prepares.
func (x *exchange) rejects() bool {
	resp := x.s.Response
	if x.retry.on == 0 || resp.Upgraded || !x.retry.wantsResponse(resp) {
		return false
	}
	x.retry.noteLimit(&resp.Headers, time.Now())
	if !x.again(0) {
		return false
	}
	x.timedOut(false)
	return true
}

// again decides whether another attempt is made, and clears the last one away. flag says how the attempt failed.
func (x *exchange) again(flag flags) bool {
	if !x.mayRetry() {
		return false
	}
	if x.host != nil {
		x.host.Stats.RqError.Add(1)
	}
	if flag == 0 {
		x.chargeUnseen(x.s.Response.Status)
	}
	if x.tryBegan != 0 {
		x.endLog(flag)
	}
	x.closeStream()
	x.send.rewind()
	return true
}

// mayRetry decides whether another attempt is made, and takes it out of the budgets.
func (x *exchange) mayRetry() bool {
	if x.send.used() && (x.send.overflow.Load() || !x.send.complete.Load()) {
		if x.send.overflow.Load() {
			x.cluster.Stats().RetryOrShadowAbandoned.Inc()
		} else {
			x.f.stats.retrySkipped.Inc()
		}
		return false
	}
	x.releaseRetry()
	switch x.retry.decide(x.cluster, &x.route, x.opt.HighPriority) {
	case retryYes:
		x.inRetries = true
		return true
	case retryExhausted:
		x.s.Info.Flags |= limitExceeded
	case retryOverflow:
		x.s.Info.Flags |= overflow
	}
	return false
}

// timedOut marks the next attempt as one that follows a timeout, or does not.
func (x *exchange) timedOut(yes bool) {
	if !x.route.VirtualHost.IncludeTimeoutRetry {
		return
	}
	v := "false"
	if yes {
		v = "true"
	}
	x.s.Request.Headers.SetID(message.XEnvoyIsTimeoutRetry, v)
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
	t := time.NewTimer(x.retry.wait(x.cluster))
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
	if x.special {
		x.trackAttempt()
	}
	x.stream.Close()
	x.stream = nil
}
