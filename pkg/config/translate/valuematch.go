package translate

import (
	xdscorev3 "github.com/cncf/xds/go/xds/core/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"github.com/weir-proxy/weir/pkg/config/extension/decode"
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
		var err error
		if o.Value, err = decode.ValueMatcher(m.GetValue()); err != nil {
			c.fail(at.field("value"), "%v", err)
			continue
		}
		out = append(out, o)
	}
	return out
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
