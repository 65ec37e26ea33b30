package store

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/config/translate"
	"github.com/weir-proxy/weir/pkg/config/xds"
	"github.com/weir-proxy/weir/pkg/observe/stats"
)

// scoping is what there is beside the table of scopes. The scopes of SRDS are one set, which all connection managers share
// that follow it. Guarded by Store.mu.
type scoping struct {
	// follows are the subscriptions of the connection managers, by name; each has statistics of its own.
	follows map[string]*scopeFollow
	// last is the one that was made last: it says where the route configurations of scopes come from.
	last *model.ScopeReference
	// received tells that a response came.
	received bool
	// owner names the scope of a key, of the newest forms.
	owner map[string]string
	// byKey are the active scopes by key.
	byKey model.Set[*model.Scope]
	// onDemand counts the scopes that are loaded on demand, and lazy does so for each route configuration; asleep are those
	// of them that no request asked for.
	onDemand, asleep int
	lazy             map[string]int
}

// scopeFollow is the subscription of one connection manager.
type scopeFollow struct {
	want *want
	// empty counts responses without scopes; the gauges count scopes.
	empty               *stats.Counter
	all, onDemand, live *stats.Gauge
	took                *stats.Gauge
}

func newScoping() scoping {
	return scoping{follows: map[string]*scopeFollow{}, owner: map[string]string{}, lazy: map[string]int{}}
}

// scopeName is how the subscription of a connection manager is called.
func scopeName(r *model.ScopeReference) string { return r.StatPrefix + "/" + r.Name }

// scopesNeeded are the subscriptions to SRDS of connection managers.
func scopesNeeded(refs []model.ScopeReference) []dependency {
	var deps []dependency
	for _, r := range refs {
		deps = append(deps, dependency{
			key: key{xds.ScopedRouteType, scopeName(&r)}, source: r.Source, prefix: "http." + r.StatPrefix + ".scoped_rds." + r.Name + ".",
			scopes: &r,
		})
	}
	return deps
}

// followScopes subscribes for a connection manager. As with CDS and LDS the subscription stays once it was made.
func (s *Store) followScopes(w *want) {
	sc := w.stats.scope
	s.scoping.follows[w.name] = &scopeFollow{
		want: w, empty: sc.Counter("update_empty"), all: sc.Gauge("all_scopes"), onDemand: sc.Gauge("on_demand_scopes"),
		live: sc.Gauge("active_scopes"), took: sc.Gauge("config_reload_time_ms"),
	}
	s.scoping.last = w.scopes
	s.opt.Sources.SubscribeAll(w.source, w.typeURL)
}

// scopeNeeds is the route configuration of a scope. One that is loaded on demand is subscribed to by the first request.
func (s *Store) scopeNeeds(v *model.Scope) []dependency {
	from := s.scoping.last
	if v.InlineRoutes != nil || from == nil {
		return nil
	}
	return []dependency{{
		key: key{xds.RouteType, v.RouteConfigName}, source: from.Routes, lazy: v.OnDemand,
		prefix: "http." + from.StatPrefix + ".rds." + v.RouteConfigName + ".",
	}}
}

// moveScope keeps the index by key, where a scope became another one; either may be nil.
func (s *Store) moveScope(old, now *model.Scope) {
	x := &s.scoping
	if old != nil && x.byKey.Get(old.Key) == old {
		x.byKey = x.byKey.Without(old.Key)
	}
	if now != nil {
		x.byKey = x.byKey.With(now.Key, now)
	}
}

// scopesReady lets the listeners go on that wait for scopes, once these have their routes.
func (s *Store) scopesReady() {
	if !s.scoping.received || s.scopes.warming > 0 || len(s.deps.pending[xds.ScopedRouteType]) == 0 {
		return
	}
	for name := range s.scoping.follows {
		s.deps.settle(key{xds.ScopedRouteType, name})
	}
}

// scopeProposal is a scope of a response before it is taken.
type scopeProposal struct {
	resource xds.Resource
	name     string
	value    *model.Scope
	warnings []translate.Warning
	err      error
}

// scopes applies a response of SRDS. As in Envoy, one with two scopes of one key is refused as a whole.
func (b *batch) scopes() {
	s := b.store
	proposals := b.proposeScopes()
	gone := b.gone(s.scopes.dynamicNames)
	clash := b.scopeConflict(proposals, gone)
	changed := false
	if !clash {
		for _, name := range gone {
			changed = b.removeScope(name) || changed
		}
	}
	for _, p := range proposals {
		switch {
		case p.err != nil:
			b.reject(p.name, p.resource, p.err, &s.scopes.slot(p.name).Failure)
		case !clash:
			changed = b.putScope(p) || changed
		}
	}
	s.scoping.received = true
	b.tellScopes(changed)
}

