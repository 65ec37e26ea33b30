package matcher

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	xdscorev3 "github.com/cncf/xds/go/xds/core/v3"
	xdsmatcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weir-proxy/weir/pkg/config/extension"
	"github.com/weir-proxy/weir/pkg/config/extension/decode"
	"github.com/weir-proxy/weir/pkg/config/model"
)

// maxTreeDepth bounds how deep trees and predicates are nested.
const maxTreeDepth = 32

// RegistryReader reads extensions through a registry. Actions are for action.
func RegistryReader(r *extension.Registry, action func(e *xdscorev3.TypedExtensionConfig, path string) (any, error)) decode.TreeReader {
	return decode.TreeReader{
		Action: action,
		Unpack: func(a *anypb.Any, _ string) (proto.Message, error) { return a.UnmarshalNew() },
		Extension: func(category string, e *xdscorev3.TypedExtensionConfig, _ string) (any, error) {
			f, err := r.Lookup(category, e.GetTypedConfig().GetTypeUrl(), e.GetName())
			if err != nil {
				return nil, err
			}
			m := proto.Clone(f.Config)
			proto.Reset(m)
			if err := proto.Unmarshal(e.GetTypedConfig().GetValue(), m); err != nil {
				return nil, fmt.Errorf("unmarshal %s: %w", f.Name, err)
			}
			return f.Decode(m)
		},
	}
}

// Decode compiles a tree. All faults are reported, each a *decode.PathError.
func Decode(m *xdsmatcherv3.Matcher, r decode.TreeReader) (*Tree, error) {
	if r.Inputs == "" {
		r.Inputs = extension.MatchingHTTPInputs
	}
	d := &decoder{TreeReader: r}
	t := d.tree(m, "", 0)
	return t, errors.Join(d.errs...)
}

// decoder collects what is wrong with a tree.
type decoder struct {
	decode.TreeReader
	errs []error
}

func (d *decoder) fail(path string, err error) {
	d.errs = append(d.errs, &decode.PathError{Path: strings.TrimPrefix(path, "."), Err: err})
}

func (d *decoder) tree(m *xdsmatcherv3.Matcher, at string, depth int) *Tree {
	t := &Tree{}
	if depth > maxTreeDepth {
		d.fail(at, fmt.Errorf("matchers are nested deeper than %d", maxTreeDepth))
		return t
	}
	switch k := m.GetMatcherType().(type) {
	case *xdsmatcherv3.Matcher_MatcherList_:
		l := &list{}
		for i, f := range k.MatcherList.GetMatchers() {
			at := fmt.Sprintf("%s.matcher_list.matchers[%d]", at, i)
			l.predicates = append(l.predicates, d.predicate(f.GetPredicate(), at+".predicate", depth+1))
			l.outcomes = append(l.outcomes, *d.outcome(f.GetOnMatch(), at+".on_match", depth))
		}
		t.node = l
	case *xdsmatcherv3.Matcher_MatcherTree_:
		t.node = d.matcherTree(k.MatcherTree, at+".matcher_tree", depth)
	}
	if m.GetOnNoMatch() != nil {
		t.noMatch = d.outcome(m.GetOnNoMatch(), at+".on_no_match", depth)
	}
	if t.node == nil && t.noMatch == nil {
		d.fail(at, errors.New("one of matcher_list, matcher_tree and on_no_match must be set"))
	}
	return t
}

func (d *decoder) outcome(m *xdsmatcherv3.Matcher_OnMatch, at string, depth int) *Outcome {
	o := &Outcome{}
	if m.GetKeepMatching() {
		d.fail(at+".keep_matching", errors.New("not supported by weir"))
	}
	switch k := m.GetOnMatch().(type) {
	case *xdsmatcherv3.Matcher_OnMatch_Matcher:
		o.Tree = d.tree(k.Matcher, at+".matcher", depth+1)
	case *xdsmatcherv3.Matcher_OnMatch_Action:
		action, err := d.Action(k.Action, strings.TrimPrefix(at+".action", "."))
		if err != nil {
			d.fail(at+".action", err)
		}
		o.Action = action
	default:
		d.fail(at, errors.New("one of matcher and action must be set"))
	}
	return o
}

