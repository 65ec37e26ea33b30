package stats

import "strings"

// tagRule finds one tag in a name, by regular expression or by tokens.
type tagRule struct {
	tag    string
	re     *tagRegex
	tokens []string // "$" is the value, "*" any token, "**" any tokens, at the end at least one
	substr string   // what a name must contain for re to be worth trying
	except string   // a value that is not a tag
}

// firstToken is the first token that every matching name has, "" if that is not known.
func (r *tagRule) firstToken() string {
	if r.re == nil {
		if t := r.tokens[0]; t != "$" && t != "*" && t != "**" {
			return t
		}
		return ""
	}
	s, ok := strings.CutPrefix(r.re.re.String(), "^")
	if !ok {
		return ""
	}
	word := strings.IndexFunc(s, func(c rune) bool {
		return c != '_' && (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z')
	})
	if word <= 0 || !strings.HasPrefix(s[word:], `\.`) || strings.ContainsAny(s[word+2:min(len(s), word+3)], "?*{") {
		return ""
	}
	if strings.Contains(s, "|") && topLevelAlternative(s) {
		return ""
	}
	return s[:word]
}

// topLevelAlternative reports whether a "|" stands outside all groups, so that a match need not
// begin as the expression does. It errs on the side of yes.
func topLevelAlternative(s string) bool {
	depth := 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '(':
			depth++
		case ')':
			depth--
		case '|':
			if depth <= 0 {
				return true
			}
		}
	}
	return false
}

// match gives the tag's value and the part of the name to remove.
func (r *tagRule) match(name string, tokens []string) (value string, cut span, ok bool) {
	switch {
	case r.re == nil:
		value, cut, ok = r.matchTokens(tokens)
	case strings.Contains(name, r.substr):
		value, cut, ok = r.re.match(name)
	}
	return value, cut, ok && (r.except == "" || value != r.except)
}

func (r *tagRule) matchTokens(tokens []string) (value string, cut span, ok bool) {
	at := matchTokens(tokens, r.tokens)
	if at < 0 || tokens[at] == "" {
		return "", span{}, false
	}
	start := 0
	for _, t := range tokens[:at] {
		start += len(t) + 1
	}
	cut = span{start, start + len(tokens[at])}
	if at < len(tokens)-1 {
		cut.end++ // the dot after it
	} else if start > 0 {
		cut.start-- // nothing after it: the dot before it
	}
	return tokens[at], cut, true
}

// matchTokens gives the index of the token that "$" in the pattern stands for, -1 without a match.
// A match of a pattern without "$" counts as none.
func matchTokens(tokens, pattern []string) int {
	value := -1
	for i, p := range pattern {
		if p == "**" {
			rest := pattern[i+1:]
			if len(rest) == 0 {
				if i < len(tokens) {
					return value
				}
				return -1
			}
			return matchAnywhere(tokens, i, rest, value)
		}
		if i >= len(tokens) {
			return -1
		}
		switch {
		case p == "$":
			value = i
		case p != "*" && p != tokens[i]:
			return -1
		}
	}
	if len(tokens) != len(pattern) {
		return -1
	}
	return value
}

// matchAnywhere matches what follows a "**" at the first place where it fits.
func matchAnywhere(tokens []string, from int, rest []string, value int) int {
	for at := from; at < len(tokens); at++ {
		if !fits(tokens[at:], rest) {
			continue
		}
		if value >= 0 {
			return value
		}
		if v := matchTokens(tokens[at:], rest); v >= 0 {
			return at + v
		}
	}
	return -1
}

// fits reports whether a pattern, which holds no "**", matches all of tokens.
func fits(tokens, pattern []string) bool {
	if len(tokens) != len(pattern) {
		return false
	}
	for i, p := range pattern {
		if p != "*" && p != "$" && p != tokens[i] {
			return false
		}
	}
	return true
}
