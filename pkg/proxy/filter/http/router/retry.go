package httprouter

import (
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
	"github.com/weir-proxy/weir/pkg/proxy/router/match"
	"github.com/weir-proxy/weir/pkg/proxy/upstream"
)

func random() uint64 { return rand.Uint64() }

// retryState decides about retries of one exchange.
type retryState struct {
	on       model.RetryOn
	policy   *model.RetryPolicy // may be nil
	left     uint32
	done     uint32
	codes    []uint32 // of x-envoy-retriable-status-codes
	names    []string // of x-envoy-retriable-header-names
	interval time.Duration
	max      time.Duration
	limited  time.Duration // what the last response asks to wait; 0: nothing
	runtime  *model.Runtime
}

// retryNames are the names of retry_on.
var retryNames = map[string]model.RetryOn{
	"5xx":                    model.Retry5xx,
	"gateway-error":          model.RetryGatewayError,
	"reset":                  model.RetryReset,
	"reset-before-request":   model.RetryResetBeforeRequest,
	"connect-failure":        model.RetryConnectFailure,
	"envoy-ratelimited":      model.RetryEnvoyRateLimited,
	"retriable-4xx":          model.RetryRetriable4xx,
	"refused-stream":         model.RetryRefusedStream,
	"retriable-status-codes": model.RetryRetriableStatusCodes,
	"retriable-headers":      model.RetryRetriableHeaders,
	"cancelled":              model.RetryGRPCCancelled,
	"deadline-exceeded":      model.RetryGRPCDeadlineExceeded,
	"internal":               model.RetryGRPCInternal,
	"resource-exhausted":     model.RetryGRPCResourceExhausted,
	"unavailable":            model.RetryGRPCUnavailable,
}

// parseRetryOn reads a list of conditions; known is false when it holds an unknown one, which is ignored.
func parseRetryOn(list string) (on model.RetryOn, known bool) {
	known = true
	for list != "" {
		var name string
		name, list, _ = strings.Cut(list, ",")
		bit, ok := retryNames[strings.TrimSpace(name)]
		on |= bit
		known = known && ok
	}
	return on, known
}

// begin reads the policy and the request's retry headers, which it removes.
func (r *retryState) begin(policy *model.RetryPolicy, req *message.Request, asked controls, runtime *model.Runtime) {
	if policy == nil && asked.set&retryControls == 0 {
		return // as release left it
	}
	*r = retryState{policy: policy, left: 1, runtime: runtime}
	if policy != nil {
		r.on, r.left = policy.On, policy.NumRetries
		r.interval, r.max = policy.BaseInterval, policy.MaxInterval
	}
	if asked.set&retryControls != 0 {
		r.takeAsked(&req.Headers)
	}
	if r.on != 0 && policy != nil && len(policy.RetriableRequestHeaders) > 0 && !anyMatches(policy.RetriableRequestHeaders, req) {
		r.on = 0
	}
}

// release forgets the exchange.
func (r *retryState) release() {
	if r.policy != nil || r.runtime != nil || r.on != 0 {
		*r = retryState{}
	}
}

// takeAsked takes what the request's headers ask for, and removes them.
func (r *retryState) takeAsked(h *message.Headers) {
	for _, id := range [...]message.ID{message.XEnvoyRetryOn, message.XEnvoyRetryGRPCOn} {
		if v := h.Get(id); v != "" {
			on, _ := parseRetryOn(v)
			r.on |= on
			h.DelID(id)
		}
	}
	if v := h.Get(message.XEnvoyMaxRetries); v != "" {
		if n, err := strconv.ParseUint(v, 10, 32); err == nil {
			r.left = uint32(n)
		}
		h.DelID(message.XEnvoyMaxRetries)
	}
	r.takeLists(h)
}

func (r *retryState) takeLists(h *message.Headers) {
	if v := h.Get(message.XEnvoyRetriableStatusCodes); v != "" {
		for _, s := range strings.Split(v, ",") {
			if n, err := strconv.ParseUint(strings.TrimSpace(s), 10, 32); err == nil {
				r.codes = append(r.codes, uint32(n))
			}
		}
		h.DelID(message.XEnvoyRetriableStatusCodes)
	}
	if v := h.Get(message.XEnvoyRetriableHeaderNames); v != "" {
		for _, s := range strings.Split(v, ",") {
			r.names = append(r.names, strings.TrimSpace(s))
		}
		h.DelID(message.XEnvoyRetriableHeaderNames)
	}
}

func anyMatches(ms []model.HeaderMatcher, req *message.Request) bool {
	for i := range ms {
		if match.Header(&ms[i], req) {
			return true
		}
	}
	return false
}

// wantsResponse tells whether a response head asks for a retry.
func (r *retryState) wantsResponse(resp *message.Response) bool {
	if r.on == 0 {
		return false
	}
	if resp.Headers.Has(message.XEnvoyRatelimited) {
		return r.on&model.RetryEnvoyRateLimited != 0
	}
	code := resp.Status
	switch {
	case r.on&model.Retry5xx != 0 && code >= 500 && code < 600,
		r.on&model.RetryGatewayError != 0 && code >= 502 && code <= 504,
		r.on&model.RetryRetriable4xx != 0 && code == 409,
		r.on&model.RetryRetriableStatusCodes != 0 && r.listsCode(uint32(code)),
		r.on&model.RetryRetriableHeaders != 0 && r.listsHeader(resp):
		return true
	}
	return r.wantsGRPC(resp.Headers.Get(message.GRPCStatus))
}

func (r *retryState) listsCode(code uint32) bool {
	for _, c := range r.codes {
		if c == code {
			return true
		}
	}
	if r.policy != nil {
		for _, c := range r.policy.RetriableStatusCodes {
			if c == code {
				return true
			}
		}
	}
	return false
}

func (r *retryState) listsHeader(resp *message.Response) bool {
	for _, name := range r.names {
		if _, ok := resp.Headers.Lookup(name); ok {
			return true
		}
	}
	if r.policy != nil {
		for i := range r.policy.RetriableHeaders {
			if match.ResponseHeader(&r.policy.RetriableHeaders[i], resp) {
				return true
			}
		}
	}
	return false
}

func (r *retryState) wantsGRPC(status string) bool {
	switch status {
	case "1":
		return r.on&model.RetryGRPCCancelled != 0
	case "4":
		return r.on&model.RetryGRPCDeadlineExceeded != 0
	case "8":
		return r.on&model.RetryGRPCResourceExhausted != 0
	case "13":
		return r.on&model.RetryGRPCInternal != 0
	case "14":
		return r.on&model.RetryGRPCUnavailable != 0
	}
	return false
}

// wantsReset tells whether an attempt that ended without response asks for a retry. sent tells that the request was
// begun to be sent.
func (r *retryState) wantsReset(kind upstream.Kind, sent bool) bool {
	if r.on == 0 {
		return false
	}
	connect := kind == upstream.KindConnect || kind == upstream.KindConnectTimeout || kind == upstream.KindLocal
	switch kind {
	case upstream.KindOverflow, upstream.KindTimeout, upstream.KindAborted, upstream.KindNoHost, upstream.KindUnknownCluster:
		return false
	}
	switch {
	case r.on&(model.RetryReset|model.Retry5xx|model.RetryGatewayError) != 0:
		return true
	case connect && r.on&model.RetryConnectFailure != 0:
		return true
	case kind == upstream.KindRefusedStream && r.on&model.RetryRefusedStream != 0:
		return true
	}
	return !sent && kind != upstream.KindPerTryTimeout && r.on&model.RetryResetBeforeRequest != 0
}
