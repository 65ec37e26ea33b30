package model

import "time"

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
	// BaseInterval is 0 when none is configured: the runtime says it, or else it is 25 ms. MaxInterval likewise; 10 times the
	// base interval.
	BaseInterval, MaxInterval time.Duration
	// HostSelectionAttempts is how often a host may be re-picked that a predicate rejected.
	HostSelectionAttempts int64
	// AvoidPreviousHosts is the previous_hosts predicate.
	AvoidPreviousHosts bool
	// OmitCanaryHosts is the omit_canary_hosts predicate: hosts with canary: true in their envoy.lb metadata.
	OmitCanaryHosts bool
	// OmitHostMetadata are the omit_host_metadata predicates: hosts with all of the envoy.lb metadata of one of them.
	OmitHostMetadata []map[string]any
	// PriorityUpdateFrequency is the update_frequency of the previous_priorities retry priority: after so many attempts the
	// priorities of the hosts tried so far are left out. 0: there is no such policy.
	PriorityUpdateFrequency int
	// RateLimited is rate_limited_retry_back_off; nil when there is none.
	RateLimited *RateLimitedBackOff
}

// RateLimitedBackOff waits for as long as a response says before it is retried.
type RateLimitedBackOff struct {
	// Headers are looked for in order; the first with a usable value counts.
	Headers []ResetHeader
	// MaxInterval bounds what a value may ask for; a larger one is not used. Default 300 s.
	MaxInterval time.Duration
}

// ResetHeader tells when to try again.
type ResetHeader struct {
	Name string // lower case
	// Unix tells that the value is a time in seconds since 1970 rather than a number of seconds.
	Unix bool
}

// HedgePolicy is envoy.config.route.v3.HedgePolicy.
type HedgePolicy struct {
	// OnPerTryTimeout lets an attempt go on beside its retry after its per-try timeout.
	OnPerTryTimeout bool
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
