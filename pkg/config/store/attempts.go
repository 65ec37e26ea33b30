package store

import (
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
	s.eachSubscription(a, func(st *subscriptionStats) { st.attempt.Inc() })
}

// Failure implements xds.Handler.
func (s *Store) Failure(a xds.Asked, err error) {
	s.eachSubscription(a, func(st *subscriptionStats) { st.unanswered(err) })
}

// eachSubscription visits those that were asked for, as many as the request has names: it is not called for what comes on
// a stream.
func (s *Store) eachSubscription(a xds.Asked, f func(*subscriptionStats)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if w := s.follows[a.Type]; w != nil && w.asked(a) {
		f(w.stats)
	}
	for _, name := range a.Names {
		if w := s.deps.wanted(a.Type, name); w != nil && w.stats != nil {
			f(w.stats)
		}
	}
	switch {
	case !a.All:
	case a.Type == xds.ScopedRouteType:
		if x := s.scoping.sources[a.Source]; x != nil {
			for _, one := range x.follows {
				f(one.want.stats)
			}
		}
	case a.Type == xds.VirtualHostType:
		for _, g := range s.hosting.groups {
			if g.want != nil && g.want.source.ID() == a.Source {
				f(g.want.stats)
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
