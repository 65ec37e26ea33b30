package store

import (
	"maps"
	"slices"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/config/xds"
)

// scopesOf is what there is of a source of SRDS, made if need be.
func (s *Store) scopesOf(id string) *scopeSource {
	if x := s.scoping.sources[id]; x != nil {
		return x
	}
	x := &scopeSource{id: id, follows: map[string]*scopeFollow{}, owner: map[string]string{}, lazy: map[string]int{}}
	x.table = newTable(xds.ScopedRouteType, x.needs)
	x.table.moved = x.move
	s.scoping.sources[id] = x
	return x
}

// received tells whether a source has answered.
func (x *scoping) received(id string) bool { return x.sources[id] != nil && x.sources[id].received }

// list returns copies of the slots of all sources, each in order of their names.
func (x *scoping) list() map[string][]Slot[*model.Scope] {
	out := make(map[string][]Slot[*model.Scope], len(x.sources))
	for id, source := range x.sources {
		out[id] = source.table.list()
	}
	return out
}

// followScopes subscribes for a connection manager.
func (s *Store) followScopes(w *want) {
	sc, x := w.stats.scope, s.scopesOf(w.source.ID())
	x.follows[w.name] = &scopeFollow{
		want: w, empty: sc.Counter("update_empty"), all: sc.Gauge("all_scopes"), onDemand: sc.Gauge("on_demand_scopes"),
		live: sc.Gauge("active_scopes"), took: sc.Gauge("config_reload_time_ms"),
	}
	x.last = w.scopes
	x.count()
	s.opt.Sources.SubscribeAll(w.source, w.typeURL)
}

// leaveScopes ends that. Scopes of the aggregated stream stay, as its subscription does; others go with the last connection
// manager that follows their source.
func (s *Store) leaveScopes(w *want) {
	x := s.scoping.sources[w.source.ID()]
	if x == nil {
		return
	}
	delete(x.follows, w.name)
	s.opt.Sources.UnsubscribeAll(w.source, w.typeURL)
	if x.id == "" || len(x.follows) > 0 {
		return
	}
	for _, name := range slices.Sorted(maps.Keys(x.table.slots)) {
		x.remove(s, name)
	}
	delete(s.scoping.sources, x.id)
	s.scoping.published = s.scoping.published.Without(x.id)
}

// needs is the route configuration of a scope. One that is loaded on demand is subscribed to by the first request.
func (x *scopeSource) needs(v *model.Scope) []dependency {
	from := x.last
	if v.InlineRoutes != nil || from == nil {
		return nil
	}
	return []dependency{{
		key: key{xds.RouteType, v.RouteConfigName}, source: from.Routes, lazy: v.OnDemand,
		prefix: "http." + from.StatPrefix + ".rds." + v.RouteConfigName + ".",
	}}
}

// move keeps the index by key, where a scope became another one; either may be nil.
func (x *scopeSource) move(old, now *model.Scope) {
	if old != nil && x.byKey.Get(old.Key) == old {
		x.byKey = x.byKey.Without(old.Key)
	}
	if now != nil {
		x.byKey = x.byKey.With(now.Key, now)
	}
}

// promoteScopes makes active what became ready, and lets the connection managers go on that wait for scopes, once these have their
// routes.
func (s *Store) promoteScopes() {
	for id, x := range s.scoping.sources {
		x.table.promote(s.deps)
		if old := s.scoping.published.Get(id); old == nil && x.byKey.Len() > 0 || old != nil && !old.ByKey.Same(x.byKey) {
			s.scoping.published = s.scoping.published.With(id, &model.ScopeSet{ByKey: x.byKey})
		}
		if !x.received || x.table.warming > 0 || len(s.deps.pending[xds.ScopedRouteType]) == 0 {
			continue
		}
		for name := range x.follows {
			s.deps.settle(key{xds.ScopedRouteType, name})
		}
	}
}

// wakeScopes tells that a route configuration is asked for now.
func (s *Store) wakeScopes(routes string) {
	for _, x := range s.scoping.sources {
		x.asleep -= x.lazy[routes]
		x.count()
	}
}
