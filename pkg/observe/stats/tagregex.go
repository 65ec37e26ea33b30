package stats

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// tagRegex is the expression of a tag. Envoy reads those of the configuration as ECMAScript does (std::regex), which has
// look-ahead; Go's has not. A look-ahead becomes an empty group, and what follows that place is looked at after the match: an
// expression is not tried at another place when that fails, which the expressions that are in use do not need.
type tagRegex struct {
	re *regexp.Regexp
	// cut and value are the groups of what is removed and of the value; value is cut where the expression has one group,
	// cut is 0 where it has none.
	cut, value int
	ahead      []lookAhead
}

// lookAhead is what must, or must not, follow the place of a group.
type lookAhead struct {
	group int
	re    *regexp.Regexp
	not   bool
}

// CheckTagRegex tells what keeps an expression of stats_tags from being used.
func CheckTagRegex(expr string) error {
	_, err := compileTag(expr)
	return err
}

func compileTag(expr string) (*tagRegex, error) {
	r := &tagRegex{}
	out, err := r.rewrite(expr)
	if err != nil {
		return nil, err
	}
	if r.re, err = regexp.Compile(out); err != nil {
		return nil, err
	}
	if r.value == 0 {
		r.value = r.cut
	}
	return r, nil
}

// rewrite replaces look-aheads by empty groups and finds the first two groups of the expression.
func (r *tagRegex) rewrite(expr string) (string, error) {
	if !strings.Contains(expr, "(?=") && !strings.Contains(expr, "(?!") {
		re, err := regexp.Compile(expr)
		if err != nil {
			return "", err
		}
		r.cut, r.value = min(1, re.NumSubexp()), min(2, re.NumSubexp())
		return expr, nil
	}
	var out strings.Builder
	groups := 0
	for i := 0; i < len(expr); {
		n := unit(expr[i:])
		switch rest := expr[i:]; {
		case strings.HasPrefix(rest, "(?=") || strings.HasPrefix(rest, "(?!"):
			inner, length, err := enclosed(rest)
			if err != nil {
				return "", err
			}
			re, err := regexp.Compile("^(?:" + inner + ")")
			if err != nil {
				return "", err
			}
			if re.NumSubexp() > 0 || i+length < len(expr) && strings.ContainsRune("*+?{", rune(expr[i+length])) {
				return "", errors.New("groups in look-ahead, and repeated look-ahead, are not supported")
			}
			groups++
			r.ahead = append(r.ahead, lookAhead{group: groups, re: re, not: rest[2] == '!'})
			out.WriteString("()")
			i += length
			continue
		case strings.HasPrefix(rest, "(") && !strings.HasPrefix(rest, "(?"):
			groups++
			r.found(groups)
		}
		out.WriteString(expr[i : i+n])
		i += n
	}
	return out.String(), nil
}

func (r *tagRegex) found(group int) {
	switch {
	case r.cut == 0:
		r.cut = group
	case r.value == 0:
		r.value = group
	}
}

// unit is the length of the character, escape or class that an expression begins with.
func unit(s string) int {
	switch {
	case s[0] == '\\' && len(s) > 1:
		return 2
	case s[0] != '[':
		return 1
	}
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == '\\':
			i++
		case strings.HasPrefix(s[i:], "[:"):
			if end := strings.Index(s[i:], ":]"); end > 0 {
				i += end + 1
			}
		case s[i] == ']' && i > 1 && s[:i] != "[^":
			return i + 1
		}
	}
	return len(s)
}

// enclosed gives what a look-ahead holds, and its length with the parentheses.
func enclosed(s string) (inner string, length int, err error) {
	depth := 0
	for i := 0; i < len(s); i += unit(s[i:]) {
		switch s[i] {
		case '(':
			depth++
		case ')':
			if depth--; depth == 0 {
				return s[len("(?="):i], i + 1, nil
			}
		}
	}
	return "", 0, fmt.Errorf("missing closing ): `%s`", s)
}

// match gives the value and the part of the name to remove.
func (r *tagRegex) match(name string) (value string, cut span, ok bool) {
	if r.cut == 0 {
		return "", span{}, false
	}
	m := r.re.FindStringSubmatchIndex(name)
	if m == nil || m[2*r.cut] < 0 {
		return "", span{}, false
	}
	for _, a := range r.ahead {
		at := m[2*a.group]
		if at >= 0 && a.re.MatchString(name[at:]) == a.not {
			return "", span{}, false
		}
	}
	cut = span{m[2*r.cut], m[2*r.cut+1]}
	value = name[cut.start:cut.end]
	if m[2*r.value] >= 0 {
		value = name[m[2*r.value]:m[2*r.value+1]]
	}
	return value, cut, value != ""
}
