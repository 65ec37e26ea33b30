package translate

//lint:file-ignore SA1019 Configurations still use these deprecated fields, so they take effect.

import (
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	metadatav3 "github.com/envoyproxy/go-control-plane/envoy/type/metadata/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weir-proxy/weir/pkg/config/model"
)

// rateLimits translates the rate limits of a route or virtual host. One with an error is left out.
func (c *call) rateLimits(list []*routev3.RateLimit, p *path) []model.RateLimit {
	var out []model.RateLimit
	for i, m := range list {
		at := p.elem("rate_limits", i)
		o := model.RateLimit{Stage: m.GetStage().GetValue(), DisableKey: m.GetDisableKey()}
		if d := m.GetLimit().GetDynamicMetadata(); d != nil {
			o.Limit = new(metadataKey(d.GetMetadataKey()))
		}
		complete := true
		for j, a := range m.GetActions() {
			action, ok := c.rateLimitAction(a, at.elem("actions", j))
			o.Actions, complete = append(o.Actions, action), complete && ok
		}
		if complete {
			out = append(out, o)
		}
	}
	return out
}

// rateLimitAction translates one action. ok is false after an error.
func (c *call) rateLimitAction(m *routev3.RateLimit_Action, p *path) (out model.RateLimitAction, ok bool) {
	switch a := m.GetActionSpecifier().(type) {
	case *routev3.RateLimit_Action_SourceCluster_:
		return model.RateLimitAction{Kind: model.RateLimitSourceCluster, Key: "source_cluster"}, true
	case *routev3.RateLimit_Action_DestinationCluster_:
		return model.RateLimitAction{Kind: model.RateLimitDestinationCluster, Key: "destination_cluster"}, true
	case *routev3.RateLimit_Action_RequestHeaders_:
		h := a.RequestHeaders
		return model.RateLimitAction{
			Kind: model.RateLimitRequestHeader, Key: h.GetDescriptorKey(), Source: strings.ToLower(h.GetHeaderName()), SkipIfAbsent: h.GetSkipIfAbsent(),
		}, true
	case *routev3.RateLimit_Action_QueryParameters_:
		q := a.QueryParameters
		return model.RateLimitAction{
			Kind: model.RateLimitQueryParameter, Key: q.GetDescriptorKey(), Source: q.GetQueryParameterName(), SkipIfAbsent: q.GetSkipIfAbsent(),
		}, true
	case *routev3.RateLimit_Action_RemoteAddress_:
		return model.RateLimitAction{Kind: model.RateLimitRemoteAddress, Key: "remote_address"}, true
	case *routev3.RateLimit_Action_MaskedRemoteAddress_:
		r := a.MaskedRemoteAddress
		return model.RateLimitAction{
			Kind: model.RateLimitMaskedRemoteAddress, Key: "masked_remote_address",
			V4Bits: int(min(u32(r.GetV4PrefixMaskLen(), 32), 32)), V6Bits: int(min(u32(r.GetV6PrefixMaskLen(), 128), 128)),
		}, true
	case *routev3.RateLimit_Action_GenericKey_:
		return model.RateLimitAction{
			Kind: model.RateLimitGenericKey, Key: orText(a.GenericKey.GetDescriptorKey(), "generic_key"), Value: a.GenericKey.GetDescriptorValue(),
		}, true
	}
	return c.rateLimitMatch(m, p)
}

