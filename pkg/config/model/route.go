package model

import (
	"regexp"
	"time"
)

// RouteConfig is envoy.config.route.v3.RouteConfiguration.
type RouteConfig struct {
	Resource
	VirtualHosts           []*VirtualHost
	Headers                HeaderMutations
	InternalOnlyHeaders    []string
	IgnorePortInHost       bool
	MostSpecificWins       bool // most_specific_header_mutations_wins
	MaxDirectResponseBytes int  // default 4096
	PerFilter              map[string]*FilterOverride
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
	Headers    HeaderMutations
	Retry      *RetryPolicy
	PerFilter  map[string]*FilterOverride
	// IncludeAttemptCount adds x-envoy-attempt-count to requests; the second one to responses.
	IncludeAttemptCount, IncludeAttemptCountInResponse bool
}

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
	// Metadata as in Cluster.Metadata.
	Metadata map[string]map[string]any
}

// FilterOverride is typed_per_filter_config: a Config decoded by the filter's own package, or a Disabled mark.
type FilterOverride struct {
	Config   any
	Disabled bool
}

// PathKind is the way a route matches the path.
type PathKind uint8

// Path kinds.
const (
	PathPrefix PathKind = iota
	PathExact
	PathSeparatedPrefix
	PathRegex
	PathConnect
)

// RouteMatch is envoy.config.route.v3.RouteMatch. All criteria must hold.
type RouteMatch struct {
	Kind PathKind
	// Path is the prefix or path; lower case when IgnoreCase.
	Path       string
	IgnoreCase bool
	Regex      *regexp.Regexp // of PathRegex; matches the whole path without query
	Headers    []HeaderMatcher
	Query      []QueryMatcher
	GRPC       bool
	// Fraction of requests that match, in FractionDenominator; nil matches all.
	Fraction *Fraction
}

// Fraction is a RuntimeFractionalPercent: Numerator of Denominator (100, 10,000 or 1,000,000), which RuntimeKey can override.
type Fraction struct {
	Numerator, Denominator uint32
	RuntimeKey             string
}

// HeaderMatchKind is the way a HeaderMatcher decides.
type HeaderMatchKind uint8

// Header match kinds.
const (
	HeaderString HeaderMatchKind = iota
	HeaderPresent
	HeaderRange
)

// HeaderMatcher is envoy.config.route.v3.HeaderMatcher.
type HeaderMatcher struct {
	Name   string // lower case
	Kind   HeaderMatchKind
	String StringMatcher
	// Start and End of HeaderRange: Start inclusive, End exclusive.
	Start, End int64
	// Present is the wanted presence for HeaderPresent.
	Present bool
	Invert  bool
	// MissingAsEmpty treats a missing header as an empty value.
	MissingAsEmpty bool
}

// QueryMatcher is QueryParameterMatcher: presence only when Present is set.
type QueryMatcher struct {
	Name    string
	Present bool
	String  StringMatcher
}

// WeightedCluster is one choice of a weighted split.
type WeightedCluster struct {
	Name    string
	Weight  uint32
	Headers HeaderMutations
	// HostRewrite replaces the host when set.
	HostRewrite string
	PerFilter   map[string]*FilterOverride
	Metadata    map[string]any
}

// RouteAction forwards to a cluster.
type RouteAction struct {
	// Exactly one of Cluster, ClusterHeader and Weighted is set.
	Cluster       string
	ClusterHeader string
	Weighted      []WeightedCluster
	// WeightedHeader picks the random value from a request header.
	WeightedHeader string
	// ClusterNotFoundCode is the status for an unknown cluster. Default 503.
	ClusterNotFoundCode int
	// PrefixRewrite replaces the matched prefix or path when HasPrefixRewrite.
	PrefixRewrite    string
	HasPrefixRewrite bool
	RegexRewrite     *RegexRewrite
	// HostRewrite is literal; the others take the host from elsewhere.
	HostRewrite       string
	AutoHostRewrite   bool
	HostRewriteHeader string
	HostRewriteRegex  *RegexRewrite
	AppendXFH         bool // append_x_forwarded_host
	// Timeout of the whole exchange. Default 15 s; 0 disables.
	Timeout time.Duration
	// IdleTimeout overrides the stream idle timeout when HasIdleTimeout.
	IdleTimeout    time.Duration
	HasIdleTimeout bool
	// MaxStreamDuration overrides the one of the connection manager when HasMaxStreamDuration; 0 disables.
	MaxStreamDuration    time.Duration
	HasMaxStreamDuration bool
	// StreamTimeouts tells that max_stream_duration is set at all: then, as in Envoy, Timeout does not apply and the
	// grpc-timeout bounds are for the duration of the stream.
	StreamTimeouts bool
	// The grpc-timeout bounds; negative: unset.
	GRPCTimeoutMax      time.Duration
	GRPCTimeoutOffset   time.Duration
	Retry               *RetryPolicy
	Upgrades            []Upgrade
	HashPolicy          []HashPolicy
	MetadataMatch       map[string]any // the envoy.lb keys
	HighPriority        bool
	IncludeVHRateLimits bool
}

