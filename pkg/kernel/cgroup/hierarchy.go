package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// Hierarchy is a mounted cgroup v2 hierarchy.
type Hierarchy struct {
	mount Mount
}

// At returns the hierarchy mounted at point whose root there is the cgroup root. Tests and tools that know better use it
// instead of Find.
func At(root, point string) *Hierarchy {
	return &Hierarchy{mount: Mount{Root: root, Point: point}}
}

// Root is the directory of the topmost cgroup that can be reached.
func (h *Hierarchy) Root() string { return h.mount.Point }

// Path returns the directory of a cgroup named relative to the root ("/system.slice", "weir.exec") or by its whole directory.
// A name that leaves the hierarchy is an error.
func (h *Hierarchy) Path(name string) (string, error) {
	if slices.Contains(strings.Split(name, "/"), "..") {
		return "", fmt.Errorf("cgroup %q: must not contain %q", name, "..")
	}
	clean := path.Clean("/" + name)
	if clean == h.mount.Point || strings.HasPrefix(clean, h.mount.Point+"/") {
		return clean, nil
	}
	return path.Join(h.mount.Point, clean), nil
}

// Name is the reverse of Path: the cgroup's name relative to the root, beginning with a slash.
func (h *Hierarchy) Name(dir string) string {
	return path.Clean("/" + strings.TrimPrefix(dir, h.mount.Point))
}

// Resolve returns the directories of the cgroups that patterns mean, sorted. A pattern is a path or a glob below the root: each
// element as of path.Match, and "**" for any number of elements, none included. Cgroups below another one in the result are left out, since what is attached to the upper one
// holds for them too. Patterns that match nothing come back as missing; a malformed one is an error.
func (h *Hierarchy) Resolve(patterns []string) (dirs, missing []string, err error) {
	for _, pattern := range patterns {
		matches, err := h.match(pattern)
		if err != nil {
			return nil, nil, err
		}
		if len(matches) == 0 {
			missing = append(missing, pattern)
		}
		dirs = append(dirs, matches...)
	}
	return topmost(dirs), missing, nil
}

// ResolveWith is Resolve, having made a cgroup of the caller's own where a pattern is its name. created is its directory when it was
// not there, else empty.
func (h *Hierarchy) ResolveWith(own string, patterns []string) (dirs, missing []string, created string, err error) {
	if slices.ContainsFunc(patterns, func(p string) bool { return strings.Trim(p, "/") == own }) {
		dir, made, err := h.Create(own)
		if err != nil {
			return nil, nil, "", err
		}
		if made {
			created = dir
		}
	}
	dirs, missing, err = h.Resolve(patterns)
	return dirs, missing, created, err
}

func (h *Hierarchy) match(pattern string) ([]string, error) {
	glob, err := h.Path(pattern)
	if err != nil {
		return nil, err
	}
	matches, err := expand(glob)
	if err != nil {
		return nil, fmt.Errorf("cgroup pattern %q: %w", pattern, err)
	}
	return slices.DeleteFunc(matches, func(dir string) bool { return !isCgroup(dir) }), nil
}

// topmost sorts dirs and drops duplicates and directories below another one.
func topmost(dirs []string) []string {
	slices.Sort(dirs)
	dirs = slices.Compact(dirs)
	return slices.DeleteFunc(slices.Clone(dirs), func(dir string) bool {
		return slices.ContainsFunc(dirs, func(other string) bool { return dir != other && below(dir, other) })
	})
}

func below(dir, ancestor string) bool {
	return strings.HasPrefix(dir, strings.TrimSuffix(ancestor, "/")+"/")
}

// Upward yields the directory of a cgroup and those of the ones above it, up to the root.
func (h *Hierarchy) Upward(dir string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for below(dir+"/", h.Root()) && yield(dir) && dir != h.Root() {
			dir = filepath.Dir(dir)
		}
	}
}

// Create makes the cgroup and its missing ancestors, and returns its directory. created is false when it was there already.
func (h *Hierarchy) Create(name string) (dir string, created bool, err error) {
	dir, err = h.Path(name)
	if err != nil {
		return "", false, err
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return "", false, fmt.Errorf("create cgroup %s: %w", name, err)
	}
	switch err := os.Mkdir(dir, 0o755); {
	case err == nil:
		return dir, true, nil
	case errors.Is(err, fs.ErrExist):
		return dir, false, nil
	default:
		return "", false, fmt.Errorf("create cgroup %s: %w", name, err)
	}
}

// Remove removes an empty cgroup. One with processes or children in it stays and is reported as busy (syscall.EBUSY).
func (h *Hierarchy) Remove(dir string) error {
	if err := syscall.Rmdir(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove cgroup %s: %w", h.Name(dir), err)
	}
	return nil
}

// ID returns the number that bpf_get_current_cgroup_id reports for the cgroup: its inode number.
func ID(dir string) (uint64, error) {
	var stat syscall.Stat_t
	if err := syscall.Stat(dir, &stat); err != nil {
		return 0, fmt.Errorf("read id of cgroup %s: %w", dir, err)
	}
	return stat.Ino, nil
}

// Move puts a process, with all its threads, into the cgroup. Sockets that it opened before stay where they were: the kernel
// runs a socket's programs by the cgroup that it was created in.
func Move(dir string, pid int) error {
	procs := filepath.Join(dir, "cgroup.procs")
	if err := os.WriteFile(procs, []byte(strconv.Itoa(pid)), 0o644); err != nil {
		return fmt.Errorf("move process %d: %w", pid, err)
	}
	return nil
}

// Processes lists the ids of the processes in the cgroup itself, without those in cgroups below it. Processes of another pid
// namespace are 0.
func Processes(dir string) ([]int, error) {
	text, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	if err != nil {
		return nil, fmt.Errorf("list processes of cgroup: %w", err)
	}
	var pids []int
	for line := range strings.Lines(string(text)) {
		pid, err := strconv.Atoi(strings.TrimSpace(line))
		if err != nil {
			return nil, fmt.Errorf("list processes of cgroup %s: %w", dir, err)
		}
		pids = append(pids, pid)
	}
	return pids, nil
}
