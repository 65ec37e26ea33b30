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
	// SlowStart holds the options of LBRoundRobin and LBLeastRequest for hosts that are new; without a window there is none.
	SlowStart SlowStart
	// HashLB holds the options of LBRingHash and LBMaglev.
	HashLB HashBalancer
	// FailOnPanic serves nobody where too few hosts are available, instead of ignoring health.
	FailOnPanic bool
	// LocalityWeighted shares traffic by the weights of localities, which are ignored otherwise.
	LocalityWeighted bool
	ConnectTimeout   time.Duration // default 5 s
	// TLS originates TLS; nil connects in plain text.
	TLS *UpstreamTLS
	// SNIHeader names the request header that server names are taken from where they follow the request; "" takes its host.
	SNIHeader string
	// TransportSocketMatches choose another transport socket by endpoint metadata, first match wins.
	TransportSocketMatches []TransportSocketMatch
	// HTTP holds the protocol towards the hosts.
	HTTP UpstreamHTTP
	// Filters is the chain that runs around each HTTP exchange with a host; nil for none. The last one is terminal.
	Filters []*HTTPFilter
	// Breakers by priority: [0] default, [1] high.
	Breakers [2]CircuitBreaker
	// HostConnections bounds the connections to each host by priority, as Breakers; 0 does not.
	HostConnections [2]uint32
	Preconnect      Preconnect
	DNS             DNS
	// SkipWarming does not make the start wait until the names of a DNS cluster are resolved.
	SkipWarming bool
	// CloseOnHostChange lets go of all connections when hosts come or go.
	CloseOnHostChange bool
	// HealthChecks are the active checks of the hosts, of which each must be passed; nil without.
	HealthChecks []*HealthCheck
	// OutlierDetection ejects hosts whose answers are bad; nil does not.
	OutlierDetection *OutlierDetection
	// CloseOnUnhealthy lets go of the connections of a host that fails its checks.
	CloseOnUnhealthy bool
	// IgnoreHealthOnRemoval removes a host at once, even while it passes its checks.
	IgnoreHealthOnRemoval bool
	// IgnoreNewHosts leaves hosts that were never checked out of the count that panic mode goes by.
	IgnoreNewHosts bool
	HappyEyeballs  HappyEyeballs
	// TrackSizes and TrackBudgets keep histograms of the sizes of messages and of how much of their timeouts requests use.
	TrackSizes, TrackBudgets bool
	// CleanupInterval sweeps unused ORIGINAL_DST hosts. Default 5 s.
	CleanupInterval time.Duration
	// OriginalDst configures ORIGINAL_DST clusters.
	OriginalDst OriginalDst
	// MaxRequestsPerConnection closes an upstream connection after so many requests; 0 is unlimited.
	MaxRequestsPerConnection int
	// IdleTimeout closes pooled HTTP connections; 0 disables. Default 1 h.
	IdleTimeout time.Duration
	// TCPIdleTimeout closes connections that were made ahead and that no TCP proxy has used; 0 disables. Default 10 min.
	TCPIdleTimeout time.Duration
	// MaxConnectionDuration bounds the age of a pooled connection; 0 is unlimited.
	MaxConnectionDuration time.Duration
	// MaxStreamDuration bounds an attempt from the moment it has a connection; 0 is unlimited.
	MaxStreamDuration time.Duration
	// PanicThreshold is the percentage of available hosts below which health is ignored. Default 50.
	PanicThreshold float64
	// Metadata as configured: filter name -> plain Go values (map[string]any, []any, string, float64, bool, nil).
	Metadata map[string]map[string]any
	// BindAddress is the source address of upstream connections to hosts of its family, and BindOther of those to hosts of the
	// other; the zero value leaves it to the kernel.
	BindAddress, BindOther netip.AddrPort
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
	LBRingHash
	LBMaglev
)

// String is Envoy's name of the policy.
func (p LBPolicy) String() string {
	return [...]string{"ROUND_ROBIN", "LEAST_REQUEST", "RANDOM", "CLUSTER_PROVIDED", "RING_HASH", "MAGLEV"}[p]
}

