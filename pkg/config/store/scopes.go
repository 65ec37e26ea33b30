package store

import (
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/config/translate"
	"github.com/weir-proxy/weir/pkg/config/xds"
	"github.com/weir-proxy/weir/pkg/observe/stats"
)

// scoping is the scopes of SRDS, by the model.Source.ID of where they come from. Those of one source are one set, which all
// connection managers share that follow it. Guarded by Store.mu.
type scoping struct {
	sources map[string]*scopeSource
	// published are the active scopes of each source.
	published model.Set[*model.ScopeSet]
}

// scopeSource is the scopes of one source.
type scopeSource struct {
	id    string
	table *table[*model.Scope]
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

func newScoping() scoping { return scoping{sources: map[string]*scopeSource{}} }

// scopeName is how the subscription of a connection manager is called. A source is told by a hash: what it says may be secret.
func scopeName(r *model.ScopeReference) string {
	name := r.StatPrefix + "/" + r.Name
	if id := r.Source.ID(); id != "" {
		h := fnv.New64a()
		_, _ = h.Write([]byte(id)) // never fails
		name = fmt.Sprintf("%s of source %x", name, h.Sum64())
	}
	return name
}

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
	s, x := b.store, b.store.scoping.sources[b.update.Source]
	if x == nil {
		return // nobody follows it any more
	}
	proposals := b.proposeScopes(x)
	gone := b.gone(x.table.dynamicNames)
	clash := x.conflict(proposals, gone)
	changed := false
	if !clash {
		for _, name := range gone {
			changed = x.remove(s, name) || changed
		}
	}
	for _, p := range proposals {
		switch {
		case p.err != nil:
			b.reject(p.name, p.resource, p.err, &x.table.slot(p.name).Failure)
		case !clash:
			changed = b.putScope(x, p) || changed
		}
	}
	x.received = true
	b.tellScopes(x, changed)
}

// tellScopes counts the response for the connection managers that follow the source.
func (b *batch) tellScopes(x *scopeSource, changed bool) {
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
	x.count()
}

// proposeScopes reads the scopes of the response, each for itself. Those that did not change are only renewed.
func (b *batch) proposeScopes(x *scopeSource) []*scopeProposal {
	var all []*scopeProposal
	for _, r := range b.update.Resources {
		if r.Body == nil {
			b.seen[r.Name] = true
			continue
		}
		m := &routev3.ScopedRouteConfiguration{}
		p := &scopeProposal{resource: r}
		if name := r.PeekName(); !b.seen[name] && x.table.unchanged(b, name, r) {
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

// conflict finds scopes whose key another one has once the response is taken.
func (x *scopeSource) conflict(proposals []*scopeProposal, gone []string) (found bool) {
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
		if owner := x.owner[p.value.Key]; first == "" && !leaves[owner] {
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

func (b *batch) putScope(x *scopeSource, p *scopeProposal) bool {
	s := b.store
	b.warn(p.warnings)
	x.disown(s, p.name)
	x.owner[p.value.Key] = p.name
	changed := x.table.put(s.deps, p.name, newEntry(p.value, p.value.Hash, p.resource, b.now))
	if p.value.OnDemand {
		x.countLazy(s, p.value.RouteConfigName, 1)
	}
	return changed
}

func (x *scopeSource) remove(s *Store, name string) bool {
	x.disown(s, name)
	return x.table.remove(s.deps, name)
}

// disown takes a scope's newest form out of what is kept beside the table.
func (x *scopeSource) disown(s *Store, name string) {
	old := x.table.latest(name)
	if old == nil {
		return
	}
	if x.owner[old.Value.Key] == name {
		delete(x.owner, old.Value.Key)
	}
	if old.Value.OnDemand {
		x.countLazy(s, old.Value.RouteConfigName, -1)
	}
}

// countLazy counts a scope that is loaded on demand, by the name of its route configuration.
func (x *scopeSource) countLazy(s *Store, routes string, n int) {
	x.onDemand += n
	if x.lazy[routes] += n; x.lazy[routes] == 0 {
		delete(x.lazy, routes)
	}
	if w := s.deps.wanted(xds.RouteType, routes); w == nil || w.idle {
		x.asleep += n
	}
}

// count brings the gauges up to date.
func (x *scopeSource) count() {
	for _, f := range x.follows {
		f.all.Set(uint64(len(x.owner)))
		f.onDemand.Set(uint64(x.onDemand))
		f.live.Set(uint64(max(len(x.owner)-x.asleep, 0)))
	}
}
