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
	Listeners map[string]*Listener
	// Clusters by name, without those that still warm.
	Clusters map[string]*Cluster
	// Routes holds route configurations that were delivered by RDS, by name. Inline ones are in their HTTPConnectionManager.
	Routes map[string]*RouteConfig
	// Endpoints holds what EDS delivered, by cluster (EDS service) name. Inline ones are in their Cluster.
	Endpoints map[string]*LoadAssignment
	// Secrets by name: static ones and what SDS delivered.
	Secrets map[string]*Secret
	// Filters holds the filter configurations that ECDS delivered, by name.
	Filters map[string]*FilterConfig
	// Interception says what the kernel captures; nil when nothing was configured.
	Interception *Interception
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