// LeastRequest holds the options of LBLeastRequest. ChoiceCount is at least 2 (default 2), ActiveRequestBias default 1.
type LeastRequest struct {
	ChoiceCount       int
	ActiveRequestBias float64
	// BiasKey is the runtime key that overrides ActiveRequestBias; may be empty.
	BiasKey string
	// FullScan looks at all hosts instead of ChoiceCount of them, as long as they have equal weights.
	FullScan bool
}

// SlowStart lets the weight of a host grow for a time, from when it is first healthy or passes its active checks again: to
// max(MinWeight, age/Window ^ 1/Aggression) of what it is.
type SlowStart struct {
	// Window is for how long it grows; 0 is for no time.
	Window time.Duration
	// Aggression is above 0. Default 1, which is in proportion to the age.
	Aggression float64
	// AggressionKey is the runtime key that overrides Aggression; may be empty.
	AggressionKey string
	// MinWeight is the least share of the weight, from 0 to 1. Default 0.1.
	MinWeight float64
}

// HashBalancer holds the options of consistent balancers.
type HashBalancer struct {
	// MinRing and MaxRing bound the entries of a ring. Defaults 1024 and 8388608, which is the greatest.
	MinRing, MaxRing int
	// Murmur hashes with MurmurHash2 instead of xxHash64 (ring only).
	Murmur bool
	// TableSize of Maglev is a prime number up to 5000011. Default 65537.
	TableSize int
	// UseHostname takes the host name of a host instead of its address as what it is hashed by.
	UseHostname bool
	// BalanceFactor bounds the requests of a host, in percent (at least 100) of its part of the average; 0 does not.
	BalanceFactor uint32
}

// CircuitBreaker bounds what a cluster may have under way per priority. Defaults 1024, 1024, 1024, 3.
type CircuitBreaker struct {
	MaxConnections, MaxPendingRequests, MaxRequests, MaxRetries uint32
	// MaxConnectionPools bounds the pools of connections; 0 does not.
	MaxConnectionPools uint32
	// TrackRemaining publishes the remaining_* gauges.
	TrackRemaining bool
	// RetryBudget bounds concurrent retries instead of MaxRetries; nil when there is none.
	RetryBudget *RetryBudget
}

// RetryBudget is CircuitBreakers.Thresholds.RetryBudget.
type RetryBudget struct {
	Percent        float64 // of the requests under way and pending; default 20
	MinConcurrency uint32  // retries that are always allowed; default 3
}

// Preconnect says how many connections there should be for each request, those under way included: to its host, and to
// the hosts that are likely to be next. At least 1, which makes none ahead, and at most 3.
type Preconnect struct {
	PerHost, Predictive float64
}

// DNS holds the resolution options of DNS clusters.
type DNS struct {
	Family         DNSFamily
	RefreshRate    time.Duration // default 5 s
	FailureRefresh time.Duration // base interval after a failure; RefreshRate when 0
	FailureMax     time.Duration // greatest interval after failures; ten times FailureRefresh when 0
	Jitter         time.Duration // up to so much is added to RefreshRate
	// RespectTTL takes the TTL of an answer instead of RefreshRate, unless it is 0, but MinRefresh at the least.
	RespectTTL bool
	MinRefresh time.Duration
	// Servers are asked instead of those of the system, when there are any.
	Servers []netip.AddrPort
	// TCP asks over TCP. NoSearch takes names as they are, without the system's search domains.
	TCP, NoSearch bool
}

// HappyEyeballs says in which order the addresses of one endpoint are tried: FirstCount (at least 1) of the first family,
// then the families in turn. FirstCount 0 stands for 1.
type HappyEyeballs struct {
	First      FirstFamily
	FirstCount int
}

// FirstFamily is the family whose addresses are tried first.
type FirstFamily uint8

// Families that may be first.
const (
	FirstAsGiven FirstFamily = iota // that of the first address
	FirstV4
	FirstV6
)

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
