package model

import (
	"net/netip"
	"time"
)

// LoadAssignment is the endpoints of a cluster (envoy.config.endpoint.v3.ClusterLoadAssignment).
type LoadAssignment struct {
	Resource
	Localities []*Locality
	// OverprovisioningFactor in percent. Default 140.
	OverprovisioningFactor uint32
	// StaleAfter is for how long the endpoints are good when nothing more comes of them; 0 is for ever.
	StaleAfter time.Duration
	// DropOverloads are in order; each drops its share of what the earlier ones let through.
	DropOverloads []DropOverload
}

// DropOverload drops Percent (0 to 100) of requests under the name Category.
type DropOverload struct {
	Category string
	Percent  float64
}

// Locality groups endpoints of one place and priority.
type Locality struct {
	Region, Zone, SubZone string
	Priority              uint32 // 0 is the highest
	Weight                uint32 // 0: none given
	Endpoints             []*Endpoint
	// LEDS delivers the endpoints one by one; nil when Endpoints are all there are.
	LEDS *LEDS
}

// LEDS is LedsClusterLocalityConfig: a collection of endpoints.
type LEDS struct {
	Source *Source
	// Collection is an xdstp:// name that ends with "/*".
	Collection string
}

// Endpoint is one configured upstream host.
type Endpoint struct {
	// Address is set when the configured address is an IP; otherwise Host and Port name what DNS resolves.
	Address netip.AddrPort
	Host    string
	Port    uint16
	// Pipe is the path of a unix domain socket, when set.
	Pipe string
	// Hostname is for auto host rewrite and SNI.
	Hostname string
	Weight   uint32 // default 1
	Health   HealthStatus
	// Metadata as in Cluster.Metadata.
	Metadata map[string]map[string]any
	// AdditionalAddresses for happy eyeballs.
	AdditionalAddresses []netip.AddrPort
	// HealthCheck says how the endpoint is checked in another way than the cluster's others; nil when it is not.
	HealthCheck *EndpointHealthCheck
}

// HealthStatus is what EDS says of an endpoint.
type HealthStatus uint8

// Health states.
const (
	HealthUnknown HealthStatus = iota // taken as healthy
	HealthHealthy
	HealthUnhealthy
	HealthDraining
	HealthTimeout
	HealthDegraded
)
