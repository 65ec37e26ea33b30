// Package store holds the current configuration and publishes it as snapshots.
//
// It owns which resources there are, which of them still warm up and what they wait for, what is subscribed to, and the
// order of publication. It must not know sockets or kernels: whoever applies snapshots is called through Options.Publish.
//
// One mutex guards everything; Publish is called with it held, so snapshots arrive one at a time and in order, and an
// xDS response is only acknowledged after its snapshot was applied. Publish must not call back into the store.
package store

import (
	"context"
	"log/slog"
	"sync"
	"time"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"

	"github.com/weir-proxy/weir/pkg/config/filewatch"
	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/config/translate"
	"github.com/weir-proxy/weir/pkg/config/xds"
	"github.com/weir-proxy/weir/pkg/observe/stats"
)

// Options of a Store.
type Options struct {
	Translate *translate.Translator
	// Sources is nil when there is no dynamic configuration.
	Sources SourceSet
	// Publish applies a snapshot; it returns when the snapshot is in force.
	Publish func(*model.Snapshot)
	// Stats is the root scope.
	Stats *stats.Scope
	Log   *slog.Logger
	// Watch follows the files that secrets were read from; nil does not.
	Watch *filewatch.Watcher
	// RejectUnknown rejects dynamic resources with fields that weir does not know (--reject-unknown-dynamic-fields).
	RejectUnknown bool
	// IgnoreUnknown does not log such fields (--ignore-unknown-dynamic-fields).
	IgnoreUnknown bool
}

// SourceSet is what the store needs of the xDS client.
type SourceSet interface {
	Sources
	// SubscribeAll asks for all resources of a type.
	SubscribeAll(src *model.Source, typeURL string)
	// UnsubscribeAll takes one SubscribeAll back.
	UnsubscribeAll(src *model.Source, typeURL string)
}

// Store is the configuration of the process.
type Store struct {
	opt Options

	mu           sync.Mutex
	clusters     *table[*model.Cluster]
	listeners    *table[*model.Listener]
	routes       *table[*model.RouteConfig]
	endpoints    *table[*model.LoadAssignment]
	secrets      *table[*model.Secret]
	filters      *table[*model.FilterConfig]
	scoping      scoping
	addresses    addresses
	hosting      hosting
	collections  map[string]*collection // of LEDS
	demand       demand
	reassigner   translate.Reassigner
	deps         *dependencies
	interception *model.Interception
	current      *model.Snapshot
	bootstrap    *bootstrapv3.Bootstrap
	loadedAt     time.Time
	// follows are the wildcard subscriptions (CDS, LDS) by type.
	follows map[string]*want
	// watches end the watching of a secret's files, by secret.
	watches map[string][]func()
	// versions are the last accepted versions of CDS and LDS, for /config_dump.
	versions map[string]string
	// told are closed after the next publication.
	told []chan struct{}
	// changed is closed and replaced whenever something changed.
	changed chan struct{}
	metrics metrics
}

// metrics are statistics of the whole store.
type metrics struct {
	clusterAdded, clusterModified, clusterRemoved *stats.Counter
	activeClusters, warmingClusters               *stats.Gauge
	listenersWarming                              *stats.Gauge
	dynamicUnknown, unsupported                   *stats.Counter
	connected                                     *stats.Gauge
	identifier                                    *stats.TextReadout
}