// tellScopes counts the response for the connection managers that follow SRDS.
func (b *batch) tellScopes(changed bool) {
	x := &b.store.scoping
	for _, name := range slices.Sorted(maps.Keys(x.follows)) {
		f := x.follows[name]
		if f.want.timer != nil {
			f.want.timer.Stop() // from here on it waits for routes, which have timers of their own
		}
		if changed {
			f.want.stats.configReload.Inc()
			f.took.Set(uint64(b.now.UnixMilli()))
		}
		if len(b.update.Resources) == 0 && len(b.update.Removed) == 0 {
			f.empty.Inc()
		}
		b.tell(f.want)
	}
	b.store.countScopes()
}

// proposeScopes reads the scopes of the response, each for itself. Those that did not change are only renewed.
func (b *batch) proposeScopes() []*scopeProposal {
	var all []*scopeProposal
	for _, r := range b.update.Resources {
		if r.Body == nil {
			b.seen[r.Name] = true
			continue
		}
		m := &routev3.ScopedRouteConfiguration{}
		p := &scopeProposal{resource: r}
		if name := peekName(r); !b.seen[name] && b.store.scopes.unchanged(b, name, r) {
			b.seen[name] = true
			continue
		}
		p.err = b.decode(r, m)
		p.name = nameOf(m.GetName(), r.Name)
		if p.err == nil && b.seen[p.name] {
			p.err = fmt.Errorf("duplicate scoped route configuration '%s' found", p.name)
		}
		b.seen[p.name] = true
		if p.err == nil {
			p.value, p.warnings, p.err = b.store.opt.Translate.Scope(m, b.meta(r))
		}
		all = append(all, p)
	}
	return all
}

// scopeConflict finds scopes whose key another one has once the response is taken.
func (b *batch) scopeConflict(proposals []*scopeProposal, gone []string) (found bool) {
	leaves := make(map[string]bool, len(gone)+len(proposals))
	for _, name := range gone {
		leaves[name] = true
	}
	for _, p := range proposals {
		leaves[p.name] = true
	}
	taken := map[string]string{}
	for _, p := range proposals {
		if p.err != nil {
			continue
		}
		first := taken[p.value.Key]
		if owner := b.store.scoping.owner[p.value.Key]; first == "" && !leaves[owner] {
			first = owner
		}
		if first != "" {
			p.err = errors.New(translate.ScopeConflict(first, p.name))
			found = true
			continue
		}
		taken[p.value.Key] = p.name
	}
	return found
}

func (b *batch) putScope(p *scopeProposal) bool {
	s := b.store
	b.warn(p.warnings)
	s.disownScope(p.name)
	s.scoping.owner[p.value.Key] = p.name
	changed := s.scopes.put(s.deps, p.name, newEntry(p.value, p.value.Hash, p.resource, b.now))
	if p.value.OnDemand {
		s.countLazy(p.value.RouteConfigName, 1)
	}
	return changed
}

func (b *batch) removeScope(name string) bool {
	b.store.disownScope(name)
	return b.store.scopes.remove(b.store.deps, name)
}

// disownScope takes a scope's newest form out of what is kept beside the table.
func (s *Store) disownScope(name string) {
	old := s.scopes.latest(name)
	if old == nil {
		return
	}
	if s.scoping.owner[old.Value.Key] == name {
		delete(s.scoping.owner, old.Value.Key)
	}
	if old.Value.OnDemand {
		s.countLazy(old.Value.RouteConfigName, -1)
	}
}

// countLazy counts a scope that is loaded on demand, by the name of its route configuration.
func (s *Store) countLazy(routes string, n int) {
	x := &s.scoping
	x.onDemand += n
	if x.lazy[routes] += n; x.lazy[routes] == 0 {
		delete(x.lazy, routes)
	}
	if w := s.deps.wanted(xds.RouteType, routes); w == nil || w.idle {
		x.asleep += n
	}
}

// wakeScopes tells that a route configuration is asked for now.
func (s *Store) wakeScopes(routes string) {
	s.scoping.asleep -= s.scoping.lazy[routes]
	s.countScopes()
}

// countScopes brings the gauges up to date.
func (s *Store) countScopes() {
	x := &s.scoping
	for _, f := range x.follows {
		f.all.Set(uint64(len(x.owner)))
		f.onDemand.Set(uint64(x.onDemand))
		f.live.Set(uint64(max(len(x.owner)-x.asleep, 0)))
	}
}
