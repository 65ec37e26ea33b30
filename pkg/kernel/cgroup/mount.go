package cgroup

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// ErrNotMounted is returned when the host has no usable cgroup v2 mount.
var ErrNotMounted = errors.New("cgroup v2 is not mounted (mount -t cgroup2 none /sys/fs/cgroup/unified)")

// Mount is one mount of the cgroup v2 hierarchy.
type Mount struct {
	// Root is the cgroup that appears at Point: "/" unless a part of the hierarchy was bind-mounted.
	Root string
	// Point is the directory it is mounted at.
	Point string
}

// ParseMounts reads the format of /proc/PID/mountinfo (proc_pid_mountinfo(5)) and returns the cgroup v2 mounts in it, in
// order. Mounts of other file systems are skipped; a line that is not a mount is an error.
func ParseMounts(r io.Reader) ([]Mount, error) {
	var mounts []Mount
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for n := 1; lines.Scan(); n++ {
		mount, fsType, err := parseMount(lines.Text())
		if err != nil {
			return nil, fmt.Errorf("parse mountinfo line %d: %w", n, err)
		}
		if fsType == "cgroup2" {
			mounts = append(mounts, mount)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read mountinfo: %w", err)
	}
	return mounts, nil
}

// parseMount splits one line: six fixed fields, any number of optional ones, a lone hyphen, then the file system type.
func parseMount(line string) (Mount, string, error) {
	fixed, rest, found := strings.Cut(line, " - ")
	if !found {
		return Mount{}, "", fmt.Errorf("no %q separator in %q", "-", line)
	}
	fields := strings.Split(fixed, " ")
	if len(fields) < 6 {
		return Mount{}, "", fmt.Errorf("%d fields before the separator, want at least 6", len(fields))
	}
	fsType, _, _ := strings.Cut(rest, " ")
	return Mount{Root: unescape(fields[3]), Point: unescape(fields[4])}, fsType, nil
}

// unescape undoes the octal escapes that the kernel writes for space, tab, newline and backslash.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) && octal(s[i+1:i+4]) {
			b.WriteByte((s[i+1]-'0')<<6 | (s[i+2]-'0')<<3 | (s[i+3] - '0'))
			i += 3
			continue
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// octal reports whether s is three octal digits of at most 0377.
func octal(s string) bool {
	return s[0] >= '0' && s[0] <= '3' && s[1] >= '0' && s[1] <= '7' && s[2] >= '0' && s[2] <= '7'
}

// choose prefers a mount of the whole hierarchy over one of a part, and the customary places over others.
func choose(mounts []Mount) (Mount, bool) {
	rank := func(m Mount) int {
		score := 0
		if m.Root == "/" {
			score += 4
		}
		switch m.Point {
		case "/sys/fs/cgroup":
			score += 2
		case "/sys/fs/cgroup/unified":
			score++
		}
		return score
	}
	best, found := Mount{}, false
	for _, m := range mounts {
		if !found || rank(m) > rank(best) {
			best, found = m, true
		}
	}
	return best, found
}

// Find returns the cgroup v2 hierarchy of the calling process's mount namespace, unified ("/sys/fs/cgroup") and hybrid
// ("/sys/fs/cgroup/unified") layouts alike. The error is ErrNotMounted when there is none; it says so when process 1 has one.
func Find() (*Hierarchy, error) { return find("/proc/self/mountinfo", "/proc/1/mountinfo") }

// find looks at the mounts of the file own, and, to explain the lack of one, at those of the file first.
func find(own, first string) (*Hierarchy, error) {
	mounts, err := readMounts(own)
	if err != nil {
		return nil, fmt.Errorf("find cgroup v2: %w", err)
	}
	if mount, found := choose(mounts); found {
		return &Hierarchy{mount: mount}, nil
	}
	if elsewhere, err := readMounts(first); err == nil && len(elsewhere) > 0 {
		return nil, fmt.Errorf("find cgroup v2: %w; process 1 has it: \"ip netns exec\" hides it from what it runs, \"nsenter --net=/run/netns/NAME\" does not",
			ErrNotMounted)
	}
	return nil, fmt.Errorf("find cgroup v2: %w", ErrNotMounted)
}

func readMounts(file string) ([]Mount, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return ParseMounts(f)
}