// New returns an empty store.
func New(opt Options) *Store {
	s := &Store{
		opt:         opt,
		clusters:    newTable(xds.ClusterType, clusterNeeds),
		listeners:   newTable(xds.ListenerType, listenerNeeds),
		secrets:     newTable(xds.SecretType, noNeeds[*model.Secret]),
		filters:     newTable(xds.FilterType, filterConfigNeeds),
		scoping:     newScoping(),
		addresses:   addresses{},
		hosting:     hosting{groups: map[hostsOf]*hostGroup{}, follows: map[string]int{}, heard: map[string]bool{}},
		collections: map[string]*collection{},
		demand:      demand{asks: asks{}, sources: map[string]*model.Source{}},
		current:     &model.Snapshot{},
		follows:     map[string]*want{},
		watches:     map[string][]func(){},
		versions:    map[string]string{},
		changed:     make(chan struct{}),
		metrics: metrics{
			clusterAdded:     opt.Stats.Counter("cluster_manager.cluster_added"),
			clusterModified:  opt.Stats.Counter("cluster_manager.cluster_modified"),
			clusterRemoved:   opt.Stats.Counter("cluster_manager.cluster_removed"),
			activeClusters:   opt.Stats.Gauge("cluster_manager.active_clusters"),
			warmingClusters:  opt.Stats.Gauge("cluster_manager.warming_clusters"),
			listenersWarming: opt.Stats.Gauge("listener_manager.total_listeners_warming"),
			dynamicUnknown:   opt.Stats.Counter("server.dynamic_unknown_fields"),
			unsupported:      opt.Stats.Counter("weir.config.unsupported_fields"),
			connected:        opt.Stats.Gauge("control_plane.connected_state"),
			identifier:       opt.Stats.TextReadout("control_plane.identifier"),
		},
	}
	s.endpoints = newTable(xds.EndpointType, s.endpointNeeds)
	s.endpoints.moved, s.endpoints.form = s.moveEndpoints, s.assemble
	s.routes = newTable(xds.RouteType, s.routeNeeds)
	s.routes.moved = s.moveRoutes
	s.clusters.moved = s.moveCluster
	s.filters.moved = s.moveFilter
	s.deps = newDependencies(s)
	return s
}

// SetSources gives the xDS client, which needs the store as its handler and so is made after it. Call it before Load.
func (s *Store) SetSources(src SourceSet) { s.opt.Sources = src }

// Load takes the static configuration and publishes the first snapshot. boot is what static was translated from.
func (s *Store) Load(static *translate.Static, boot *bootstrapv3.Bootstrap) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	s.bootstrap, s.loadedAt, s.interception = boot, now, static.Interception
	resources := boot.GetStaticResources()
	for i, v := range static.Secrets {
		s.secrets.put(s.deps, v.Name, &Entry[*model.Secret]{Value: v, Raw: pack(resources.GetSecrets()[i]), Updated: now, Static: true, hash: v.Hash})
		s.watchSecret(v)
	}
	s.promoteLeaves()
	for i, v := range static.Clusters {
		s.putCluster(&Entry[*model.Cluster]{Value: v, Raw: pack(resources.GetClusters()[i]), Updated: now, Static: true, hash: v.Hash})
		s.metrics.clusterAdded.Inc()
	}
	for i, v := range static.Listeners {
		s.putListener(&Entry[*model.Listener]{Value: v, Raw: pack(resources.GetListeners()[i]), Updated: now, Static: true, hash: v.Hash})
	}
	s.publish()
}

// Follow subscribes to all resources of a type: CDS or LDS.
func (s *Store) Follow(src *model.Source, typeURL string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	prefix := map[string]string{xds.ClusterType: "cluster_manager.cds.", xds.ListenerType: "listener_manager.lds."}[typeURL]
	w := &want{dependency: dependency{key: key{typeURL, ""}, source: src, prefix: prefix}, stats: newSubscriptionStats(s.opt.Stats.Scope(prefix))}
	w.stats.follow(src)
	s.follows[typeURL] = w
	if t := src.InitialFetchTimeout; t > 0 {
		w.timer = time.AfterFunc(t, func() { s.fetchTimeout(w.key) })
	}
	s.opt.Sources.SubscribeAll(src, typeURL)
}

// fetchTimeout ends the wait for a resource: what depends on it goes on without.
func (s *Store) fetchTimeout(k key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.deps.wants[k]
	if k.name == "" {
		w = s.follows[k.typeURL]
	}
	if w == nil || w.settled {
		return
	}
	if s.heardOf(w) {
		s.noHosts(w)
		return
	}
	s.deps.settle(k)
	w.settled = true
	w.stats.fetchTimeout.Inc()
	w.stats.pushed()
	w.stats.failed()
	if k.name == "" {
		s.opt.Log.Warn("gave up waiting for the first resources of a type; going on without them", "type", k.typeURL, "initial_fetch_timeout", w.source.InitialFetchTimeout)
	} else {
		s.opt.Log.Warn("gave up waiting for a resource; going on without it", "type", k.typeURL, "name", k.name, "initial_fetch_timeout", w.source.InitialFetchTimeout)
	}
	s.publish()
}

