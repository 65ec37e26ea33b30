// Package decode translates the messages that many extensions hold in their configuration: matchers and headers.
//
// It owns what these messages mean. It must not know any extension. Errors name the field, below the message that is given.
package decode

//lint:file-ignore SA1019 Configurations still use these deprecated fields, so they take effect.

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"github.com/weir-proxy/weir/pkg/config/model"
)

// HeaderOption translates a header to add.
func HeaderOption(m *corev3.HeaderValueOption) (model.HeaderOption, error) {
	out := model.HeaderOption{Name: m.GetHeader().GetKey(), Value: m.GetHeader().GetValue(), KeepEmpty: m.GetKeepEmptyValue()}
	if raw := m.GetHeader().GetRawValue(); len(raw) > 0 {
		out.Value = string(raw)
	}
	if out.Name == "" {
		return out, errors.New("header.key: must not be empty")
	}
	var err error
	out.Append, err = AppendAction(m)
	return out, err
}

// AppendAction is what a header to add does where there is one of its name; the deprecated append may say it in place of append_action.
func AppendAction(m *corev3.HeaderValueOption) (model.AppendAction, error) {
	if m.GetAppend() != nil {
		switch {
		case m.GetAppendAction() != corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD:
			return model.AppendOrAdd, errors.New("both append and append_action are set and it's not allowed")
		case !m.GetAppend().GetValue():
			return model.OverwriteOrAdd, nil
		}
	}
	switch m.GetAppendAction() {
	case corev3.HeaderValueOption_ADD_IF_ABSENT:
		return model.AddIfAbsent, nil
	case corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD:
		return model.OverwriteOrAdd, nil
	case corev3.HeaderValueOption_OVERWRITE_IF_EXISTS:
		return model.OverwriteIfExists, nil
	}
	return model.AppendOrAdd, nil
}

// HeaderMatchers translates all matchers of a field, which is called name in errors.
func HeaderMatchers(name string, list []*routev3.HeaderMatcher) ([]model.HeaderMatcher, error) {
	var out []model.HeaderMatcher
	var errs []error
	for i, m := range list {
		h, err := HeaderMatcher(m)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s[%d].%w", name, i, err))
		}
		out = append(out, h)
	}
	return out, errors.Join(errs...)
}

// HeaderMatcher translates a header matcher, the deprecated forms included.
func HeaderMatcher(m *routev3.HeaderMatcher) (model.HeaderMatcher, error) {
	out := model.HeaderMatcher{
		Name: strings.ToLower(m.GetName()), Kind: model.HeaderString,
		Invert: m.GetInvertMatch(), MissingAsEmpty: m.GetTreatMissingHeaderAsEmpty(),
	}
	switch out.Name {
	case "":
		return out, errors.New("name: must not be empty")
	case "host":
		out.Name = ":authority"
	}
	var err error
	value := func(kind model.MatchKind, s string) { out.String = model.StringMatcher{Kind: kind, Value: s} }
	switch k := m.GetHeaderMatchSpecifier().(type) {
	case *routev3.HeaderMatcher_StringMatch:
		if out.String, err = StringMatcher(k.StringMatch); err != nil {
			err = fmt.Errorf("string_match.%w", err)
		}
	case *routev3.HeaderMatcher_ExactMatch:
		value(model.MatchExact, k.ExactMatch)
		if k.ExactMatch == "" {
			out.Kind, out.Present = model.HeaderPresent, true
		}
	case *routev3.HeaderMatcher_PrefixMatch:
		value(model.MatchPrefix, k.PrefixMatch)
	case *routev3.HeaderMatcher_SuffixMatch:
		value(model.MatchSuffix, k.SuffixMatch)
	case *routev3.HeaderMatcher_ContainsMatch:
		value(model.MatchContains, k.ContainsMatch)
	case *routev3.HeaderMatcher_SafeRegexMatch:
		if out.String, err = Regex(k.SafeRegexMatch); err != nil {
			err = fmt.Errorf("safe_regex_match.%w", err)
		}
	case *routev3.HeaderMatcher_RangeMatch:
		out.Kind, out.Start, out.End = model.HeaderRange, k.RangeMatch.GetStart(), k.RangeMatch.GetEnd()
	case *routev3.HeaderMatcher_PresentMatch:
		out.Kind, out.Present = model.HeaderPresent, k.PresentMatch
	default:
		out.Kind, out.Present = model.HeaderPresent, true
	}
	return out, err
}

// StringMatcher translates a string matcher.
func StringMatcher(m *matcherv3.StringMatcher) (model.StringMatcher, error) {
	out := model.StringMatcher{IgnoreCase: m.GetIgnoreCase()}
	switch k := m.GetMatchPattern().(type) {
	case *matcherv3.StringMatcher_Exact:
		out.Kind, out.Value = model.MatchExact, k.Exact
	case *matcherv3.StringMatcher_Prefix:
		out.Kind, out.Value = model.MatchPrefix, k.Prefix
	case *matcherv3.StringMatcher_Suffix:
		out.Kind, out.Value = model.MatchSuffix, k.Suffix
	case *matcherv3.StringMatcher_Contains:
		out.Kind, out.Value = model.MatchContains, k.Contains
	case *matcherv3.StringMatcher_SafeRegex:
		out, err := Regex(k.SafeRegex)
		if err != nil {
			return out, fmt.Errorf("safe_regex.%w", err)
		}
		return out, nil
	case nil:
		return out, errors.New("match_pattern: must be set")
	default:
		return out, errors.New("custom: not supported by weir")
	}
	if out.IgnoreCase {
		out.Value = strings.ToLower(out.Value)
	}
	return out, nil
}

// Regex translates a RegexMatcher, which matches whole strings as Envoy's do.
func Regex(m *matcherv3.RegexMatcher) (model.StringMatcher, error) {
	pattern := m.GetRegex()
	// The expression is compiled alone first, so that an unbalanced parenthesis cannot close our group.
	if _, err := regexp.Compile(pattern); err != nil {
		return model.StringMatcher{}, fmt.Errorf("regex: %w", err)
	}
	re, err := regexp.Compile("^(?:" + pattern + ")$")
	if err != nil {
		return model.StringMatcher{}, fmt.Errorf("regex: %w", err)
	}
	return model.StringMatcher{Kind: model.MatchRegex, Value: pattern, Regex: re}, nil
}
