package model

// RateLimit is envoy.config.route.v3.RateLimit: one descriptor, of the entries of all Actions in order.
type RateLimit struct {
	// Stage of the filter that the descriptor is for, 0 to 10.
	Stage uint32
	// DisableKey is a runtime key that turns the rate limit off.
	DisableKey string
	Actions    []RateLimitAction
	// Limit is where dynamic metadata has a limit of its own; nil when nowhere.
	Limit *MetadataKey
}

// MetadataKey is envoy.type.metadata.v3.MetadataKey: a path below the metadata of a filter.
type MetadataKey struct {
	Filter string
	Path   []string
}

// RateLimitKind is the way a RateLimitAction makes its entry.
type RateLimitKind uint8

// Rate limit action kinds.
const (
	RateLimitSourceCluster RateLimitKind = iota
	RateLimitDestinationCluster
	RateLimitRequestHeader
	RateLimitQueryParameter
	RateLimitRemoteAddress
	RateLimitMaskedRemoteAddress
	RateLimitGenericKey
	RateLimitHeaderMatch
	RateLimitQueryMatch
	RateLimitDynamicMetadata
	RateLimitRouteMetadata
)

// RateLimitAction is envoy.config.route.v3.RateLimit.Action: it makes one entry of a descriptor, or prevents the descriptor.
type RateLimitAction struct {
	Kind RateLimitKind
	// Key and Value of the entry. Key is never empty; Value is where the request does not give it.
	Key, Value string
	// Source is the header (lower case) or query parameter that Value comes from.
	Source string
	// SkipIfAbsent leaves the entry out when there is no value, instead of the whole descriptor.
	SkipIfAbsent bool
	// Headers of RateLimitHeaderMatch and Query of RateLimitQueryMatch must match, or must not where Unexpected is set.
	Headers    []HeaderMatcher
	Query      []QueryMatcher
	Unexpected bool
	// V4Bits and V6Bits are the prefix lengths of RateLimitMaskedRemoteAddress.
	V4Bits, V6Bits int
	// Metadata of the two metadata kinds; Value takes the place of what is not there.
	Metadata MetadataKey
}

// BufferLimit bounds what is kept of a request body for retries and mirroring.
type BufferLimit struct {
	Bytes uint64
	// BeyondConnection tells that Bytes may exceed the connection's buffer limit (request_body_buffer_limit); otherwise the
	// lesser of both counts (per_request_buffer_limit_bytes).
	BeyondConnection bool
}

// VirtualCluster is envoy.config.route.v3.VirtualCluster: requests that are counted together.
type VirtualCluster struct {
	Name    string
	Headers []HeaderMatcher
}
