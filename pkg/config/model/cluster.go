package model

import (
	"net/netip"
	"time"
)

// Cluster is a group of equal upstream hosts (envoy.config.cluster.v3.Cluster).
type Cluster struct {
	Resource
	// AltStatName replaces Name in statistics when set.
	AltStatName string
	Type        ClusterType
	// EDSServiceName is asked for by EDS instead of Name when set.
	EDSServiceName string
	// EDSSource delivers the endpoints of an EDS cluster; nil for other types.
	EDSSource *Source
	// Inline endpoints: of STATIC, STRICT_DNS and LOGICAL_DNS clusters. EDS clusters have theirs in Snapshot.Endpoints.
	Inline       *LoadAssignment
	LB           LBPolicy
	LeastRequest LeastRequest
	// LocalityWeighted shares traffic by the weights of localities, which are ignored otherwise.
	LocalityWeighted bool
	ConnectTimeout   time.Duration // default 5 s
	// PerConnectionBufferLimit bounds the bytes buffered per upstream connection. Default 1 MiB.
	PerConnectionBufferLimit int
	// TLS originates TLS; nil connects in plain text.
	TLS *UpstreamTLS
	// TransportSocketMatches choose another transport socket by endpoint metadata, first match wins.
	TransportSocketMatches []TransportSocketMatch
	// HTTP holds the protocol towards the hosts.
	HTTP UpstreamHTTP
	// Breakers by priority: [0] default, [1] high.
	Breakers [2]CircuitBreaker
	DNS      DNS
	// CleanupInterval sweeps unused ORIGINAL_DST hosts. Default 5 s.
	CleanupInterval time.Duration
	// OriginalDst configures ORIGINAL_DST clusters.
	OriginalDst OriginalDst
	// MaxRequestsPerConnection closes an upstream connection after so many requests; 0 is unlimited.
	MaxRequestsPerConnection int
	// IdleTimeout closes pooled HTTP connections; 0 disables. Default 1 h.
	IdleTimeout time.Duration
	// MaxConnectionDuration bounds the age of a pooled connection; 0 is unlimited.
	MaxConnectionDuration time.Duration
	// PanicThreshold is the percentage of available hosts below which health is ignored. Default 50.
	PanicThreshold float64
	// Metadata as configured: filter name -> plain Go values (map[string]any, []any, string, float64, bool, nil).
	Metadata map[string]map[string]any
	// BindAddress is the source address of upstream connections; the zero value leaves it to the kernel.
	BindAddress netip.AddrPort
	// TCPKeepalive of upstream connections; nil leaves it off.
	TCPKeepalive *TCPKeepalive
}

// StatName is the name of the cluster in statistics.
func (c *Cluster) StatName() string {
	if c.AltStatName != "" {
		return c.AltStatName
	}
	return c.Name
}

// EDSName is the name that EDS knows the cluster's endpoints by.
func (c *Cluster) EDSName() string {
	if c.EDSServiceName != "" {
		return c.EDSServiceName
	}
	return c.Name
}

// ClusterType is Cluster.DiscoveryType.
type ClusterType uint8

// Cluster types.
const (
	ClusterStatic ClusterType = iota
	ClusterStrictDNS
	ClusterLogicalDNS
	ClusterEDS
	ClusterOriginalDst
)

// String is Envoy's name of the type.
func (t ClusterType) String() string {
	return [...]string{"STATIC", "STRICT_DNS", "LOGICAL_DNS", "EDS", "ORIGINAL_DST"}[t]
}

// LBPolicy is how a host is chosen.
type LBPolicy uint8

// Load-balancing policies.
const (
	LBRoundRobin LBPolicy = iota
	LBLeastRequest
	LBRandom
	LBClusterProvided
)

// LeastRequest holds the options of LBLeastRequest. ChoiceCount is at least 2 (default 2), ActiveRequestBias default 1.
type LeastRequest struct {
	ChoiceCount       int
	ActiveRequestBias float64
}

// CircuitBreaker bounds what a cluster may have under way per priority. Defaults 1024, 1024, 1024, 3.
type CircuitBreaker struct {
	MaxConnections, MaxPendingRequests, MaxRequests, MaxRetries uint32
	// TrackRemaining publishes the remaining_* gauges.
	TrackRemaining bool
}

// DNS holds the resolution options of DNS clusters.
type DNS struct {
	Family         DNSFamily
	RefreshRate    time.Duration // default 5 s
	FailureRefresh time.Duration // base interval after a failure; RefreshRate when 0
}

// DNSFamily is Cluster.DnsLookupFamily.
type DNSFamily uint8

// DNS lookup families.
const (
	DNSAuto DNSFamily = iota // IPv6 first, IPv4 when there is none
	DNSV4Only
	DNSV6Only
	DNSV4Preferred
	DNSAll
)

// OriginalDst holds the options of ORIGINAL_DST clusters.
type OriginalDst struct {
	// UseHTTPHeader honours HTTPHeader (default x-envoy-original-dst-host).
	UseHTTPHeader bool
	HTTPHeader    string
	// PortOverride replaces the port when not 0.
	PortOverride uint16
}

// TCPKeepalive holds the keep-alive options of a socket; 0 leaves one at the system's default.
type TCPKeepalive struct {
	Probes         int
	Time, Interval time.Duration
}

// UpstreamHTTP says which HTTP is spoken to the hosts of a cluster.
type UpstreamHTTP struct {
	Protocol UpstreamProtocol
	// HTTP2 options; zero values are Envoy's defaults.
	HTTP2 HTTP2Options
	HTTP1 HTTP1Options
}

// UpstreamProtocol is how the upstream HTTP version is chosen.
type UpstreamProtocol uint8

// Upstream protocols.
const (
	UpstreamHTTP1      UpstreamProtocol = iota // explicit HTTP/1.1, the default
	UpstreamHTTP2                              // prior knowledge, or ALPN h2 over TLS
	UpstreamAuto                               // by ALPN
	UpstreamDownstream                         // the protocol of the downstream request
)

// HTTP2Options is envoy.config.core.v3.Http2ProtocolOptions. Zero means the codec's default.
type HTTP2Options struct {
	MaxConcurrentStreams        uint32
	InitialStreamWindowSize     uint32
	InitialConnectionWindowSize uint32
	HPACKTableSize              uint32
}

// HTTP1Options is envoy.config.core.v3.Http1ProtocolOptions.
type HTTP1Options struct {
	AcceptHTTP10       bool
	DefaultHostHTTP10  string
	EnableTrailers     bool
	AllowAbsoluteURL   bool // default true
	AllowChunkedLength bool
	// HeaderFormat is how header names go out.
	HeaderFormat HeaderFormat
}

// HeaderFormat says how HTTP/1 header names are written.
type HeaderFormat uint8

// Header formats.
const (
	HeaderLowerCase HeaderFormat = iota
	HeaderProperCase
	HeaderPreserveCase
)

// LoadAssignment is the endpoints of a cluster (envoy.config.endpoint.v3.ClusterLoadAssignment).
type LoadAssignment struct {
	Resource
	Localities []*Locality
	// OverprovisioningFactor in percent. Default 140.
	OverprovisioningFactor uint32
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