// RegexRewrite replaces what Regex matches by Substitution (RE2 syntax, \1 for groups).
type RegexRewrite struct {
	Regex        *regexp.Regexp
	Substitution string // in Go's ${1} syntax
}

// HashPolicy contributes to the hash of consistent balancers. One of Header, Cookie, SourceIP and QueryParameter is set.
type HashPolicy struct {
	Header, Cookie, QueryParameter string
	SourceIP                       bool
	// CookieTTL is negative when none is configured: then a missing cookie is not generated. 0 makes session cookies.
	CookieTTL  time.Duration
	CookiePath string
	Terminal   bool
}

// Redirect answers with a redirection.
type Redirect struct {
	Code          int // default 301
	HTTPS         bool
	Scheme        string
	Host          string
	Port          uint32
	Path          string // replaces the path (and query when it has one)
	PrefixRewrite string
	HasPrefix     bool
	RegexRewrite  *RegexRewrite
	StripQuery    bool
}

// DirectResponse answers with a fixed response.
type DirectResponse struct {
	Status int
	Body   []byte
}

// RetryPolicy is envoy.config.route.v3.RetryPolicy.
type RetryPolicy struct {
	On                   RetryOn
	NumRetries           uint32 // default 1
	PerTryTimeout        time.Duration
	PerTryIdleTimeout    time.Duration
	RetriableStatusCodes []uint32
	RetriableHeaders     []HeaderMatcher
	// RetriableRequestHeaders must match for retries to be allowed, when any.
	RetriableRequestHeaders []HeaderMatcher
	// BaseInterval default 25 ms; MaxInterval default 10 times that.
	BaseInterval, MaxInterval time.Duration
	// HostSelectionAttempts is how often a host may be re-picked that a predicate rejected.
	HostSelectionAttempts int64
	// AvoidPreviousHosts is the previous_hosts predicate.
	AvoidPreviousHosts bool
}

// RetryOn is a set of retry conditions.
type RetryOn uint32

// Retry conditions (x-envoy-retry-on and x-envoy-retry-grpc-on).
const (
	Retry5xx RetryOn = 1 << iota
	RetryGatewayError
	RetryReset
	RetryResetBeforeRequest
	RetryConnectFailure
	RetryEnvoyRateLimited
	RetryRetriable4xx
	RetryRefusedStream
	RetryRetriableStatusCodes
	RetryRetriableHeaders
	RetryGRPCCancelled
	RetryGRPCDeadlineExceeded
	RetryGRPCInternal
	RetryGRPCResourceExhausted
	RetryGRPCUnavailable
)

// HeaderMutations are applied removals first.
type HeaderMutations struct {
	RequestAdd     []HeaderOption
	RequestRemove  []string
	ResponseAdd    []HeaderOption
	ResponseRemove []string
}

// HeaderOption adds one header. Value is a format string with command operators (pkg/observe/format).
type HeaderOption struct {
	Name      string
	Value     string
	Append    AppendAction
	KeepEmpty bool
}

// AppendAction is HeaderValueOption.HeaderAppendAction.
type AppendAction uint8

// Append actions.
const (
	AppendOrAdd AppendAction = iota
	AddIfAbsent
	OverwriteOrAdd
	OverwriteIfExists
)
