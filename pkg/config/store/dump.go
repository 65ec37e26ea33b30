package store

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/config/xds"
)

// Dump is everything the store holds, for /config_dump. Its values are shared and not to be written.
type Dump struct {
	Bootstrap *bootstrapv3.Bootstrap
	LoadedAt  time.Time
	// ClusterVersion and ListenerVersion are the last accepted versions of CDS and LDS.
	ClusterVersion, ListenerVersion string
	Clusters                        []Slot[*model.Cluster]
	Listeners                       []Slot[*model.Listener]
	Routes                          []Slot[*model.RouteConfig]
	Endpoints                       []Slot[*model.LoadAssignment]
	Secrets                         []Slot[*model.Secret]
	Filters                         []Slot[*model.FilterConfig]
	// Hosts are the virtual hosts that VHDS delivered, by the name of their route configuration and in order of their names.
	Hosts map[string][]*anypb.Any
	// Scopes are by the model.Source.ID of their source of SRDS.
	Scopes map[string][]Slot[*model.Scope]
	// Waiting are the resources that something still waits for, in order of types and names.
	Waiting []Wait
}

// Reference names a resource.
type Reference struct{ Type, Name string }

// Wait is a resource that others wait for. Those for which control planes have no names have one here: all scopes that a
// connection manager follows, all virtual hosts of a route configuration, all endpoints of a collection.
type Wait struct {
	Reference
	// For are the resources whose newest form waits for it, in order of types and names. They may be waited for in turn.
	For []Reference
}

// Dump returns the present state, each list in order of names.
func (s *Store) Dump() *Dump {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := &Dump{
		Bootstrap:       s.bootstrap,
		LoadedAt:        s.loadedAt,
		ClusterVersion:  s.versions[xds.ClusterType],
		ListenerVersion: s.versions[xds.ListenerType],
		Clusters:        s.clusters.list(),
		Listeners:       s.listeners.list(),
		Routes:          s.routes.list(),
		Endpoints:       s.endpoints.list(),
		Secrets:         s.secrets.list(),
		Filters:         s.filters.list(),
		Scopes:          s.scoping.list(),
		Hosts:           s.hosting.list(),
	}
	for typeURL, names := range s.deps.pending {
		for name, w := range names {
			d.Waiting = append(d.Waiting, Wait{Reference{typeURL, name}, s.waitersOf(w)})
		}
	}
	slices.SortFunc(d.Waiting, func(a, b Wait) int { return compareReferences(a.Reference, b.Reference) })
	return d
}

func compareReferences(a, b Reference) int {
	return cmp.Or(strings.Compare(a.Type, b.Type), strings.Compare(a.Name, b.Name))
}

// waitersOf names what waits for a want. What a scope waits for, all do that follow its source.
func (s *Store) waitersOf(w *want) []Reference {
	var list []Reference
	for x := range w.waiters {
		if x.queue.typeURL != xds.ScopedRouteType {
			list = append(list, Reference{x.queue.typeURL, x.name})
			continue
		}
		for _, source := range s.scoping.sources {
			if &source.table.ready == x.queue {
				for name := range source.follows {
					list = append(list, Reference{xds.ScopedRouteType, name})
				}
			}
		}
	}
	slices.SortFunc(list, compareReferences)
	return slices.Compact(list)
}

// AllScopes are the scopes of all sources, in order of the sources.
func (d *Dump) AllScopes() []Slot[*model.Scope] {
	var all []Slot[*model.Scope]
	for _, source := range slices.Sorted(maps.Keys(d.Scopes)) {
		all = append(all, d.Scopes[source]...)
	}
	return all
}

// list returns the messages of all virtual hosts.
func (h *hosting) list() map[string][]*anypb.Any {
	out := make(map[string][]*anypb.Any, len(h.groups))
	for id, g := range h.groups {
		for _, resource := range slices.Sorted(maps.Keys(g.hosts)) {
			out[id.routes] = append(out[id.routes], g.hosts[resource].Raw)
		}
	}
	return out
}
