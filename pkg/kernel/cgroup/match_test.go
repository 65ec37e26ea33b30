package cgroup

import "testing"

func TestMatch(t *testing.T) {
	for _, tt := range []struct {
		pattern, name string
		want          bool
	}{
		{"/", "/", true},
		{"", "/a/b", true},
		{"a", "/a", true},
		{"/a/", "a/b/c", true},
		{"a", "/ab", false},
		{"a/b", "/a", false},
		{"a*/b", "/axe/b", true},
		{"a*/b", "/axe/c", false},
		{"**/docker-*.scope", "/system.slice/docker-12.scope", true},
		{"**/docker-*.scope", "/docker-12.scope/init", true},
		{"**/docker-*.scope", "/system.slice/x.service", false},
		{"a/**/c", "/a/c", true},
		{"a/**", "/b", false},
		{"[", "/a", false},
	} {
		if got := Match(tt.pattern, tt.name); got != tt.want {
			t.Errorf("%s and %s: %t", tt.pattern, tt.name, got)
		}
	}
}
