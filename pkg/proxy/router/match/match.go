// Package match decides the string, header and query matchers of the configuration model.
//
// It owns no state and must not know routes. Matching allocates nothing but for repeated headers, which are joined.
package match

import (
	"strconv"
	"strings"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
)

// String decides a string matcher.
func String(m *model.StringMatcher, s string) bool {
	switch m.Kind {
	case model.MatchRegex:
		return m.Regex.MatchString(s) // anchored by whoever built the model
	case model.MatchPrefix:
		return len(s) >= len(m.Value) && equal(s[:len(m.Value)], m.Value, m.IgnoreCase)
	case model.MatchSuffix:
		return len(s) >= len(m.Value) && equal(s[len(s)-len(m.Value):], m.Value, m.IgnoreCase)
	case model.MatchContains:
		return contains(s, m.Value, m.IgnoreCase)
	}
	return equal(s, m.Value, m.IgnoreCase)
}

func equal(a, b string, ignoreCase bool) bool {
	if ignoreCase {
		return EqualFold(a, b)
	}
	return a == b
}

func contains(s, sub string, ignoreCase bool) bool {
	if !ignoreCase {
		return strings.Contains(s, sub)
	}
	for i := 0; i+len(sub) <= len(s); i++ {
		if EqualFold(s[i:i+len(sub)], sub) {
			return true
		}
	}
	return false
}

// EqualFold compares ASCII text without case; other bytes compare as they are.
func EqualFold(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		if lower(a[i]) != lower(b[i]) {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// HasPrefix tells whether s begins with prefix.
func HasPrefix(s, prefix string, ignoreCase bool) bool {
	return len(s) >= len(prefix) && equal(s[:len(prefix)], prefix, ignoreCase)
}

// Headers tells whether all matchers accept the request.
func Headers(ms []model.HeaderMatcher, r *message.Request) bool {
	for i := range ms {
		if !Header(&ms[i], r) {
			return false
		}
	}
	return true
}

// Header decides a header matcher on a request, whose pseudo headers count as headers. Repeated headers are joined by
// commas. A missing header never matches, whether inverted or not, except for presence and MissingAsEmpty.
func Header(m *model.HeaderMatcher, r *message.Request) bool {
	v, ok := requestValue(r, m.Name)
	return decide(m, v, ok)
}

// ResponseHeader decides a header matcher on a response; ":status" is its code.
func ResponseHeader(m *model.HeaderMatcher, r *message.Response) bool {
	if m.Name == ":status" {
		return decide(m, strconv.Itoa(r.Status), true)
	}
	v, ok := r.Headers.Joined(m.Name)
	return decide(m, v, ok)
}

func requestValue(r *message.Request, name string) (string, bool) {
	if name == "host" || strings.HasPrefix(name, ":") {
		return r.Lookup(name)
	}
	return r.Headers.Joined(name)
}

func decide(m *model.HeaderMatcher, v string, found bool) bool {
	if m.Kind == model.HeaderPresent {
		return (found == m.Present) != m.Invert
	}
	if !found {
		if !m.MissingAsEmpty {
			return false
		}
		v = ""
	}
	ok := false
	if m.Kind == model.HeaderRange {
		n, err := strconv.ParseInt(v, 10, 64)
		ok = err == nil && m.Start <= n && n < m.End
	} else {
		ok = String(&m.String, v)
	}
	return ok != m.Invert
}

// Query decides all query matchers on a request path. The first parameter of a name counts.
func Query(ms []model.QueryMatcher, path string) bool {
	if len(ms) == 0 {
		return true
	}
	_, query, _ := strings.Cut(path, "?")
	for i := range ms {
		v, ok := QueryValue(query, ms[i].Name)
		if ms[i].Present {
			if !ok {
				return false
			}
			continue
		}
		if !ok || !String(&ms[i].String, v) {
			return false
		}
	}
	return true
}

// QueryValue is the raw value of the first parameter of a name in a query string.
func QueryValue(query, name string) (string, bool) {
	for query != "" {
		var pair string
		pair, query, _ = strings.Cut(query, "&")
		if k, v, _ := strings.Cut(pair, "="); k == name {
			return v, true
		}
	}
	return "", false
}
