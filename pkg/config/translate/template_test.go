package translate

import (
	"strings"
	"testing"
)

func TestTemplates(t *testing.T) {
	for _, tc := range []struct {
		template string
		yes, no  []string
	}{
		{"/videos/*/*/*.m4s", []string{"/videos/123414/hls/1080p5000_00001.m4s"}, []string{"/videos/a/b/c/d.m4s", "/videos/a/b/.m4s", "/videos/a/b/c.mpd"}},
		{"/videos/{file}", []string{"/videos/1080p5000_00001.m4s"}, []string{"/videos/", "/videos/a/b", "/videos"}},
		{"/**.mpd", []string{"/content/123/india/dash/55/manifest.mpd", "/.mpd"}, []string{"/content/x.m4s"}},
		{"/api/v{version}/users/{id}.json", []string{"/api/v2/users/456.json"}, []string{"/api/2/users/456.json", "/api/v/users/456.json"}},
		{"/{a=**}", []string{"/", "/x/y/z"}, nil},
		{"/{a=x/*}/y", []string{"/x/1/y"}, []string{"/x/y", "/z/1/y"}},
		{"/a.b", []string{"/a.b"}, []string{"/axb"}},
		{"/*", []string{"/a%20b;c=1"}, []string{"/é", "/a/"}},
	} {
		re, err := compileTemplate(tc.template)
		if err != nil {
			t.Errorf("%s: %v", tc.template, err)
			continue
		}
		for _, p := range tc.yes {
			if !re.MatchString(p) {
				t.Errorf("%s does not match %s", tc.template, p)
			}
		}
		for _, p := range tc.no {
			if re.MatchString(p) {
				t.Errorf("%s matches %s", tc.template, p)
			}
		}
	}
}

func TestTemplateErrors(t *testing.T) {
	for template, want := range map[string]string{
		"":                                   `must begin with "/"`,
		"a/b":                                `must begin with "/"`,
		"/a//b":                              `"//" is not allowed`,
		"/a b":                               "printable ASCII",
		"/{a":                                "not closed",
		"/a}":                                "unexpected character",
		"/{a}/{a}":                           "there twice",
		"/{1a}":                              "variable name",
		"/{" + strings.Repeat("x", 17) + "}": "variable name",
		"/{a=}":                              "empty pattern",
		"/{a=x/{b}}":                         "unexpected character",
		"/**/*":                              "no operator may follow **",
		"/*/*/*/*/*/*":                       "more than 5 operators",
		"/a?b":                               "unexpected character",
	} {
		if _, err := compileTemplate(template); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", template, err, want)
		}
	}
	for template, want := range map[string]string{"/{b}": "no variable", "/*": "unexpected", "/{a": "not closed", "x": "begin"} {
		if _, err := compileRewrite(template, []string{"", "a"}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("rewrite %q: %v, want %q", template, err, want)
		}
	}
}

func FuzzTemplate(f *testing.F) {
	for _, s := range []string{"/v{version}/**", "/*/{a=x/*}.z", "/{a=**}", "/\\Q"} {
		f.Add(s, "/v1/x")
	}
	f.Fuzz(func(t *testing.T, template, path string) {
		re, err := compileTemplate(template)
		if err != nil {
			return
		}
		if re.MatchString(path) && !strings.HasPrefix(path, "/") {
			t.Errorf("%q matches %q", template, path)
		}
		for _, name := range re.SubexpNames()[1:] {
			if _, err := compileRewrite("/{"+name+"}", re.SubexpNames()); err != nil {
				t.Errorf("%q: %v", template, err)
			}
		}
	})
}
