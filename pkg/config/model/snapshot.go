// Package model is the immutable, protobuf-free form of weir's configuration.
//
// It owns the vocabulary that both halves of weir share: the proxy (pkg/proxy) routes by it and the kernel side
// (pkg/kernel/steer) compiles it into maps. It must not know protobuf, sockets, statistics or anything else of weir.
//
// Values are built once by pkg/config/translate and never written again, so they need no locking. Identity matters:
// a new snapshot shares the pointer of every resource that did not change, so "a != b" means "changed".
package model

import "time"

// Snapshot is the whole configuration at one moment.
type Snapshot struct {
	// Generation grows by one with each published snapshot, starting at 1.
	Generation uint64
	// Listeners by name, without those that still warm.
	Listeners Set[*Listener]
	// Clusters by name, without those that still warm.
	Clusters Set[*Cluster]
	// Routes holds route configurations that were delivered by RDS, by name. Inline ones are in their HTTPConnectionManager.
	Routes Set[*RouteConfig]
	// Endpoints holds what EDS delivered, by cluster (EDS service) name. Inline ones are in their Cluster.
	Endpoints Set[*LoadAssignment]
	// Secrets by name: static ones and what SDS delivered.
	Secrets Set[*Secret]
	// Filters holds the filter configurations that ECDS delivered, by name.
	Filters Set[*FilterConfig]
	// Hosts holds the virtual hosts that VHDS delivered, by the name of their route configuration.
	Hosts Set[*HostSet]
	// Scopes holds the scopes that SRDS delivered, by Source.ID.
	Scopes Set[*ScopeSet]
	// Interception says what the kernel captures; nil when nothing was configured.
	Interception *Interception
}

// Same tells whether two snapshots hold the same resources, by identity: it looks at none of them.
func (s *Snapshot) Same(other *Snapshot) bool {
	return s.Listeners.Same(other.Listeners) && s.Clusters.Same(other.Clusters) && s.Routes.Same(other.Routes) &&
		s.Endpoints.Same(other.Endpoints) && s.Secrets.Same(other.Secrets) && s.Filters.Same(other.Filters) && s.Scopes.Same(other.Scopes) && s.Hosts.Same(other.Hosts) &&
		s.Interception == other.Interception
}

// Resource is what every named configuration object carries beside its content.
type Resource struct {
	// Name identifies the resource among those of its type.
	Name string
	// Version is the xDS version it came with; empty for static configuration.
	Version string
	// UpdatedAt is when it was accepted.
	UpdatedAt time.Time
	// Dynamic tells resources that came over xDS from those of the bootstrap.
	Dynamic bool
	// Hash is over the content (deterministic serialisation), equal exactly when the content is.
	Hash uint64
}
