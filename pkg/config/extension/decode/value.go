package decode

import (
	"errors"
	"fmt"

	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"github.com/weir-proxy/weir/pkg/config/model"
)

// maxValueDepth bounds how deep value matchers are nested.
const maxValueDepth = 32

// ValueMatcher translates a matcher of structured values.
func ValueMatcher(m *matcherv3.ValueMatcher) (model.ValueMatcher, error) { return valueMatcher(m, 0) }

func valueMatcher(m *matcherv3.ValueMatcher, depth int) (out model.ValueMatcher, err error) {
	if depth > maxValueDepth {
		return out, fmt.Errorf("matchers are nested deeper than %d", maxValueDepth)
	}
	switch k := m.GetMatchPattern().(type) {
	case *matcherv3.ValueMatcher_NullMatch_:
		out.Kind = model.ValueNull
	case *matcherv3.ValueMatcher_DoubleMatch:
		out.Kind, out.Start = model.ValueNumber, k.DoubleMatch.GetExact()
		if r := k.DoubleMatch.GetRange(); r != nil {
			out.Kind, out.Start, out.End = model.ValueRange, r.GetStart(), r.GetEnd()
		}
	case *matcherv3.ValueMatcher_StringMatch:
		out.Kind = model.ValueString
		if out.String, err = StringMatcher(k.StringMatch); err != nil {
			err = fmt.Errorf("string_match.%w", err)
		}
	case *matcherv3.ValueMatcher_BoolMatch:
		out.Kind, out.Bool = model.ValueBool, k.BoolMatch
	case *matcherv3.ValueMatcher_PresentMatch:
		out.Kind, out.Bool = model.ValuePresent, k.PresentMatch
	case *matcherv3.ValueMatcher_ListMatch:
		one, err := valueMatcher(k.ListMatch.GetOneOf(), depth+1)
		if err != nil {
			return out, fmt.Errorf("list_match.one_of.%w", err)
		}
		out.Kind, out.Any = model.ValueList, []model.ValueMatcher{one}
	case *matcherv3.ValueMatcher_OrMatch:
		out.Kind = model.ValueOr
		for i, v := range k.OrMatch.GetValueMatchers() {
			one, err := valueMatcher(v, depth+1)
			if err != nil {
				return out, fmt.Errorf("or_match.value_matchers[%d].%w", i, err)
			}
			out.Any = append(out.Any, one)
		}
	default:
		err = errors.New("match_pattern: must be set")
	}
	return out, err
}
