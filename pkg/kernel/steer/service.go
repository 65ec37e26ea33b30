package steer

import (
	"net/netip"
	"slices"
)

// Select is how the kernel chooses among the slots of a service.
type Select uint8

// Ways to choose.
const (
	// RoundRobin takes the slots in turn.
	RoundRobin Select = iota
	// Random draws a slot.
	Random
	// LeastConnections draws two slots and takes the one whose endpoint has fewer connections.
	LeastConnections
	// Maglev looks up the hash of the client's address (SourceIP hash policy).
	Maglev
)

// String returns "round_robin", "random", "least_connections" or "maglev".
func (s Select) String() string {
	return [...]string{"round_robin", "random", "least_connections", "maglev"}[s]
}

// Service is where offloaded connections go: one of its endpoints, chosen when the application connects. Without endpoints
// connect() is refused.
type Service struct {
	// Name identifies the service; rules refer to it.
	Name string
	// Cluster that the endpoints are of, as configured; the first one of weighted clusters.
	Cluster string
	// Select says how a slot is chosen.
	Select Select
	// Endpoints, each address once for each cluster.
	Endpoints []Endpoint
	// Table holds the slots, which are positions in Endpoints. Nil: each endpoint has one, in order.
	Table []uint32
	// MaxConnections is how many connections there may be at a time; those beyond it are refused.
	MaxConnections uint32
	// OwnNamespace offloads only sockets of weir's own network namespace; those of others are captured. Services with an endpoint
	// on loopback do so in any case.
	OwnNamespace bool
	// ConnectionLimit is how many connections a connection_limit filter admits; 0 for any number.
	ConnectionLimit uint32
	// Policy is what rbac filters decide about connections; nil for nothing. It must not need the source.
	Policy *Policy
}

// Endpoint is one upstream host of a service.
type Endpoint struct {
	// Addr is never an IPv4-mapped one.
	Addr netip.AddrPort
	// Cluster that it is of.
	Cluster string
}

// Same tells whether two services are the same in every respect.
func (s *Service) Same(other *Service) bool {
	return s.Name == other.Name && s.OwnNamespace == other.OwnNamespace && s.Cluster == other.Cluster && s.Select == other.Select &&
		s.MaxConnections == other.MaxConnections && s.ConnectionLimit == other.ConnectionLimit && s.Policy.Same(other.Policy) && slices.Equal(s.Endpoints, other.Endpoints) && slices.Equal(s.Table, other.Table)
}
