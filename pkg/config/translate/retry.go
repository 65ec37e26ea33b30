package translate

import (
	"strings"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/weir-proxy/weir/pkg/config/extension"
	"github.com/weir-proxy/weir/pkg/config/model"
)

// Envoy's defaults of retries.
const (
	defaultRetries      = 1
	defaultBaseInterval = 25 * time.Millisecond
	maxIntervalFactor   = 10
)

// retryOn returns the condition that a token of retry_on means; 0 when there is none.
func retryOn(token string) model.RetryOn {
	switch token {
	case "5xx":
		return model.Retry5xx
	case "gateway-error":
		return model.RetryGatewayError
	case "reset":
		return model.RetryReset
	case "reset-before-request":
		return model.RetryResetBeforeRequest
	case "connect-failure":
		return model.RetryConnectFailure
	case "envoy-ratelimited":
		return model.RetryEnvoyRateLimited
	case "retriable-4xx":
		return model.RetryRetriable4xx
	case "refused-stream":
		return model.RetryRefusedStream
	case "retriable-status-codes":
		return model.RetryRetriableStatusCodes
	case "retriable-headers":
		return model.RetryRetriableHeaders
	case "cancelled":
		return model.RetryGRPCCancelled
	case "deadline-exceeded":
		return model.RetryGRPCDeadlineExceeded
	case "internal":
		return model.RetryGRPCInternal
	case "resource-exhausted":
		return model.RetryGRPCResourceExhausted
	case "unavailable":
		return model.RetryGRPCUnavailable
	}
	return 0
}

// retry translates a retry policy; nil stays nil.
func (c *call) retry(m *routev3.RetryPolicy, p *path) *model.RetryPolicy {
	if m == nil {
		return nil
	}
	out := &model.RetryPolicy{
		NumRetries:              u32(m.GetNumRetries(), defaultRetries),
		PerTryTimeout:           c.duration(m.GetPerTryTimeout(), 0, p, "per_try_timeout"),
		PerTryIdleTimeout:       c.duration(m.GetPerTryIdleTimeout(), 0, p, "per_try_idle_timeout"),
		RetriableStatusCodes:    m.GetRetriableStatusCodes(),
		RetriableHeaders:        c.headerMatchers(m.GetRetriableHeaders(), p, "retriable_headers"),
		RetriableRequestHeaders: c.headerMatchers(m.GetRetriableRequestHeaders(), p, "retriable_request_headers"),
		HostSelectionAttempts:   m.GetHostSelectionRetryMaxAttempts(),
		BaseInterval:            defaultBaseInterval,
		MaxInterval:             maxIntervalFactor * defaultBaseInterval,
	}
	for token := range strings.SplitSeq(m.GetRetryOn(), ",") {
		token = strings.TrimSpace(token)
		bit := retryOn(token)
		if bit == 0 && token != "" {
			c.warn(p.field("retry_on"), "%q is not a retry condition and is left out", token)
		}
		out.On |= bit
	}
	if out.HostSelectionAttempts == 0 {
		out.HostSelectionAttempts = 1
	}
	if b := m.GetRetryBackOff(); b != nil {
		at := p.field("retry_back_off")
		out.BaseInterval = max(c.duration(b.GetBaseInterval(), defaultBaseInterval, at, "base_interval"), time.Millisecond)
		out.MaxInterval = max(c.duration(b.GetMaxInterval(), maxIntervalFactor*out.BaseInterval, at, "max_interval"), time.Millisecond)
		if out.MaxInterval < out.BaseInterval {
			c.fail(at.field("max_interval"), "retry_policy.max_interval must greater than or equal to the base_interval")
		}
	}
	c.hostPredicates(m, out, p)
	return out
}

// hostPredicates translates what keeps a retry away from a host.
func (c *call) hostPredicates(m *routev3.RetryPolicy, out *model.RetryPolicy, p *path) {
	for i, h := range m.GetRetryHostPredicate() {
		at := p.elem("retry_host_predicate", i)
		typeURL := ""
		if h.GetTypedConfig() != nil {
			typeURL = c.typeOf(h.GetTypedConfig())
		}
		_, err := c.t.registry.Lookup(extension.RetryHostPredicates, typeURL, h.GetName())
		switch {
		case err == nil:
			out.AvoidPreviousHosts = true
		case isKnown(err) || strings.HasPrefix(h.GetName(), "envoy.retry_host_predicates."):
			c.warn(at, "host predicate %s is not supported by weir yet and is left out", h.GetName())
		default:
			c.fail(at, "%v", err)
		}
	}
}
