package translate

//lint:file-ignore SA1019 Configurations still use these deprecated fields, so they take effect.

import (
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/weir-proxy/weir/pkg/config/extension/decode"
	"github.com/weir-proxy/weir/pkg/config/model"
)

// routeMatch translates the criteria of a route. A criterion that weir does not know is an error: leaving it out would
// send the route requests that are not meant for it.
func (c *call) routeMatch(m *routev3.RouteMatch, p *path) model.RouteMatch {
	out := model.RouteMatch{
		IgnoreCase:  !isSet(m.GetCaseSensitive(), true),
		Headers:     c.headerMatchers(m.GetHeaders(), p, "headers"),
		Cookies:     c.cookieMatchers(m.GetCookies(), p, "cookies"),
		GRPC:        m.GetGrpc() != nil,
		TLS:         tlsMatch(m.GetTlsContext()),
		Metadata:    c.metadataMatchers(m.GetDynamicMetadata(), p, "dynamic_metadata"),
		FilterState: c.filterStateMatchers(m.GetFilterState(), p, "filter_state"),
		Fraction:    fraction(m.GetRuntimeFraction()),
	}
	switch k := m.GetPathSpecifier().(type) {
	case *routev3.RouteMatch_Prefix:
		out.Kind, out.Path = model.PathPrefix, k.Prefix
	case *routev3.RouteMatch_Path:
		out.Kind, out.Path = model.PathExact, k.Path
	case *routev3.RouteMatch_PathSeparatedPrefix:
		out.Kind, out.Path = model.PathSeparatedPrefix, k.PathSeparatedPrefix
	case *routev3.RouteMatch_SafeRegex:
		out.Kind = model.PathRegex
		out.Regex = c.fullRegex(k.SafeRegex.GetRegex(), p.field("safe_regex").field("regex"))
	case *routev3.RouteMatch_ConnectMatcher_:
		out.Kind = model.PathConnect
	case *routev3.RouteMatch_PathMatchPolicy:
		c.templateMatch(k.PathMatchPolicy, &out, p.field("path_match_policy"))
	}
	if out.IgnoreCase {
		out.Path = strings.ToLower(out.Path)
	}
	for i, q := range m.GetQueryParameters() {
		if matcher, ok := c.queryMatcher(q, p.elem("query_parameters", i)); ok {
			out.Query = append(out.Query, matcher)
		}
	}
	return out
}

// queryMatcher translates a matcher of one query parameter.
func (c *call) queryMatcher(m *routev3.QueryParameterMatcher, p *path) (model.QueryMatcher, bool) {
	out := model.QueryMatcher{Name: m.GetName()}
	switch k := m.GetQueryParameterMatchSpecifier().(type) {
	case *routev3.QueryParameterMatcher_StringMatch:
		var ok bool
		out.String, ok = c.stringMatcher(k.StringMatch, p.field("string_match"))
		return out, ok
	case *routev3.QueryParameterMatcher_PresentMatch:
		if !k.PresentMatch {
			c.fail(p.field("present_match"), "false is not supported by weir")
			return out, false
		}
	}
	out.Present = true
	return out, true
}

func (c *call) headerMatchers(list []*routev3.HeaderMatcher, p *path, name string) []model.HeaderMatcher {
	var out []model.HeaderMatcher
	for i, m := range list {
		if h, ok := c.headerMatcher(m, p.elem(name, i)); ok {
			out = append(out, h)
		}
	}
	return out
}

// headerMatcher translates a header matcher. What is wrong with it is said with the path of the field.
func (c *call) headerMatcher(m *routev3.HeaderMatcher, p *path) (model.HeaderMatcher, bool) {
	out, err := decode.HeaderMatcher(m)
	if err == nil {
		return out, true
	}
	switch k := m.GetHeaderMatchSpecifier().(type) {
	case *routev3.HeaderMatcher_StringMatch:
		c.stringMatcher(k.StringMatch, p.field("string_match"))
	case *routev3.HeaderMatcher_SafeRegexMatch:
		c.regexMatcher(k.SafeRegexMatch, p.field("safe_regex_match"))
	}
	return out, false
}

// headerLists are the four lists of header mutations that routes, virtual hosts and so on have.
type headerLists struct {
	requestAdd     []*corev3.HeaderValueOption
	requestRemove  []string
	responseAdd    []*corev3.HeaderValueOption
	responseRemove []string
}

// mutations translates the header mutations of one level.
func (c *call) mutations(h headerLists, p *path) model.HeaderMutations {
	return model.HeaderMutations{
		RequestAdd:     c.headerOptions(h.requestAdd, p, "request_headers_to_add"),
		RequestRemove:  c.removals(h.requestRemove, p, "request_headers_to_remove"),
		ResponseAdd:    c.headerOptions(h.responseAdd, p, "response_headers_to_add"),
		ResponseRemove: c.removals(h.responseRemove, p, "response_headers_to_remove"),
	}
}

// removals checks and lower-cases header names.
func (c *call) removals(names []string, p *path, field string) []string {
	for i, n := range names {
		if reserved(n) {
			c.fail(p.elem(field, i), ":-prefixed or host headers may not be removed")
		}
	}
	return lower(names)
}

// reserved tells the headers that mutations may not touch, as in Envoy.
func reserved(name string) bool {
	return strings.HasPrefix(name, ":") || strings.EqualFold(name, "host")
}

func (c *call) headerOptions(list []*corev3.HeaderValueOption, p *path, name string) []model.HeaderOption {
	var out []model.HeaderOption
	for i, h := range list {
		at := p.elem(name, i)
		if reserved(h.GetHeader().GetKey()) {
			c.fail(at.field("header").field("key"), ":-prefixed or host headers may not be modified")
			continue
		}
		o := model.HeaderOption{Name: h.GetHeader().GetKey(), Value: headerValue(h.GetHeader()), KeepEmpty: h.GetKeepEmptyValue()}
		if check := c.t.opt.CheckFormat; check != nil {
			if err := check(o.Value); err != nil {
				c.fail(at.field("header").field("value"), "%v", err)
			}
		}
		var err error
		if o.Append, err = decode.AppendAction(h); err != nil {
			c.fail(at, "%v", err)
		}
		out = append(out, o)
	}
	return out
}
