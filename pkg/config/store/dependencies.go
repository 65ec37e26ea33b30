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
	// lazy is later, and the subscription waits for someone who asks (Store.Fetch...).
	lazy bool
	// scopes is set for subscriptions to SRDS.
	scopes *model.ScopeReference
	// routes is set for subscriptions to VHDS.
	routes *model.RouteConfig
	// secret is what a secret must be; of a want, any of what it must be for those who need it.
	secret model.SecretKind
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
	// pending are the wants that have not settled, by type and name.
	pending map[string]map[string]*want
	// contested are the wants that were moved while others wanted them from where they were.
	contested map[key]struct{}
	// keeping has what nothing needs any more stay until sweep, and unneeded is that.
	keeping  bool
	unneeded []*want
}

// want is a resource that something depends on.
type want struct {
	dependency
	refs int
	// others are further sources that it is wanted from, with how often.
	others []other
	// idle: nobody has subscribed to it, as all needs are lazy.
	idle bool
	// told is closed after the want settled and what it brought is in force; nil while nobody asked for that.
	told chan struct{}
	// settled: it arrived, or the wait for it is over.
	settled bool
	// waiters are told when it settles.
	waiters map[*waiter]struct{}
	// users counts the forms of each resource that have it, for filter configurations.
	users map[key]int
	timer *time.Timer
	stats *subscriptionStats
}

// waiter is a form of a resource that warms.
type waiter struct {
	name string
	// left counts what it still waits for.
	left int
	// queue is where it goes when that is nothing.
	queue *queue
	// over is called when it warms no more; nil for most.
	over func()
}

// end tells that a form warms no more: it serves, or was replaced or removed.
func (w *waiter) end() {
	if w.over != nil {
		w.over()
		w.over = nil
	}
}

// queue collects what wait for nothing more, of the resources of one type.
type queue struct {
	typeURL string
	list    []*waiter
}

func (q *queue) add(w *waiter) { q.list = append(q.list, w) }

// take empties the queue.
func (q *queue) take() []*waiter {
	list := q.list
	q.list = nil
	return list
}

func newDependencies(s *Store) *dependencies {
	return &dependencies{store: s, wants: map[key]*want{}, pending: map[string]map[string]*want{}, contested: map[key]struct{}{}}
}

func (d *dependencies) acquire(dep dependency) {
	w := d.wants[dep.key]
	if w != nil {
		w.refs++
		w.secret |= dep.secret
		if w.idle && !dep.lazy {
			d.subscribe(w)
		}
		d.move(w, dep)
		return
	}
	w = &want{dependency: dep, refs: 1}
	d.wants[dep.key] = w
	if dep.source == nil {
		w.settled = true
		return
	}
	w.settled = d.store.has(w) || dep.scopes != nil && d.store.scoping.received(dep.source.ID())
	switch scope := d.store.opt.Stats.Scope(dep.prefix); dep.typeURL {
	case xds.FilterType:
		w.stats = newFilterStats(scope)
	case xds.SecretType:
		w.stats = newSecretStats(scope)
	default:
		w.stats = newSubscriptionStats(scope)
	}
	if d.store.opt.Sources == nil {
		w.settled = true
		return
	}
	if w.idle = dep.lazy; !w.idle {
		d.subscribe(w)
	}
}

// subscribe asks the want's source for it.
func (d *dependencies) subscribe(w *want) {
	w.idle = false
	w.stats.follow(w.source)
	if !w.settled {
		d.hold(w)
	}
	switch {
	case w.scopes != nil:
		d.store.followScopes(w)
		return
	case w.typeURL == xds.VirtualHostType:
		d.store.followHosts(w)
		return
	}
	d.store.opt.Sources.Subscribe(w.source, w.typeURL, w.name)
}

// hold begins the wait for a resource.
func (d *dependencies) hold(w *want) {
	if d.pending[w.typeURL] == nil {
		d.pending[w.typeURL] = map[string]*want{}
	}
	d.pending[w.typeURL][w.name] = w
	t := w.source.InitialFetchTimeout
	if d.store.heardOf(w) && (t <= 0 || t > hostsPatience) {
		t = hostsPatience
	}
	if t > 0 {
		w.timer = time.AfterFunc(t, func() { d.store.fetchTimeout(w.key) })
	}
}

// unhold forgets a wait.
func (d *dependencies) unhold(w *want) {
	names := d.pending[w.typeURL]
	if delete(names, w.name); len(names) == 0 {
		delete(d.pending, w.typeURL) // a map that was large once stays slow to look through
	}
}

