package store

import (
	"context"

	"github.com/weir-proxy/weir/pkg/config/xds"
)

// FetchRoutes asks for a route configuration that a scope loads on demand, and waits until it is in force or known not to
// come. The error is that of ctx.
func (s *Store) FetchRoutes(ctx context.Context, name string) error {
	s.mu.Lock()
	w := s.deps.wanted(xds.RouteType, name)
	if w == nil {
		s.mu.Unlock()
		return nil
	}
	if w.idle {
		s.wakeScopes(name)
		s.deps.subscribe(w)
	}
	told := w.tells()
	s.mu.Unlock()
	return await(ctx, told)
}

// tells returns what is closed after the want settled; nil when it has. Called with the store's mu held.
func (w *want) tells() <-chan struct{} {
	if w.settled {
		return nil
	}
	if w.told == nil {
		w.told = make(chan struct{})
	}
	return w.told
}

// await waits for told, which may be nil for nothing.
func await(ctx context.Context, told <-chan struct{}) error {
	if told == nil {
		return nil
	}
	select {
	case <-told:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
