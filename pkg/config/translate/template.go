package translate

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	templatematchv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/path/match/uri_template/v3"
	templaterewritev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/path/rewrite/uri_template/v3"

	"github.com/weir-proxy/weir/pkg/config/extension"
	"github.com/weir-proxy/weir/pkg/config/model"
)

// Limits of URI templates, and what its operators match, as in Envoy's uri_template extensions.
const (
	maxTemplateOperators = 5
	maxVariableName      = 16
	segmentChars         = `a-zA-Z0-9\-._~%!$&'()+,;:@=`
	oneSegment           = "[" + segmentChars + "]+"
	anySegments          = "[" + segmentChars + "/]*"
)

// templateMatch translates path_match_policy.
func (c *call) templateMatch(m *corev3.TypedExtensionConfig, out *model.RouteMatch, p *path) {
	_, v := c.lookup(extension.PathMatchers, m.GetName(), m.GetTypedConfig(), false, p)
	cfg, ok := v.(*templatematchv3.UriTemplateMatchConfig)
	if !ok {
		return
	}
	out.Kind, out.Template = model.PathTemplate, cfg.GetPathTemplate()
	re, err := compileTemplate(out.Template)
	if err != nil {
		c.fail(p.field("typed_config").field("path_template"), "path template %q: %v", out.Template, err)
		return
	}
	out.Regex = re
}

// templateRewrite translates path_rewrite_policy, whose variables are those of the route's template.
func (c *call) templateRewrite(m *corev3.TypedExtensionConfig, r *model.Route, p *path) {
	if m == nil {
		return
	}
	p = p.field("path_rewrite_policy")
	_, v := c.lookup(extension.PathRewriters, m.GetName(), m.GetTypedConfig(), false, p)
	cfg, ok := v.(*templaterewritev3.UriTemplateRewriteConfig)
	switch {
	case !ok:
		return
	case r.Action.HasPrefixRewrite || r.Action.RegexRewrite != nil:
		c.fail(p, "only one of prefix_rewrite, regex_rewrite and path_rewrite_policy can be specified")
		return
	case r.Match.Kind != model.PathTemplate:
		c.fail(p, "it can only be used with a path_match_policy that is a URI template")
		return
	case r.Match.Regex == nil: // reported where it is
		return
	}
	parts, err := compileRewrite(cfg.GetPathTemplateRewrite(), r.Match.Regex.SubexpNames())
	if err != nil {
		c.fail(p.field("typed_config").field("path_template_rewrite"), "path template %q: %v", cfg.GetPathTemplateRewrite(), err)
		return
	}
	r.Action.TemplateRewrite = parts
}

// template is the making of the expression of a path template.
type template struct {
	out       strings.Builder
	operators int
	last      bool // a ** was there, so that only literal text may follow
	names     map[string]bool
}

// compileTemplate turns a path template into an expression for whole paths, with a named group for each variable.
func compileTemplate(s string) (*regexp.Regexp, error) {
	if err := checkTemplateText(s); err != nil {
		return nil, err
	}
	t := &template{names: map[string]bool{}}
	t.out.WriteString("^(?:")
	if err := t.parse(s, true); err != nil {
		return nil, err
	}
	t.out.WriteString(")$")
	re, err := regexp.Compile(t.out.String())
	if err != nil {
		return nil, fmt.Errorf("compile its expression: %w", err)
	}
	return re, nil
}

// checkTemplateText checks what holds for templates to match and to rewrite.
func checkTemplateText(s string) error {
	switch {
	case !strings.HasPrefix(s, "/"):
		return errors.New(`it must begin with "/"`)
	case strings.Contains(s, "//"):
		return errors.New(`"//" is not allowed`)
	case strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r >= 0x7f }):
		return errors.New("only printable ASCII is allowed")
	}
	return nil
}

// parse appends the expression of s; variables are allowed at the top only.
func (t *template) parse(s string, top bool) error {
	for s != "" {
		switch {
		case strings.HasPrefix(s, "**"):
			if err := t.operator(anySegments, true); err != nil {
				return err
			}
			s = s[2:]
		case s[0] == '*':
			if err := t.operator(oneSegment, false); err != nil {
				return err
			}
			s = s[1:]
		case s[0] == '{' && top:
			inner, rest, ok := strings.Cut(s[1:], "}")
			if !ok {
				return errors.New("a variable is not closed")
			}
			if err := t.variable(inner); err != nil {
				return err
			}
			s = rest
		default:
			n := strings.IndexAny(s, "*{")
			if n < 0 {
				n = len(s)
			}
			if n == 0 || strings.ContainsAny(s[:n], "}?#") {
				return fmt.Errorf("unexpected character in %q", s[:max(n, 1)])
			}
			t.out.WriteString(regexp.QuoteMeta(s[:n]))
			s = s[n:]
		}
	}
	return nil
}

func (t *template) operator(expression string, last bool) error {
	if t.last {
		return errors.New("no operator may follow **")
	}
	if t.operators++; t.operators > maxTemplateOperators {
		return fmt.Errorf("there are more than %d operators", maxTemplateOperators)
	}
	t.last = last
	t.out.WriteString(expression)
	return nil
}

// variable appends the group of NAME or NAME=PATTERN.
func (t *template) variable(s string) error {
	name, pattern, given := strings.Cut(s, "=")
	switch {
	case !validVariable(name):
		return fmt.Errorf("variable name %q must be 1 to %d letters, digits and underscores, and not begin with a digit", name, maxVariableName)
	case t.names[name]:
		return fmt.Errorf("variable %q is there twice", name)
	case given && pattern == "":
		return fmt.Errorf("variable %q has an empty pattern", name)
	case !given:
		pattern = "*"
	}
	t.names[name] = true
	t.out.WriteString("(?P<" + name + ">")
	if err := t.parse(pattern, false); err != nil {
		return fmt.Errorf("variable %q: %w", name, err)
	}
	t.out.WriteString(")")
	return nil
}

func validVariable(name string) bool {
	if name == "" || len(name) > maxVariableName || '0' <= name[0] && name[0] <= '9' {
		return false
	}
	return !strings.ContainsFunc(name, func(r rune) bool {
		return r != '_' && (r < '0' || '9' < r) && (r < 'a' || 'z' < r) && (r < 'A' || 'Z' < r)
	})
}

// compileRewrite turns a template to rewrite by into literal text and groups of the expression that matched.
func compileRewrite(s string, groups []string) ([]model.TemplatePart, error) {
	if err := checkTemplateText(s); err != nil {
		return nil, err
	}
	var out []model.TemplatePart
	for s != "" {
		literal, rest, found := strings.Cut(s, "{")
		if strings.ContainsAny(literal, "}*") {
			return nil, fmt.Errorf("unexpected character in %q", literal)
		}
		if literal != "" {
			out = append(out, model.TemplatePart{Literal: literal})
		}
		if !found {
			break
		}
		name, after, ok := strings.Cut(rest, "}")
		if !ok {
			return nil, errors.New("a variable is not closed")
		}
		group := 0
		for i, g := range groups {
			if g == name && name != "" {
				group = i
			}
		}
		if group == 0 {
			return nil, fmt.Errorf("the path_match_policy has no variable %q", name)
		}
		out, s = append(out, model.TemplatePart{Group: group}), after
	}
	return out, nil
}
