package model

import (
	"regexp"
	"time"
)

// WeightedCluster is one choice of a weighted split.
type WeightedCluster struct {
	Name string
	// Header names the cluster instead of Name; lower case.
	Header  string
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
	// WeightedByHash decides by the hash of HashPolicy, where there is one.
	WeightedByHash bool
	// WeightedRuntime is the prefix of the runtime keys that replace the weights: <prefix>.<cluster>; "" has none.
	WeightedRuntime string
	// ClusterNotFoundCode is the status for an unknown cluster. Default 503.
	ClusterNotFoundCode int
	// PrefixRewrite replaces the matched prefix or path when HasPrefixRewrite.
	PrefixRewrite    string
	HasPrefixRewrite bool
	RegexRewrite     *RegexRewrite
	// TemplateRewrite puts the path together from the groups of the route's template; nil leaves it.
	TemplateRewrite []TemplatePart
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
	Hedge               *HedgePolicy
	Mirrors             []Mirror
	InternalRedirect    *InternalRedirect
	MetadataMatch       map[string]any // the envoy.lb keys
	HighPriority        bool
	RateLimits          []RateLimit
	IncludeVHRateLimits bool
}

// RegexRewrite replaces what Regex matches by Substitution (RE2 syntax, \1 for groups).
type RegexRewrite struct {
	Regex        *regexp.Regexp
	Substitution string // in Go's ${1} syntax
}

// TemplatePart is literal text, or a group of RouteMatch.Regex when Group is not 0.
type TemplatePart struct {
	Literal string
	Group   int
}

// HashPolicy contributes to the hash of consistent balancers. One of Header, Cookie, SourceIP, QueryParameter and
// FilterState is set.
type HashPolicy struct {
	Header, Cookie, QueryParameter, FilterState string
	SourceIP                                    bool
	// HeaderRewrite changes the header's value before it is hashed; nil leaves it.
	HeaderRewrite *RegexRewrite
	// CookieTTL is negative when none is configured: then a missing cookie is not generated. 0 makes session cookies.
	CookieTTL  time.Duration
	CookiePath string
	// CookieAttributes are appended to a generated cookie.
	CookieAttributes []CookieAttribute
	Terminal         bool
}

// CookieAttribute is one attribute of a cookie; Value may be empty.
type CookieAttribute struct{ Name, Value string }

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
	// Format makes the body that is sent of Body and the request; nil sends Body.
	Format *ReplyBody
}
