package match

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
)

func TestStrings(t *testing.T) {
	for name, tc := range map[string]struct {
		m       model.StringMatcher
		yes, no []string
	}{
		"exact":              {model.StringMatcher{Value: "a"}, []string{"a"}, []string{"A", "", "ab"}},
		"exact without case": {model.StringMatcher{Value: "ab", IgnoreCase: true}, []string{"aB", "AB"}, []string{"a", "abc"}},
		"prefix":             {model.StringMatcher{Kind: model.MatchPrefix, Value: "ab"}, []string{"ab", "abc"}, []string{"a", "Ab"}},
		"suffix":             {model.StringMatcher{Kind: model.MatchSuffix, Value: "ab"}, []string{"ab", "cab"}, []string{"b", "abc"}},
		"contains":           {model.StringMatcher{Kind: model.MatchContains, Value: "ab"}, []string{"xaby", "ab"}, []string{"aXb", ""}},
		"only ASCII folds":   {model.StringMatcher{Value: "é", IgnoreCase: true}, []string{"é"}, []string{"É"}},
	} {
		for _, s := range tc.yes {
			if !String(&tc.m, s) {
				t.Errorf("%s: does not match %q", name, s)
			}
		}
		for _, s := range tc.no {
			if String(&tc.m, s) {
				t.Errorf("%s: matches %q", name, s)
			}
		}
	}
}

func TestQuery(t *testing.T) {
	for name, tc := range map[string]struct {
		m    model.QueryMatcher
		path string
		want bool
	}{
		"first value":        {model.QueryMatcher{Name: "a", String: model.StringMatcher{Value: "1"}}, "/?a=1&a=2", true},
		"not the second":     {model.QueryMatcher{Name: "a", String: model.StringMatcher{Value: "2"}}, "/?a=1&a=2", false},
		"present":            {model.QueryMatcher{Name: "a", Present: true}, "/?b&a", true},
		"absent":             {model.QueryMatcher{Name: "a", Present: true}, "/?aa=1", false},
		"without a query":    {model.QueryMatcher{Name: "a", Present: true}, "/a", false},
		"as it was sent":     {model.QueryMatcher{Name: "a", String: model.StringMatcher{Value: "%31"}}, "/?a=%31", true},
		"not of the path":    {model.QueryMatcher{Name: "a", Present: true}, "/a=1&a", false},
		"empty value counts": {model.QueryMatcher{Name: "a", String: model.StringMatcher{Value: ""}}, "/?a", true},
	} {
		if got := Query([]model.QueryMatcher{tc.m}, tc.path); got != tc.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// FuzzQueryValue compares with net/url where the query has nothing that would be decoded.
func FuzzQueryValue(f *testing.F) {
	f.Add("a=1&b=2&a=3", "a")
	f.Add("&&=&a", "")
	f.Fuzz(func(t *testing.T, query, name string) {
		got, ok := QueryValue(query, name)
		if strings.ContainsAny(query, "%+;") || strings.ContainsAny(name, "%+;&=") || name == "" {
			return
		}
		values, err := url.ParseQuery(query)
		if err != nil {
			return
		}
		want, there := values[name]
		if ok != there || ok && got != want[0] {
			t.Errorf("%q of %q: %q, %v, want %q", name, query, got, ok, want)
		}
	})
}

// FuzzCookieValue compares with net/http where that accepts the cookie. Unlike that, and like Envoy, we want a "=".
func FuzzCookieValue(f *testing.F) {
	f.Add(`a=1; b="2"; a=3`, "b")
	f.Add(` ;;=; a`, "a")
	f.Fuzz(func(t *testing.T, line, name string) {
		h := &message.Headers{}
		h.Add("cookie", line)
		got, ok := CookieValue(h, name)
		if strings.ContainsFunc(line, func(r rune) bool { return r < ' ' }) { // the codecs refuse these
			return
		}
		r := &http.Request{Header: http.Header{"Cookie": {line}}}
		c, err := r.Cookie(name)
		if err != nil || strings.Contains(name, "=") || strings.Count(line, name) != 1 || !strings.Contains(line, name+"=") {
			return
		}
		if !ok || got != c.Value {
			t.Errorf("%q of %q: %q, %v, want %q", name, line, got, ok, c.Value)
		}
	})
}
