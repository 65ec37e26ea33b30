package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// ErrOutside is returned when the process's cgroup is not below the part of the hierarchy that is mounted.
var ErrOutside = errors.New("own cgroup is outside the mounted hierarchy")

// ParseOwn returns the cgroup v2 path in the text of /proc/PID/cgroup (cgroups(7)): the line that begins with "0::".
func ParseOwn(text string) (string, bool) {
	for line := range strings.Lines(text) {
		if own, found := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "0::"); found && strings.HasPrefix(own, "/") {
			return own, true
		}
	}
	return "", false
}

// Of returns the directory of the cgroup that a process is in; pid 0 means the calling process.
func (h *Hierarchy) Of(pid int) (string, error) {
	proc := "/proc/self/cgroup"
	if pid != 0 {
		proc = fmt.Sprintf("/proc/%d/cgroup", pid)
	}
	text, err := os.ReadFile(proc)
	if err != nil {
		return "", fmt.Errorf("find cgroup of process: %w", err)
	}
	own, found := ParseOwn(string(text))
	if !found {
		return "", fmt.Errorf("find cgroup of process: no cgroup v2 line in %s: %w", proc, ErrNotMounted)
	}
	return h.locate(own)
}

// locate turns a path of the kernel's view into a directory, given that only a part of the hierarchy may be mounted. In a cgroup
// namespace whose root is further down, both paths begin with as many ".." as lead up to where they part.
func (h *Hierarchy) locate(own string) (string, error) {
	rel, err := filepath.Rel(strings.TrimPrefix(h.mount.Root, "/"), strings.TrimPrefix(own, "/"))
	if err != nil || rel == ".." || strings.HasPrefix(rel, "../") {
		return "", fmt.Errorf("cgroup %s, mounted %s: %w", own, h.mount.Root, ErrOutside)
	}
	return path.Join(h.mount.Point, rel), nil
}

// OwnID returns the id of the calling process's cgroup when the process is the only one in it and it is not the root, so that
// the cgroup stands for the process. Otherwise it returns 0: the cgroup is shared, or nothing is known about it.
func (h *Hierarchy) OwnID() uint64 {
	dir, err := h.Of(0)
	if err != nil || dir == h.mount.Point {
		return 0
	}
	pids, err := Processes(dir)
	if err != nil || len(pids) != 1 || pids[0] != os.Getpid() {
		return 0
	}
	id, err := ID(dir)
	if err != nil {
		return 0
	}
	return id
}