// rateLimitMatch translates the actions that match or look something up.
func (c *call) rateLimitMatch(m *routev3.RateLimit_Action, p *path) (out model.RateLimitAction, ok bool) {
	switch a := m.GetActionSpecifier().(type) {
	case *routev3.RateLimit_Action_HeaderValueMatch_:
		h, at := a.HeaderValueMatch, p.field("header_value_match")
		out = model.RateLimitAction{
			Kind: model.RateLimitHeaderMatch, Key: orText(h.GetDescriptorKey(), "header_match"), Value: h.GetDescriptorValue(),
			Headers: c.headerMatchers(h.GetHeaders(), at, "headers"), Unexpected: !isSet(h.GetExpectMatch(), true),
		}
		return out, len(out.Headers) == len(h.GetHeaders())
	case *routev3.RateLimit_Action_QueryParameterValueMatch_:
		q, at := a.QueryParameterValueMatch, p.field("query_parameter_value_match")
		out = model.RateLimitAction{
			Kind: model.RateLimitQueryMatch, Key: orText(q.GetDescriptorKey(), "query_match"), Value: q.GetDescriptorValue(),
			Unexpected: !isSet(q.GetExpectMatch(), true),
		}
		for i, one := range q.GetQueryParameters() {
			if matcher, ok := c.queryMatcher(one, at.elem("query_parameters", i)); ok {
				out.Query = append(out.Query, matcher)
			}
		}
		return out, len(out.Query) == len(q.GetQueryParameters())
	case *routev3.RateLimit_Action_DynamicMetadata:
		d := a.DynamicMetadata
		return model.RateLimitAction{
			Kind: model.RateLimitDynamicMetadata, Key: d.GetDescriptorKey(), Value: d.GetDefaultValue(), Metadata: metadataKey(d.GetMetadataKey()),
		}, true
	case *routev3.RateLimit_Action_Metadata:
		d := a.Metadata
		out = model.RateLimitAction{
			Kind: model.RateLimitDynamicMetadata, Key: d.GetDescriptorKey(), Value: d.GetDefaultValue(), Metadata: metadataKey(d.GetMetadataKey()),
			SkipIfAbsent: d.GetSkipIfAbsent(),
		}
		if d.GetSource() == routev3.RateLimit_Action_MetaData_ROUTE_ENTRY {
			out.Kind = model.RateLimitRouteMetadata
		}
		return out, true
	case *routev3.RateLimit_Action_Extension:
		c.unsupported(p.field("extension"))
	case *routev3.RateLimit_Action_RemoteAddressMatch_:
		c.unsupported(p.field("remote_address_match"))
	}
	return out, false
}

func metadataKey(m *metadatav3.MetadataKey) model.MetadataKey {
	out := model.MetadataKey{Filter: m.GetKey()}
	for _, s := range m.GetPath() {
		out.Path = append(out.Path, s.GetKey())
	}
	return out
}

// orText returns s, or fallback when s is empty.
func orText(s, fallback string) string {
	if s == "" {
		return fallback
	}
	return s
}

// virtualClusters translates what requests are counted together.
func (c *call) virtualClusters(list []*routev3.VirtualCluster, p *path) []model.VirtualCluster {
	var out []model.VirtualCluster
	names := map[string]bool{}
	for i, m := range list {
		at := p.elem("virtual_clusters", i)
		if len(m.GetHeaders()) == 0 {
			c.fail(at.field("headers"), "virtual clusters must define at least one matcher")
		}
		if names[m.GetName()] {
			c.warn(at.field("name"), "virtual cluster name %s is used twice: their statistics are one", m.GetName())
		}
		names[m.GetName()] = true
		out = append(out, model.VirtualCluster{Name: m.GetName(), Headers: c.headerMatchers(m.GetHeaders(), at, "headers")})
	}
	return out
}

// bufferLimit translates the two ways to bound what is kept of a request body; ok is false when neither is set.
func (c *call) bufferLimit(perRequest *wrapperspb.UInt32Value, body *wrapperspb.UInt64Value, p *path) (out model.BufferLimit, ok bool) {
	switch {
	case perRequest != nil && body != nil:
		c.fail(p, "only one of per_request_buffer_limit_bytes and request_body_buffer_limit can be set")
	case body != nil:
		return model.BufferLimit{Bytes: body.GetValue(), BeyondConnection: true}, true
	case perRequest != nil:
		return model.BufferLimit{Bytes: uint64(perRequest.GetValue())}, true
	}
	return out, false
}