func (d *dependencies) release(dep dependency) {
	w := d.wants[dep.key]
	if w == nil {
		return
	}
	w.refs--
	switch {
	case w.refs > 0:
		d.leave(w, dep.source)
	case d.keeping:
		d.unneeded = append(d.unneeded, w)
	default:
		d.end(w)
	}
}

// keep has what nothing needs any more stay until sweep: one response may take a listener away and bring another one that has the
// same routes, which are not to be asked for again meanwhile.
func (d *dependencies) keep() { d.keeping = true }

// sweep ends that.
func (d *dependencies) sweep() {
	d.keeping = false
	unneeded := d.unneeded
	d.unneeded = nil
	for _, w := range unneeded {
		if w.refs == 0 && d.wants[w.key] == w {
			d.end(w)
		}
	}
}

// end gives up a resource that nothing needs any more.
func (d *dependencies) end(w *want) {
	delete(d.wants, w.key)
	d.unhold(w)
	if w.timer != nil {
		w.timer.Stop()
	}
	if w.source == nil {
		return
	}
	w.stats.close()
	d.tell(w)
	switch {
	case w.scopes != nil:
		d.store.leaveScopes(w)
		return
	case w.typeURL == xds.VirtualHostType && d.store.opt.Sources != nil:
		d.store.leaveHosts(w)
		return
	}
	if d.store.opt.Sources != nil && !w.idle {
		d.store.opt.Sources.Unsubscribe(w.source, w.typeURL, w.name)
	}
	d.store.forget(w.key)
}

// await makes x wait for a dependency that was acquired, unless it has settled or nothing waits for it.
func (d *dependencies) await(dep dependency, x *waiter) {
	w := d.wants[dep.key]
	if dep.later || dep.lazy || w.settled {
		return
	}
	if _, twice := w.waiters[x]; twice {
		return
	}
	if w.waiters == nil {
		w.waiters = map[*waiter]struct{}{}
	}
	w.waiters[x] = struct{}{}
	x.left++
}

// use notes that a form of a resource has a dependency, which it acquired, or with -1 that it has it no more.
func (d *dependencies) use(dep dependency, user key, n int) {
	w := d.wants[dep.key]
	if dep.typeURL != xds.FilterType || w == nil {
		return
	}
	if w.users == nil {
		w.users = map[key]int{}
	}
	if w.users[user] += n; w.users[user] <= 0 {
		delete(w.users, user)
	}
}

// giveUp ends the wait of x, which is of no use any more.
func (d *dependencies) giveUp(dep dependency, x *waiter) {
	if w := d.wants[dep.key]; w != nil {
		delete(w.waiters, x)
	}
}

// settle tells that the wait for a resource is over.
func (d *dependencies) settle(k key) {
	w := d.wants[k]
	if w == nil || w.settled {
		return
	}
	w.settled = true
	d.unhold(w)
	if w.timer != nil {
		w.timer.Stop()
		w.timer = nil
	}
	for x := range w.waiters {
		if x.left--; x.left == 0 {
			x.queue.add(x)
		}
	}
	w.waiters = nil
	d.tell(w)
}

// tell has those told that wait for a want, with the next publication.
func (d *dependencies) tell(w *want) {
	if w.told != nil {
		d.store.told = append(d.store.told, w.told)
		w.told = nil
	}
}

// wanted is the want of a resource, nil when nothing depends on it.
func (d *dependencies) wanted(typeURL, name string) *want { return d.wants[key{typeURL, name}] }

func clusterNeeds(c *model.Cluster) []dependency {
	var deps []dependency
	if c.NeedsEDS() {
		deps = append(deps, dependency{key: key{xds.EndpointType, c.EDSName()}, source: c.EDSSource, prefix: "cluster." + c.StatName() + "."})
	}
	return append(appendSecrets(deps, c.SecretReferences()), filterNeeds(c.FilterReferences())...)
}

func listenerNeeds(l *model.Listener) []dependency {
	deps := append(scopesNeeded(l.ScopeReferences()), routesNeeded(l.RouteReferences())...)
	return append(appendSecrets(deps, l.SecretReferences()), filterNeeds(l.FilterReferences())...)
}

func routesNeeded(refs []model.RouteReference) []dependency {
	var deps []dependency
	for _, r := range refs {
		deps = append(deps, dependency{
			key: key{xds.RouteType, r.Name}, source: r.Source, lazy: r.OnDemand, prefix: "http." + r.StatPrefix + ".rds." + r.Name + ".",
		})
	}
	return deps
}

func appendSecrets(deps []dependency, refs []model.SecretReference) []dependency {
	for _, r := range refs {
		deps = append(deps, dependency{key: key{xds.SecretType, r.Name}, source: r.Source, prefix: "sds." + r.Name + ".", secret: r.Kind})
	}
	return deps
}

func noNeeds[M any](M) []dependency { return nil }
