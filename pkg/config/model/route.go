package model

// RouteConfig is envoy.config.route.v3.RouteConfiguration.
type RouteConfig struct {
	Resource
	VirtualHosts []*VirtualHost
	// VHDS delivers further virtual hosts, all at once or when requests need them (Snapshot.Hosts); nil for none.
	VHDS                   *Source
	Headers                HeaderMutations
	InternalOnlyHeaders    []string
	IgnorePortInHost       bool
	IgnorePathParameters   bool // ignore_path_parameters_in_path_matching: what follows ";" in a path
	MostSpecificWins       bool // most_specific_header_mutations_wins
	MaxDirectResponseBytes int  // default 4096
	PerFilter              map[string]*FilterOverride
	Mirrors                []Mirror
	// ValidateClusters makes a reference to an unknown cluster an error. Default true for inline route
	// configurations, false for those of RDS.
	ValidateClusters bool
}

// VirtualHost serves a set of domains.
type VirtualHost struct {
	Name string
	// Domains: exact, "*.suffix", "prefix.*" or "*"; lower case.
	Domains    []string
	RequireTLS RequireTLS
	Routes     []*Route
	// Matcher, when not nil, chooses among routes in place of Routes: a tree of pkg/proxy/matcher whose actions are
	// *RouteList. MatcherRoutes are all routes of these.
	Matcher       any
	MatcherRoutes []*Route
	Headers       HeaderMutations
	Retry         *RetryPolicy
	Hedge         *HedgePolicy
	Mirrors       []Mirror
	PerFilter     map[string]*FilterOverride
	// VirtualClusters in order; a request counts for the first that fits.
	VirtualClusters []VirtualCluster
	RateLimits      []RateLimit
	// BufferLimit applies where the route has none, when HasBufferLimit.
	BufferLimit    BufferLimit
	HasBufferLimit bool
	// IncludeTimeoutRetry adds x-envoy-is-timeout-retry to retries.
	IncludeTimeoutRetry bool
	// IncludeAttemptCount adds x-envoy-attempt-count to requests; the second one to responses.
	IncludeAttemptCount, IncludeAttemptCountInResponse bool
}

// RouteList is an action of VirtualHost.Matcher; the first route that fits is taken.
type RouteList struct{ Routes []*Route }

// RequireTLS is VirtualHost.TlsRequirementType.
type RequireTLS uint8

// TLS requirements.
const (
	TLSNone RequireTLS = iota
	TLSExternalOnly
	TLSAll
)

// Route is one entry of a virtual host; the first whose Match fits is taken. Exactly one of Action, Redirect and
// Direct is set.
type Route struct {
	Name      string
	Match     RouteMatch
	Action    *RouteAction
	Redirect  *Redirect
	Direct    *DirectResponse
	Headers   HeaderMutations
	PerFilter map[string]*FilterOverride
	// StatPrefix names statistics of this route's requests: vhost.<virtual host>.route.<prefix>; "" has none.
	StatPrefix string
	// BufferLimit replaces that of the virtual host when HasBufferLimit.
	BufferLimit    BufferLimit
	HasBufferLimit bool
	// Metadata as in Cluster.Metadata.
	Metadata map[string]map[string]any
}

// FilterOverride is typed_per_filter_config: a Config decoded by the filter's own package, or a Disabled mark. One that has
// neither enables a filter that is disabled otherwise.
type FilterOverride struct {
	Config   any
	Disabled bool
	// TypeURL is that of the configuration of the filter that Config is for; empty when Config is nil.
	TypeURL string
}
