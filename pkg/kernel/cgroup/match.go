package cgroup

import (
	"path"
	"strings"
)

// Match tells whether a cgroup of that name, relative to the hierarchy's root, is one that a pattern resolves to, or is below one. The
// pattern is as for Resolve; one that is malformed matches nothing.
func Match(pattern, name string) bool {
	split := func(s string) []string {
		if s = strings.Trim(s, "/"); s == "" {
			return nil
		}
		return strings.Split(s, "/")
	}
	return matches(split(pattern), split(name))
}

func matches(pattern, name []string) bool {
	if len(pattern) == 0 {
		return true // what is left is below
	}
	if pattern[0] == anyDepth {
		for i := range len(name) + 1 {
			if matches(pattern[1:], name[i:]) {
				return true
			}
		}
		return false
	}
	if len(name) == 0 {
		return false
	}
	ok, err := path.Match(pattern[0], name[0])
	return ok && err == nil && matches(pattern[1:], name[1:])
}