// has tells whether a resource is there already, or can be told not to be.
func (s *Store) has(w *want) bool {
	switch k := w.key; k.typeURL {
	case xds.EndpointType:
		return s.endpoints.latest(k.name) != nil
	case xds.RouteType:
		return s.routes.latest(k.name) != nil
	case xds.SecretType:
		return s.secrets.latest(k.name) != nil
	case xds.FilterType:
		return s.filters.latest(k.name) != nil
	case xds.VirtualHostType:
		g := s.hostsOf(w)
		return g != nil && (g.routes != nil || len(g.early) > 0)
	case xds.LbEndpointType:
		return s.collections[k.name] != nil
	}
	return false
}

// forget drops a resource that nothing needs any more.
func (s *Store) forget(k key) {
	switch k.typeURL {
	case xds.EndpointType:
		s.endpoints.remove(s.deps, k.name)
	case xds.RouteType:
		s.routes.remove(s.deps, k.name)
	case xds.FilterType:
		s.filters.remove(s.deps, k.name)
	case xds.LbEndpointType:
		delete(s.collections, k.name)
	case xds.SecretType:
		if e := s.secrets.latest(k.name); e == nil || !e.Static {
			s.unwatchSecret(k.name)
			s.secrets.remove(s.deps, k.name)
		}
	}
}

// promoteLeaves makes active what depends on nothing.
func (s *Store) promoteLeaves() {
	s.endpoints.promote(s.deps)
	s.routes.promote(s.deps)
	s.secrets.promote(s.deps)
}

// publish promotes what became ready and publishes a snapshot if anything changed. Called with mu held.
func (s *Store) publish() {
	s.promoteLeaves()
	s.promoteScopes()
	s.promoteFilters()
	s.clusters.promote(s.deps)
	s.listeners.promote(s.deps)
	s.contest()
	s.metrics.warmingClusters.Set(uint64(s.clusters.warming))
	s.metrics.listenersWarming.Set(uint64(s.listeners.warming))
	next := &model.Snapshot{
		Generation:   s.current.Generation + 1,
		Listeners:    s.listeners.published,
		Clusters:     s.clusters.published,
		Routes:       s.routes.published,
		Endpoints:    s.endpoints.published,
		Secrets:      s.secrets.published,
		Filters:      s.filters.published,
		Hosts:        s.hosting.published,
		Scopes:       s.scoping.published,
		Interception: s.interception,
	}
	if s.current.Generation == 0 || !next.Same(s.current) {
		s.current = next
		s.metrics.activeClusters.Set(uint64(next.Clusters.Len()))
		s.opt.Publish(next)
	}
	for _, c := range s.told {
		close(c)
	}
	s.told = nil
	close(s.changed)
	s.changed = make(chan struct{})
}

// Snapshot is what was published last.
func (s *Store) Snapshot() *model.Snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current
}

// Progress tells how far the first configuration has come.
type Progress struct {
	// ClustersWarming and ListenersWarming count what still waits for something.
	ClustersWarming, ListenersWarming int
	// Waiting are the types followed whose first response has not come.
	Waiting []string
}

// Await returns once enough is true for the progress, or when ctx ends.
func (s *Store) Await(ctx context.Context, enough func(Progress) bool) error {
	for {
		s.mu.Lock()
		p := Progress{ClustersWarming: s.clusters.warming, ListenersWarming: s.listeners.warming}
		for t, w := range s.follows {
			if !w.settled {
				p.Waiting = append(p.Waiting, t)
			}
		}
		changed := s.changed
		s.mu.Unlock()
		if enough(p) {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		}
	}
}
