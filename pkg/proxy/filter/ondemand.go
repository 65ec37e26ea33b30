package filter

import (
	"context"
	"errors"
	"time"

	"github.com/weir-proxy/weir/pkg/config/model"
)

// OnDemand fetches configuration that turns out to be needed.
type OnDemand interface {
	// FetchCluster asks a source for a cluster, and returns when it is in force or known not to come: look for it again. The
	// error is why ctx ended before.
	FetchCluster(ctx context.Context, src *model.Source, name string) error
}

// RouteFetcher is a Host that can fetch what it lacks for a route.
type RouteFetcher interface {
	// FetchRoute waits for the configuration that a request without a route has none of, and forgets what was chosen when
	// there may be a route now. It is false when there is nothing to wait for. The error is that the stream was given up.
	FetchRoute(s *Stream) (again bool, err error)
}

// ErrOverdue ends a wait that took longer than it may; read only.
var ErrOverdue = errors.New("the wait is over its limit")

// Await runs f with a context that ends with the stream, and after limit when it is not 0. The error is that of the stream if
// it was given up, ErrOverdue after limit, else what f returned.
func (s *Stream) Await(limit time.Duration, f func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	if limit > 0 {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeoutCause(ctx, limit, ErrOverdue)
		defer stop()
	}
	if err := s.Host.Watch(s, canceller(cancel)); err != nil {
		return err
	}
	err := f(ctx)
	if gone := s.Host.Watch(s, nil); gone != nil {
		return gone
	}
	if s.Aborted != nil {
		if gone := s.Aborted(); gone != nil {
			return gone
		}
	}
	return err
}

// canceller ends a context when its stream is given up.
type canceller context.CancelCauseFunc

// Abort implements Aborter.
func (c canceller) Abort(err error) { c(err) }
