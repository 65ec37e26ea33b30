package hcm

import (
	"strings"
	"testing"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/filter"
)

func TestNormalizePath(t *testing.T) {
	all := &model.HTTPConnectionManager{NormalizePath: true, MergeSlashes: true}
	normal := &model.HTTPConnectionManager{NormalizePath: true}
	escaped := func(e model.EscapedSlashes) *model.HTTPConnectionManager {
		return &model.HTTPConnectionManager{EscapedSlashes: e}
	}
	for _, tc := range []struct {
		cfg      *model.HTTPConnectionManager
		in, want string
		outcome  pathOutcome
	}{
		{&model.HTTPConnectionManager{}, "/a/../b%2F//c", "/a/../b%2F//c", pathFine},
		{normal, "/", "/", pathFine},
		{normal, "/a/b?x=/../y", "/a/b?x=/../y", pathFine},
		{normal, "/a/../b", "/b", pathFine},
		{normal, "/a/./b/.", "/a/b/", pathFine},
		{normal, "/a/b/..", "/a/", pathFine},
		{normal, "/..", "/", pathFine},
		{normal, "/../../a", "/a", pathFine},
		{normal, "/a/%2e%2E/b", "/b", pathFine},
		{normal, `/a\..\b`, "/b", pathFine},
		{normal, "/%41%7e%20%2f", "/A~%20%2f", pathFine},
		{normal, "/a//b/", "/a//b/", pathFine},
		{normal, "/a%00b", "/a%00b", pathRejected},
		{normal, "/a%", "/a%", pathFine},
		{normal, "/.hidden/..x/...", "/.hidden/..x/...", pathFine},
		{normal, "/a#f", "/a#f", pathRejected},
		{all, "//a///b?c//d", "/a/b?c//d", pathFine},
		{all, "/a//../b", "/a/b", pathFine},
		{escaped(model.EscapedReject), "/a%2fb", "/a%2fb", pathRejected},
		{escaped(model.EscapedReject), "/a?x=%2f", "/a?x=%2f", pathFine},
		{escaped(model.EscapedUnescapeForward), "/a%2Fb%5c?q", `/a/b\?q`, pathFine},
		{escaped(model.EscapedUnescapeRedirect), "/a%2Fb", "/a/b", pathRedirect},
	} {
		var a filter.Arena
		if got, outcome := normalizePath(tc.cfg, &a, tc.in, func() model.EscapedSlashes { return tc.cfg.EscapedSlashes }); got != tc.want || outcome != tc.outcome {
			t.Errorf("%q: %q, %d, want %q, %d", tc.in, got, outcome, tc.want, tc.outcome)
		}
	}
}

func FuzzNormalizePath(f *testing.F) {
	for _, s := range []string{"/a/../b", "/%2e%2e/..%5c", `\..\..`, "/a//b?c#d", "*"} {
		f.Add(s)
	}
	cfg := &model.HTTPConnectionManager{NormalizePath: true, MergeSlashes: true, EscapedSlashes: model.EscapedUnescapeForward}
	f.Fuzz(func(t *testing.T, p string) {
		if p == "" || p[0] != '/' {
			return
		}
		var a filter.Arena
		out, outcome := normalizePath(cfg, &a, p, func() model.EscapedSlashes { return cfg.EscapedSlashes })
		if outcome != pathFine {
			return
		}
		bare, _, _ := strings.Cut(out, "?")
		for _, bad := range []string{"/../", "/./", "//"} {
			if strings.Contains(bare, bad) {
				t.Fatalf("%q became %q", p, out)
			}
		}
		if !strings.HasPrefix(bare, "/") || strings.HasSuffix(bare, "/..") {
			t.Fatalf("%q became %q", p, out)
		}
	})
}
