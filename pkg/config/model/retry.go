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
