package translate

import (
	"strings"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	canaryv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/host/omit_canary_hosts/v3"
	hostmetadatav3 "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/host/omit_host_metadata/v3"
	prioritiesv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/priority/previous_priorities/v3"

	"github.com/weir-proxy/weir/pkg/config/extension"
	"github.com/weir-proxy/weir/pkg/config/model"
)

// Envoy's defaults of retries.
const (
	defaultRetries      = 1
	defaultBaseInterval = 25 * time.Millisecond
	maxIntervalFactor   = 10
	// defaultRateLimitedMax is the default max_interval of rate_limited_retry_back_off.
	defaultRateLimitedMax = 300 * time.Second
	// defaultBudgetPercent is the default budget_percent of a retry budget.
	defaultBudgetPercent = 20
)

// http3PostConnect is a condition of HTTP/3 connections, which no upstream connection is.
const http3PostConnect = "http3-post-connect-failure"

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
	}
	for token := range strings.SplitSeq(m.GetRetryOn(), ",") {
		token = strings.TrimSpace(token)
		bit := retryOn(token)
		if bit == 0 && token != "" && token != http3PostConnect {
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
	out.RateLimited = c.rateLimited(m.GetRateLimitedRetryBackOff(), p.field("rate_limited_retry_back_off"))
	c.hostPredicates(m, out, p)
	c.retryPriority(m.GetRetryPriority(), out, p.field("retry_priority"))
	return out
}

// rateLimited translates the back-off that responses ask for; nil stays nil.
func (c *call) rateLimited(m *routev3.RetryPolicy_RateLimitedRetryBackOff, p *path) *model.RateLimitedBackOff {
	if m == nil {
		return nil
	}
	out := &model.RateLimitedBackOff{MaxInterval: max(c.duration(m.GetMaxInterval(), defaultRateLimitedMax, p, "max_interval"), time.Millisecond)}
	for _, h := range m.GetResetHeaders() {
		out.Headers = append(out.Headers, model.ResetHeader{
			Name: strings.ToLower(h.GetName()), Unix: h.GetFormat() == routev3.RetryPolicy_UNIX_TIMESTAMP,
		})
	}
	return out
}

// hostPredicates translates what keeps a retry away from a host.
func (c *call) hostPredicates(m *routev3.RetryPolicy, out *model.RetryPolicy, p *path) {
	for i, h := range m.GetRetryHostPredicate() {
		at := p.elem("retry_host_predicate", i)
		f, config := c.lookup(extension.RetryHostPredicates, h.GetName(), h.GetTypedConfig(), false, at)
		if f == nil {
			continue
		}
		switch k := config.(type) {
		case *canaryv3.OmitCanaryHostsPredicate:
			out.OmitCanaryHosts = true
		case *hostmetadatav3.OmitHostMetadataConfig:
			if s := k.GetMetadataMatch().GetFilterMetadata()[lbMetadata]; s != nil {
				out.OmitHostMetadata = append(out.OmitHostMetadata, plain(s))
			}
		default:
			out.AvoidPreviousHosts = true
		}
	}
}

// retryPriority translates how retries choose a priority.
func (c *call) retryPriority(m *routev3.RetryPolicy_RetryPriority, out *model.RetryPolicy, p *path) {
	if m == nil {
		return
	}
	f, config := c.lookup(extension.RetryPriorities, m.GetName(), m.GetTypedConfig(), false, p)
	if f == nil {
		return
	}
	frequency := config.(*prioritiesv3.PreviousPrioritiesConfig).GetUpdateFrequency()
	if frequency <= 0 {
		c.fail(p.field("typed_config").field("update_frequency"), "must be greater than 0")
		return
	}
	out.PriorityUpdateFrequency = int(frequency)
}

// hedge translates a hedge policy; nil stays nil.
func hedge(m *routev3.HedgePolicy) *model.HedgePolicy {
	if m == nil {
		return nil
	}
	return &model.HedgePolicy{OnPerTryTimeout: m.GetHedgeOnPerTryTimeout()}
}

// retryBudget translates the budget of a circuit breaker; nil stays nil.
func retryBudget(m *clusterv3.CircuitBreakers_Thresholds_RetryBudget) *model.RetryBudget {
	if m == nil {
		return nil
	}
	out := &model.RetryBudget{Percent: defaultBudgetPercent, MinConcurrency: u32(m.GetMinRetryConcurrency(), defaultMaxRetries)}
	if v := m.GetBudgetPercent(); v != nil {
		out.Percent = v.GetValue()
	}
	return out
}
