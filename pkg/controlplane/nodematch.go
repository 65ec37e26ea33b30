package controlplane

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/structpb"
)

// nodeMatch says which nodes one of the matchers matches: all when there are none. Within a matcher, the id and all
// metadata must match.
func nodeMatch(list []*matcherv3.NodeMatcher) (func(*corev3.Node) bool, error) {
	var any []func(*corev3.Node) bool
	for i, m := range list {
		var all []func(*corev3.Node) bool
		if m.GetNodeId() != nil {
			text, err := textMatch(m.GetNodeId())
			if err != nil {
				return nil, fmt.Errorf("[%d].node_id: %w", i, err)
			}
			all = append(all, func(n *corev3.Node) bool { return text(n.GetId()) })
		}
		for j, s := range m.GetNodeMetadatas() {
			value, err := valueMatch(s.GetValue(), 0)
			if err != nil {
				return nil, fmt.Errorf("[%d].node_metadatas[%d].value: %w", i, j, err)
			}
			all = append(all, func(n *corev3.Node) bool { return value(lookUp(n.GetMetadata(), s.GetPath())) })
		}
		any = append(any, func(n *corev3.Node) bool {
			return !slices.ContainsFunc(all, func(f func(*corev3.Node) bool) bool { return !f(n) })
		})
	}
	return func(n *corev3.Node) bool {
		return len(any) == 0 || slices.ContainsFunc(any, func(f func(*corev3.Node) bool) bool { return f(n) })
	}, nil
}

// lookUp follows a path through metadata; nil is nothing there.
func lookUp(s *structpb.Struct, path []*matcherv3.StructMatcher_PathSegment) *structpb.Value {
	var v *structpb.Value
	for i, p := range path {
		if i > 0 {
			s = v.GetStructValue()
		}
		if v = s.GetFields()[p.GetKey()]; v == nil {
			return nil
		}
	}
	return v
}

func textMatch(m *matcherv3.StringMatcher) (func(string) bool, error) {
	fold := func(s string) string { return s }
	if m.GetIgnoreCase() {
		fold = strings.ToLower
	}
	compare := func(f func(s, want string) bool, want string) func(string) bool {
		want = fold(want)
		return func(s string) bool { return f(fold(s), want) }
	}
	switch p := m.GetMatchPattern().(type) {
	case *matcherv3.StringMatcher_Exact:
		return compare(func(s, want string) bool { return s == want }, p.Exact), nil
	case *matcherv3.StringMatcher_Prefix:
		return compare(strings.HasPrefix, p.Prefix), nil
	case *matcherv3.StringMatcher_Suffix:
		return compare(strings.HasSuffix, p.Suffix), nil
	case *matcherv3.StringMatcher_Contains:
		return compare(strings.Contains, p.Contains), nil
	case *matcherv3.StringMatcher_SafeRegex:
		re, err := regexp.Compile(`\A(?:` + p.SafeRegex.GetRegex() + `)\z`)
		if err != nil {
			return nil, fmt.Errorf("safe_regex: %w", err)
		}
		return re.MatchString, nil
	}
	return nil, errors.New("a match_pattern of this kind is not supported")
}

// maxMatcherDepth bounds matchers within matchers.
const maxMatcherDepth = 16

func valueMatch(m *matcherv3.ValueMatcher, depth int) (func(*structpb.Value) bool, error) {
	if depth > maxMatcherDepth {
		return nil, errors.New("nested too deep")
	}
	switch p := m.GetMatchPattern().(type) {
	case *matcherv3.ValueMatcher_NullMatch_:
		return func(v *structpb.Value) bool { _, ok := v.GetKind().(*structpb.Value_NullValue); return ok }, nil
	case *matcherv3.ValueMatcher_PresentMatch:
		return func(v *structpb.Value) bool { return (v != nil) == p.PresentMatch }, nil
	case *matcherv3.ValueMatcher_BoolMatch:
		return func(v *structpb.Value) bool {
			b, ok := v.GetKind().(*structpb.Value_BoolValue)
			return ok && b.BoolValue == p.BoolMatch
		}, nil
	case *matcherv3.ValueMatcher_StringMatch:
		text, err := textMatch(p.StringMatch)
		return func(v *structpb.Value) bool {
			s, ok := v.GetKind().(*structpb.Value_StringValue)
			return ok && text(s.StringValue)
		}, err
	case *matcherv3.ValueMatcher_DoubleMatch:
		return func(v *structpb.Value) bool {
			n, ok := v.GetKind().(*structpb.Value_NumberValue)
			return ok && numberMatches(p.DoubleMatch, n.NumberValue)
		}, nil
	case *matcherv3.ValueMatcher_ListMatch:
		one, err := valueMatch(p.ListMatch.GetOneOf(), depth+1)
		return func(v *structpb.Value) bool { return slices.ContainsFunc(v.GetListValue().GetValues(), one) }, err
	case *matcherv3.ValueMatcher_OrMatch:
		return orMatch(p.OrMatch.GetValueMatchers(), depth+1)
	}
	return nil, errors.New("a match_pattern of this kind is not supported")
}

func numberMatches(m *matcherv3.DoubleMatcher, n float64) bool {
	if r := m.GetRange(); r != nil {
		return r.GetStart() <= n && n < r.GetEnd()
	}
	return m.GetExact() == n
}

func orMatch(list []*matcherv3.ValueMatcher, depth int) (func(*structpb.Value) bool, error) {
	var all []func(*structpb.Value) bool
	for _, m := range list {
		one, err := valueMatch(m, depth)
		if err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	return func(v *structpb.Value) bool {
		return slices.ContainsFunc(all, func(f func(*structpb.Value) bool) bool { return f(v) })
	}, nil
}
