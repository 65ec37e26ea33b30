package httprouter

import (
	"errors"

	"github.com/weir-proxy/weir/pkg/proxy/filter"
	"github.com/weir-proxy/weir/pkg/proxy/upstream"
)

// Abort implements filter.Aborter: the downstream is gone or a timer of the connection manager fired.
func (x *exchange) Abort(err error) { x.stop(err, true) }

// stop ends the attempt, and the whole exchange when final.
func (x *exchange) stop(err error, final bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
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

// waiter ends a wait; its capacity is one.
type waiter chan error

// Abort implements filter.Aborter.
func (w waiter) Abort(err error) {
	select {
	case w <- err:
	default:
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
