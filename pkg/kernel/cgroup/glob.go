package cgroup

import (
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// anyDepth is the pattern element that stands for any number of elements.
const anyDepth = "**"

// expand is filepath.Glob with anyDepth, which looks at directories only. What is found twice comes twice.
func expand(glob string) ([]string, error) {
	head, tail, deep := cut(glob)
	tops, err := filepath.Glob(head)
	if err != nil || !deep {
		return tops, err
	}
	if _, err := path.Match(tail, ""); err != nil { // also when nothing is there to be matched
		return nil, err
	}
	var found []string
	for _, top := range tops {
		for _, dir := range Subtree(top) {
			if tail == "" {
				found = append(found, dir)
				continue
			}
			matches, err := expand(dir + "/" + tail)
			if err != nil {
				return nil, err
			}
			found = append(found, matches...)
		}
	}
	return found, nil
}

// cut splits a pattern at its first anyDepth.
func cut(glob string) (head, tail string, found bool) {
	elements := strings.Split(glob, "/")
	n := slices.Index(elements, anyDepth)
	if n < 0 {
		return glob, "", false
	}
	rest := elements[n+1:]
	for len(rest) > 0 && rest[0] == anyDepth { // which says nothing more
		rest = rest[1:]
	}
	return strings.Join(elements[:n], "/"), strings.Join(rest, "/"), true
}

// Subtree lists a cgroup and all cgroups below it, each before those below it. One that vanishes meanwhile is left out.
func Subtree(dir string) []string {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	dirs := []string{dir}
	for _, e := range entries {
		if e.IsDir() {
			dirs = append(dirs, Subtree(dir+"/"+e.Name())...)
		}
	}
	return dirs
}

// Parents lists the directories in which a cgroup can appear that would make a pattern match anew, or match more. They exist.
func (h *Hierarchy) Parents(pattern string) []string {
	glob, err := h.Path(pattern)
	if err != nil {
		return nil
	}
	head, _, deep := cut(glob)
	var dirs []string
	for at := path.Dir(head); strings.HasPrefix(at+"/", h.mount.Point+"/"); at = path.Dir(at) {
		matches, _ := filepath.Glob(at) // a malformed pattern has no parents
		dirs = append(dirs, slices.DeleteFunc(matches, func(dir string) bool { return !isCgroup(dir) })...)
		if at == "/" {
			break
		}
	}
	if deep {
		tops, _ := filepath.Glob(head)
		for _, top := range tops {
			dirs = append(dirs, Subtree(top)...)
		}
	}
	slices.Sort(dirs)
	return slices.Compact(dirs)
}

func isCgroup(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "cgroup.procs"))
	return err == nil
}