// predicate returns a predicate in any case, so that decoding can go on after an error.
func (d *decoder) predicate(m *xdsmatcherv3.Matcher_MatcherList_Predicate, at string, depth int) predicate {
	if depth > maxTreeDepth {
		d.fail(at, fmt.Errorf("predicates are nested deeper than %d", maxTreeDepth))
		return allOf{}
	}
	several := func(l *xdsmatcherv3.Matcher_MatcherList_Predicate_PredicateList, name string) (out []predicate) {
		for i, p := range l.GetPredicate() {
			out = append(out, d.predicate(p, fmt.Sprintf("%s.%s.predicate[%d]", at, name, i), depth+1))
		}
		return out
	}
	switch k := m.GetMatchType().(type) {
	case *xdsmatcherv3.Matcher_MatcherList_Predicate_SinglePredicate_:
		return d.single(k.SinglePredicate, at+".single_predicate")
	case *xdsmatcherv3.Matcher_MatcherList_Predicate_OrMatcher:
		return anyOf(several(k.OrMatcher, "or_matcher"))
	case *xdsmatcherv3.Matcher_MatcherList_Predicate_AndMatcher:
		return allOf(several(k.AndMatcher, "and_matcher"))
	case *xdsmatcherv3.Matcher_MatcherList_Predicate_NotMatcher:
		return not{d.predicate(k.NotMatcher, at+".not_matcher", depth+1)}
	}
	d.fail(at, errors.New("match_type: must be set"))
	return allOf{}
}

func (d *decoder) single(m *xdsmatcherv3.Matcher_MatcherList_Predicate_SinglePredicate, at string) predicate {
	p := &single{input: d.input(m.GetInput(), at+".input")}
	switch k := m.GetMatcher().(type) {
	case *xdsmatcherv3.Matcher_MatcherList_Predicate_SinglePredicate_ValueMatch:
		s, err := stringMatcher(k.ValueMatch)
		if err != nil {
			d.fail(at+".value_match", err)
		}
		p.matcher = &textMatcher{s}
	case *xdsmatcherv3.Matcher_MatcherList_Predicate_SinglePredicate_CustomMatch:
		v, err := d.Extension(extension.InputMatchers, k.CustomMatch, strings.TrimPrefix(at+".custom_match", "."))
		own, ok := v.(Matcher)
		switch {
		case err != nil:
			d.fail(at+".custom_match", err)
		case !ok:
			d.fail(at+".custom_match", errors.New("it is not a matcher of values"))
		}
		p.matcher = own
	default:
		d.fail(at, errors.New("one of value_match and custom_match must be set"))
	}
	return p
}

// input returns nil after an error.
func (d *decoder) input(m *xdscorev3.TypedExtensionConfig, at string) Input {
	v, err := d.Extension(d.Inputs, m, strings.TrimPrefix(at, "."))
	in, ok := v.(Input)
	switch {
	case err != nil:
		d.fail(at, err)
	case !ok:
		d.fail(at, errors.New("it is not an input"))
	}
	return in
}

func (d *decoder) matcherTree(m *xdsmatcherv3.Matcher_MatcherTree, at string, depth int) node {
	in := d.input(m.GetInput(), at+".input")
	outcomes := func(mm *xdsmatcherv3.Matcher_MatcherTree_MatchMap, name string) map[string]*Outcome {
		out := make(map[string]*Outcome, len(mm.GetMap()))
		for _, key := range slices.Sorted(maps.Keys(mm.GetMap())) {
			out[key] = d.outcome(mm.GetMap()[key], fmt.Sprintf("%s.%s.map[%q]", at, name, key), depth)
		}
		return out
	}
	switch k := m.GetTreeType().(type) {
	case *xdsmatcherv3.Matcher_MatcherTree_ExactMatchMap:
		return &exactMap{in, outcomes(k.ExactMatchMap, "exact_match_map")}
	case *xdsmatcherv3.Matcher_MatcherTree_PrefixMatchMap:
		return newPrefixMap(in, outcomes(k.PrefixMatchMap, "prefix_match_map"))
	case *xdsmatcherv3.Matcher_MatcherTree_CustomMatch:
		return d.custom(in, k.CustomMatch, at+".custom_match", depth)
	}
	d.fail(at, errors.New("tree_type: must be set"))
	return nil
}

