package store

import (
	"time"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/config/xds"
)

// key names a resource that others depend on.
type key struct{ typeURL, name string }

// dependency is one need of a resource for another one.
type dependency struct {
	key
	// source is nil when the resource is static: then it is there or never will be.
	source *model.Source
	// prefix is where the statistics of the subscription live.
	prefix string
	// later tells that nothing waits for it.
	later bool
}

// Sources deliver resources by name; pkg/config/xds implements it.
type Sources interface {
	Subscribe(src *model.Source, typeURL, name string)
	Unsubscribe(src *model.Source, typeURL, name string)
}

// dependencies counts who needs what, subscribes for the first and unsubscribes after the last. Guarded by Store.mu.
type dependencies struct {
	store *Store
	wants map[key]*want
}

// want is a resource that something depends on.
type want struct {
	dependency
	refs int
	// settled: it arrived, or the wait for it is over.
	settled bool
	timer   *time.Timer
	stats   *subscriptionStats
}

func (d *dependencies) acquire(dep dependency) {
	w := d.wants[dep.key]
	if w != nil {
		w.refs++
		return
	}
	w = &want{dependency: dep, refs: 1}
	d.wants[dep.key] = w
	if dep.source == nil {
		w.settled = true
		return
	}
	w.settled = d.store.has(dep.key)
	if scope := d.store.opt.Stats.Scope(dep.prefix); dep.typeURL == xds.FilterType {
		w.stats = newFilterStats(scope)
	} else {
		w.stats = newSubscriptionStats(scope)
	}
	if d.store.opt.Sources == nil {
		w.settled = true
		return
	}
	if t := dep.source.InitialFetchTimeout; t > 0 && !w.settled {
		w.timer = time.AfterFunc(t, func() { d.store.fetchTimeout(dep.key) })
	}
	d.store.opt.Sources.Subscribe(dep.source, dep.typeURL, dep.name)
}

func (d *dependencies) release(dep dependency) {
	w := d.wants[dep.key]
	if w == nil {
		return
	}
	if w.refs--; w.refs > 0 {
		return
	}
	delete(d.wants, dep.key)
	if w.timer != nil {
		w.timer.Stop()
	}
	if w.source == nil {
		return
	}
	w.stats.close()
	if d.store.opt.Sources != nil {
		d.store.opt.Sources.Unsubscribe(w.source, w.typeURL, w.name)
	}
	d.store.forget(w.key)
}

// settle tells that the wait for a resource is over; true when someone waits for it.
func (d *dependencies) settle(k key) bool {
	w := d.wants[k]
	if w == nil {
		return false
	}
	w.settled = true
	if w.timer != nil {
		w.timer.Stop()
		w.timer = nil
	}
	return true
}

// ready tells whether none of the dependencies is still waited for.
func (d *dependencies) ready(deps []dependency) bool {
	for _, dep := range deps {
		if w := d.wants[dep.key]; w != nil && !w.settled && !dep.later {
			return false
		}
	}
	return true
}

// names lists the settled or pending names of a type that are wanted from a source.
func (d *dependencies) wanted(typeURL, name string) *want { return d.wants[key{typeURL, name}] }

func clusterNeeds(c *model.Cluster) []dependency {
	var deps []dependency
	if c.NeedsEDS() {
		deps = append(deps, dependency{key: key{xds.EndpointType, c.EDSName()}, source: c.EDSSource, prefix: "cluster." + c.StatName() + "."})
	}
	return appendSecrets(deps, c.SecretReferences())
}

func listenerNeeds(l *model.Listener) []dependency {
	var deps []dependency
	prefixes := routePrefixes(l)
	for _, r := range l.RouteReferences() {
		deps = append(deps, dependency{key: key{xds.RouteType, r.Name}, source: r.Source, prefix: "http." + prefixes[r.Name] + ".rds." + r.Name + "."})
	}
	return append(appendSecrets(deps, l.SecretReferences()), filterNeeds(l)...)
}

// routePrefixes maps each RDS name to the statistics prefix of the first connection manager that uses it.
func routePrefixes(l *model.Listener) map[string]string {
	prefixes := map[string]string{}
	chains := l.FilterChains
	if l.DefaultFilterChain != nil {
		chains = append(chains[:len(chains):len(chains)], l.DefaultFilterChain)
	}
	for _, c := range chains {
		for _, f := range c.Filters {
			if h, ok := f.Config.(*model.HTTPConnectionManager); ok && prefixes[h.RouteConfigName] == "" {
				prefixes[h.RouteConfigName] = h.StatPrefix
			}
		}
	}
	return prefixes
}

func appendSecrets(deps []dependency, refs []model.SecretReference) []dependency {
	for _, r := range refs {
		deps = append(deps, dependency{key: key{xds.SecretType, r.Name}, source: r.Source, prefix: "sds." + r.Name + "."})
	}
	return deps
}

func noNeeds[M any](M) []dependency { return nil }
