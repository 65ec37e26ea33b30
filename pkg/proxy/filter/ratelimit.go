package filter

// Descriptor is what a rate limit of a route or virtual host says about one request.
type Descriptor struct {
	// Stage of the filter that it is for.
	Stage uint32
	// DisableKey is a runtime key that turns it off; may be empty.
	DisableKey string
	Entries    []DescriptorEntry
	// Limit replaces the limit of the rate limit service; nil keeps that.
	Limit *DescriptorLimit
}

// DescriptorEntry is one entry of a Descriptor.
type DescriptorEntry struct{ Key, Value string }

// DescriptorLimit is a limit in requests per Unit: "SECOND", "MINUTE", "HOUR", "DAY", "MONTH" or "YEAR".
type DescriptorLimit struct {
	RequestsPerUnit uint32
	Unit            string
}

// RateLimitLevel says whose rate limits are meant.
type RateLimitLevel uint8

// Rate limit levels.
const (
	// RateLimitsOfRoute are those of the route, and with include_vh_rate_limits, or when the route has none, those of its
	// virtual host too.
	RateLimitsOfRoute RateLimitLevel = iota
	// RateLimitsOnlyRoute and RateLimitsOnlyVirtualHost are those of one of them.
	RateLimitsOnlyRoute
	RateLimitsOnlyVirtualHost
)