// custom decodes the maps that are extensions in the API and built in here.
func (d *decoder) custom(in Input, e *xdscorev3.TypedExtensionConfig, at string, depth int) node {
	m, err := d.Unpack(e.GetTypedConfig(), strings.TrimPrefix(at+".typed_config", "."))
	if err != nil {
		d.fail(at, err)
		return nil
	}
	at += ".typed_config"
	switch m := m.(type) {
	case *xdsmatcherv3.IPMatcher:
		return d.ipMap(in, m, at, depth)
	case *xdsmatcherv3.ServerNameMatcher:
		return d.domainMap(in, m, at, depth)
	}
	d.fail(at, fmt.Errorf("extension type %s is not supported by weir here", e.GetTypedConfig().GetTypeUrl()))
	return nil
}

func (d *decoder) ipMap(in Input, m *xdsmatcherv3.IPMatcher, at string, depth int) node {
	out := &ipMap{input: in, outcomes: map[netip.Prefix]*ipOutcome{}}
	for i, r := range m.GetRangeMatchers() {
		at := fmt.Sprintf("%s.range_matchers[%d]", at, i)
		o := &ipOutcome{*d.outcome(r.GetOnMatch(), at+".on_match", depth), r.GetExclusive()}
		out.all = append(out.all, o)
		for j, c := range r.GetRanges() {
			p, err := prefix(c.GetAddressPrefix(), c.GetPrefixLen().GetValue())
			if err != nil {
				d.fail(fmt.Sprintf("%s.ranges[%d]", at, j), err)
				continue
			}
			out.add(p, o)
		}
	}
	return out
}

func prefix(address string, bits uint32) (netip.Prefix, error) {
	addr, err := netip.ParseAddr(address)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("malformed IP address %q", address)
	}
	p, err := addr.Unmap().WithZone("").Prefix(int(min(bits, 1000)))
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("prefix length %d is too long for %s", bits, address)
	}
	return p, nil
}

func (d *decoder) domainMap(in Input, m *xdsmatcherv3.ServerNameMatcher, at string, depth int) node {
	out := &domainMap{in, map[string]*Outcome{}}
	for i, dm := range m.GetDomainMatchers() {
		at := fmt.Sprintf("%s.domain_matchers[%d]", at, i)
		o := d.outcome(dm.GetOnMatch(), at+".on_match", depth)
		for j, name := range dm.GetDomains() {
			name, at := strings.ToLower(name), fmt.Sprintf("%s.domains[%d]", at, j)
			switch {
			case out.outcomes[name] != nil:
				d.fail(at, fmt.Errorf("domain %q is there twice", name))
			case name == "", strings.Contains(strings.TrimPrefix(strings.TrimPrefix(name, "*."), "*"), "*") || len(name) > 1 && name[0] == '*' && name[1] != '.':
				d.fail(at, fmt.Errorf(`domain %q must be a name, "*." and a name, or "*"`, name))
			default:
				out.outcomes[name] = o
			}
		}
	}
	return out
}

// stringMatcher translates the xDS form of a string matcher.
func stringMatcher(m *xdsmatcherv3.StringMatcher) (model.StringMatcher, error) {
	out := &matcherv3.StringMatcher{IgnoreCase: m.GetIgnoreCase()}
	switch k := m.GetMatchPattern().(type) {
	case *xdsmatcherv3.StringMatcher_Exact:
		out.MatchPattern = &matcherv3.StringMatcher_Exact{Exact: k.Exact}
	case *xdsmatcherv3.StringMatcher_Prefix:
		out.MatchPattern = &matcherv3.StringMatcher_Prefix{Prefix: k.Prefix}
	case *xdsmatcherv3.StringMatcher_Suffix:
		out.MatchPattern = &matcherv3.StringMatcher_Suffix{Suffix: k.Suffix}
	case *xdsmatcherv3.StringMatcher_Contains:
		out.MatchPattern = &matcherv3.StringMatcher_Contains{Contains: k.Contains}
	case *xdsmatcherv3.StringMatcher_SafeRegex:
		out.MatchPattern = &matcherv3.StringMatcher_SafeRegex{SafeRegex: &matcherv3.RegexMatcher{Regex: k.SafeRegex.GetRegex()}}
	case *xdsmatcherv3.StringMatcher_Custom:
		return model.StringMatcher{}, errors.New("custom: not supported by weir")
	}
	return decode.StringMatcher(out)
}
