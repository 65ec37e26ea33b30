package store

import (
	"errors"
	"slices"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/config/xds"
)

// As Envoy counts them, the attempts of a subscription that is polled are its requests. One on a stream has one for its
// beginning, and one for each response, each end of the stream and the end of its patience.

// follow notes that the subscription begins.
func (s *subscriptionStats) follow(src *model.Source) {
	s.polled = src.Polled()
	s.pushed()
}

// pushed counts what is an attempt on a stream only.
func (s *subscriptionStats) pushed() {
	if !s.polled {
		s.attempt.Inc()
	}
}

// Attempt implements xds.Handler.
func (s *Store) Attempt(a xds.Asked) {
	s.eachSubscription(a, func(w *want) { w.stats.attempt.Inc() })
}

// Failure implements xds.Handler. As in Envoy, what waits for a file, or for an answer that cannot be read, goes on without; it
// waits on while a server cannot be reached.
func (s *Store) Failure(a xds.Asked, err error) {
	s.eachSubscription(a, func(w *want) { w.stats.unanswered(err) })
	s.mu.Lock()
	defer s.mu.Unlock()
	if a.Type == xds.VirtualHostType {
		delete(s.hosting.heard, a.Source)
	}
	over := func(w *want) bool {
		return !w.settled && w.source != nil && (w.source.Kind == model.SourcePath || errors.Is(err, xds.ErrUnreadable))
	}
	changed := false
	if w := s.follows[a.Type]; w != nil && w.asked(a) && over(w) {
		w.settled, changed = true, true
		if w.timer != nil {
			w.timer.Stop()
		}
	}
	for _, name := range a.Names {
		if w := s.deps.wanted(a.Type, name); w != nil && over(w) && w.source.ID() == a.Source {
			s.deps.settle(w.key)
			changed = true
		}
	}
	if changed {
		s.publish()
	}
}

// withhold ends the wait for what a file that was read as a whole does not hold.
func (s *Store) withhold(u xds.Update) {
	if !u.Full || u.Source == "" {
		return
	}
	for _, w := range s.deps.pending[u.Type] {
		if w.source.Kind == model.SourcePath && w.source.ID() == u.Source && !s.has(w) {
			s.deps.settle(w.key)
		}
	}
}

// eachSubscription visits those that were asked for, as many as the request has names: it is not called for what comes on
// a stream.
func (s *Store) eachSubscription(a xds.Asked, f func(*want)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if w := s.follows[a.Type]; w != nil && w.asked(a) {
		f(w)
	}
	for _, name := range a.Names {
		if w := s.deps.wanted(a.Type, name); w != nil && w.stats != nil {
			f(w)
		}
	}
	switch {
	case !a.All:
	case a.Type == xds.ScopedRouteType:
		if x := s.scoping.sources[a.Source]; x != nil {
			for _, one := range x.follows {
				f(one.want)
			}
		}
	case a.Type == xds.VirtualHostType:
		for _, g := range s.hosting.groups {
			if g.want != nil && g.want.source.ID() == a.Source {
				f(g.want)
			}
		}
	}
}

// asked tells whether the subscription to all resources of a type, or to a collection of them, is among the asked.
func (w *want) asked(a xds.Asked) bool {
	if collection := w.source.Collection; collection != "" {
		return slices.Contains(a.Names, collection)
	}
	return a.All && w.source.ID() == a.Source
}
