package translate

import (
	xdscorev3 "github.com/cncf/xds/go/xds/core/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"github.com/weir-proxy/weir/pkg/config/model"
)

// metadataMatchers translates matchers of dynamic metadata.
func (c *call) metadataMatchers(list []*matcherv3.MetadataMatcher, p *path, name string) []model.MetadataMatcher {
	var out []model.MetadataMatcher
	for i, m := range list {
		at := p.elem(name, i)
		o := model.MetadataMatcher{Filter: m.GetFilter(), Invert: m.GetInvert()}
		for _, s := range m.GetPath() {
			o.Path = append(o.Path, s.GetKey())
		}
		var ok bool
		if o.Value, ok = c.valueMatcher(m.GetValue(), at.field("value"), 0); ok {
			out = append(out, o)
		}
	}
	return out
}

// valueMatcher translates m. ok is false after an error, of which a missing pattern is one that validation reports.
func (c *call) valueMatcher(m *matcherv3.ValueMatcher, p *path, depth int) (out model.ValueMatcher, ok bool) {
	if depth > maxDepth {
		c.fail(p, "matchers are nested deeper than %d", maxDepth)
		return out, false
	}
	switch k := m.GetMatchPattern().(type) {
	case *matcherv3.ValueMatcher_NullMatch_:
		return model.ValueMatcher{Kind: model.ValueNull}, true
	case *matcherv3.ValueMatcher_DoubleMatch:
		if r := k.DoubleMatch.GetRange(); r != nil {
			return model.ValueMatcher{Kind: model.ValueRange, Start: r.GetStart(), End: r.GetEnd()}, true
		}
		return model.ValueMatcher{Kind: model.ValueNumber, Start: k.DoubleMatch.GetExact()}, true
	case *matcherv3.ValueMatcher_StringMatch:
		out.Kind = model.ValueString
		out.String, ok = c.stringMatcher(k.StringMatch, p.field("string_match"))
		return out, ok
	case *matcherv3.ValueMatcher_BoolMatch:
		return model.ValueMatcher{Kind: model.ValueBool, Bool: k.BoolMatch}, true
	case *matcherv3.ValueMatcher_PresentMatch:
		return model.ValueMatcher{Kind: model.ValuePresent, Bool: k.PresentMatch}, true
	case *matcherv3.ValueMatcher_ListMatch:
		one, ok := c.valueMatcher(k.ListMatch.GetOneOf(), p.field("list_match").field("one_of"), depth+1)
		return model.ValueMatcher{Kind: model.ValueList, Any: []model.ValueMatcher{one}}, ok
	case *matcherv3.ValueMatcher_OrMatch:
		out.Kind, ok = model.ValueOr, true
		for i, v := range k.OrMatch.GetValueMatchers() {
			one, fine := c.valueMatcher(v, p.field("or_match").elem("value_matchers", i), depth+1)
			out.Any, ok = append(out.Any, one), ok && fine
		}
		return out, ok
	}
	return out, false
}

// filterStateMatchers translates matchers of the filter state.
func (c *call) filterStateMatchers(list []*matcherv3.FilterStateMatcher, p *path, name string) []model.FilterStateMatcher {
	var out []model.FilterStateMatcher
	for i, m := range list {
		at := p.elem(name, i)
		o, ok := model.FilterStateMatcher{Key: m.GetKey()}, true
		switch k := m.GetMatcher().(type) {
		case *matcherv3.FilterStateMatcher_StringMatch:
			o.String, ok = c.stringMatcher(k.StringMatch, at.field("string_match"))
		case *matcherv3.FilterStateMatcher_AddressMatch:
			o.Prefixes = c.prefixes(ranges(k.AddressMatch.GetRanges()), at.field("address_match"), "ranges")
			o.InvertPrefixes = k.AddressMatch.GetInvertMatch()
			ok = len(o.Prefixes) > 0
		}
		if ok {
			out = append(out, o)
		}
	}
	return out
}

// ranges turns the xDS form of address ranges into Envoy's.
func ranges(list []*xdscorev3.CidrRange) []*corev3.CidrRange {
	out := make([]*corev3.CidrRange, len(list))
	for i, r := range list {
		out[i] = &corev3.CidrRange{AddressPrefix: r.GetAddressPrefix(), PrefixLen: r.GetPrefixLen()}
	}
	return out
}

// cookieMatchers translates matchers of cookies.
func (c *call) cookieMatchers(list []*routev3.CookieMatcher, p *path, name string) []model.CookieMatcher {
	var out []model.CookieMatcher
	for i, m := range list {
		if s, ok := c.stringMatcher(m.GetStringMatch(), p.elem(name, i).field("string_match")); ok {
			out = append(out, model.CookieMatcher{Name: m.GetName(), String: s, Invert: m.GetInvertMatch()})
		}
	}
	return out
}

// tlsMatch translates the criteria on the client's certificate; nil stays nil.
func tlsMatch(m *routev3.RouteMatch_TlsContextMatchOptions) *model.TLSMatch {
	if m == nil {
		return nil
	}
	out := &model.TLSMatch{}
	if v := m.GetPresented(); v != nil {
		out.Presented = new(v.GetValue())
	}
	if v := m.GetValidated(); v != nil {
		out.Validated = new(v.GetValue())
	}
	return out
}
