package translate

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"github.com/weir-proxy/weir/pkg/config/extension/decode"
	"github.com/weir-proxy/weir/pkg/config/model"
)

// fullRegex compiles a regular expression that must match the whole string, as Envoy's matchers do.
func (c *call) fullRegex(pattern string, p *path) *regexp.Regexp {
	m, err := decode.Regex(&matcherv3.RegexMatcher{Regex: pattern})
	if err != nil {
		c.fail(p, "regular expression %q: %v", pattern, errors.Unwrap(err))
		return nil
	}
	return m.Regex
}

// regex compiles a regular expression that may match anywhere.
func (c *call) regex(pattern string, p *path) *regexp.Regexp {
	re, err := regexp.Compile(pattern)
	if err != nil {
		c.fail(p, "regular expression %q: %v", pattern, err)
		return nil
	}
	return re
}

// stringMatcher translates m. ok is false after an error, of which a missing pattern is one that validation reports.
func (c *call) stringMatcher(m *matcherv3.StringMatcher, p *path) (out model.StringMatcher, ok bool) {
	out, err := decode.StringMatcher(m)
	if err == nil {
		return out, true
	}
	switch k := m.GetMatchPattern().(type) {
	case *matcherv3.StringMatcher_SafeRegex:
		c.regexMatcher(k.SafeRegex, p.field("safe_regex"))
	case *matcherv3.StringMatcher_Custom:
		c.unsupported(p.field("custom"))
	}
	return model.StringMatcher{}, false
}

func (c *call) stringMatchers(list []*matcherv3.StringMatcher, p *path, name string) []model.StringMatcher {
	var out []model.StringMatcher
	for i, m := range list {
		if s, ok := c.stringMatcher(m, p.elem(name, i)); ok {
			out = append(out, s)
		}
	}
	return out
}

// regexMatcher translates a RegexMatcher, which matches whole strings.
func (c *call) regexMatcher(m *matcherv3.RegexMatcher, p *path) (model.StringMatcher, bool) {
	re := c.fullRegex(m.GetRegex(), p.field("regex"))
	return model.StringMatcher{Kind: model.MatchRegex, Value: m.GetRegex(), Regex: re}, re != nil
}

// regexRewrite translates RegexMatchAndSubstitute; nil stays nil, and so does what has an error.
func (c *call) regexRewrite(m *matcherv3.RegexMatchAndSubstitute, p *path) *model.RegexRewrite {
	if m == nil {
		return nil
	}
	re := c.regex(m.GetPattern().GetRegex(), p.field("pattern").field("regex"))
	if re == nil {
		return nil
	}
	substitution, err := substitution(m.GetSubstitution(), re.NumSubexp())
	if err != nil {
		c.fail(p.field("substitution"), "%v", err)
		return nil
	}
	return &model.RegexRewrite{Regex: re, Substitution: substitution}
}

// substitution turns RE2's syntax (\1 for a group, \\ for a backslash) into Go's (${1}, $$ for a dollar).
func substitution(s string, groups int) (string, error) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '$':
			b.WriteString("$$")
		case s[i] != '\\':
			b.WriteByte(s[i])
		case i+1 < len(s) && s[i+1] == '\\':
			b.WriteByte('\\')
			i++
		case i+1 < len(s) && '0' <= s[i+1] && s[i+1] <= '9':
			if n := int(s[i+1] - '0'); n > groups {
				return "", fmt.Errorf("substitution %q names group %d, the pattern has %d", s, n, groups)
			}
			fmt.Fprintf(&b, "${%c}", s[i+1])
			i++
		default:
			return "", fmt.Errorf("substitution %q: a backslash must be followed by a digit or a backslash", s)
		}
	}
	return b.String(), nil
}
