package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/weir-proxy/weir/pkg/kernel/cgroup"
	"github.com/weir-proxy/weir/pkg/kernel/intercept"
	"github.com/weir-proxy/weir/pkg/kernel/pin"
)

const cleanupHelp = `usage: weirctl cleanup [--dry-run] [--bpf-fs DIR]

Removes what a weir that is gone has left on this host: programs and maps that life_cycle.persistence keeps on a BPF file system,
then empty cgroups named weir.*. Connections that were refused for want of a weir go where they would go without it afterwards.
Nothing is removed that a running weir owns or uses, nor a cgroup with processes in it.

  --dry-run     remove nothing, say what would be
  --bpf-fs DIR  the BPF file system, where life_cycle.bpf_fs names one (default: /sys/fs/bpf and /run/weir/bpf)
`

// cleaner is one run of the command.
type cleaner struct {
	std stdio
	// places are directories of BPF file systems.
	places []string
	dry    bool
	// found counts what was looked at.
	found int
	// freed are the ids of cgroups that a dry run takes for no longer captured.
	freed []uint64
}

func runCleanup(_ context.Context, args []string, std stdio) int {
	c := cleaner{std: std, places: pin.Places("")}
	for len(args) > 0 {
		switch {
		case args[0] == "--help" || args[0] == "-h":
			fmt.Fprint(std.out, cleanupHelp)
			return exitOK
		case args[0] == "--dry-run":
			c.dry, args = true, args[1:]
		case args[0] == "--bpf-fs" && len(args) > 1:
			c.places, args = pin.Places(args[1]), args[2:]
		case strings.HasPrefix(args[0], "-"):
			return misuse(std, "cleanup", unknownOption(args[0], cleanupHelp), cleanupHelp)
		default:
			return misuse(std, "cleanup", fmt.Errorf("unexpected argument %q", args[0]), cleanupHelp)
		}
	}
	// Programs first: they keep the cgroups that they are attached to in use.
	err := c.pins()
	h, missing := cgroup.Find()
	if missing == nil {
		missing = c.cgroups(h)
	}
	if err = errors.Join(err, missing); err != nil {
		fmt.Fprintf(std.err, "weirctl cleanup: %s\n", strings.ReplaceAll(err.Error(), "\n", "\nweirctl cleanup: "))
		return exitError
	}
	if c.found == 0 {
		fmt.Fprintln(std.out, "nothing was left behind")
	}
	return exitOK
}

// pins removes pinned state that nobody owns.
func (c *cleaner) pins() error {
	states, err := pin.List(c.places...)
	if err != nil {
		return err
	}
	var errs []error
	for _, s := range states {
		c.found++
		said, err := c.discard(s)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", s.Dir, err))
		}
		fmt.Fprintf(c.std.out, "%s: %s\n", s.Dir, said)
	}
	return errors.Join(errs...)
}

// discard removes one instance's state, and says what became of it.
func (c *cleaner) discard(s pin.State) (string, error) {
	if s.Owned {
		return "kept: " + owner(s) + " owns it", nil
	}
	if c.dry {
		c.freed = append(c.freed, s.Cgroups...)
		return "would be removed: " + contents(s), nil
	}
	err := pin.Discard(s)
	var busy *pin.BusyError
	switch {
	case errors.As(err, &busy): // it has started just now
		s.Owners = busy.PIDs
		return "kept: " + owner(s) + " owns it", nil
	case err != nil:
		return "not removed, or not all of it", err
	}
	return "removed: " + contents(s), nil
}

// owner names who holds the lock of a state.
func owner(s pin.State) string {
	if len(s.Owners) == 0 {
		return "another process"
	}
	return "the weir with pid " + strings.Trim(fmt.Sprint(s.Owners), "[]")
}

// contents says what is pinned.
func contents(s pin.State) string {
	links, maps := 0, 0
	for _, v := range s.Versions {
		links += v.Links
		maps += v.Maps
	}
	return fmt.Sprintf("%s on %s, %s", count(links, "attached program"), count(len(s.Cgroups), "cgroup"), count(maps, "map"))
}

// count gives a number of things.
func count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return strconv.Itoa(n) + " " + thing + "s"
}

// cgroups removes the leftover cgroups below the root, deepest first.
func (c *cleaner) cgroups(h *cgroup.Hierarchy) error {
	var errs []error
	for _, pattern := range []string{"weir.*/*", "weir.*"} {
		dirs, err := filepath.Glob(filepath.Join(h.Root(), pattern))
		if err != nil {
			return fmt.Errorf("look for cgroups: %w", err)
		}
		slices.Sort(dirs)
		for _, dir := range dirs {
			if _, err := cgroup.ID(filepath.Join(dir, "cgroup.procs")); err != nil {
				continue // one of the kernel's files, not a cgroup
			}
			c.found++
			said, err := c.remove(h, dir)
			errs = append(errs, err)
			fmt.Fprintf(c.std.out, "%s: %s\n", h.Name(dir), said)
		}
	}
	return errors.Join(errs...)
}

// remove removes a cgroup that nothing uses, and says what became of it.
func (c *cleaner) remove(h *cgroup.Hierarchy, dir string) (string, error) {
	switch used, err := c.captured(dir); {
	case err != nil:
		return "kept", fmt.Errorf("%s: %w", h.Name(dir), err)
	case used:
		return "kept: a running weir captures it", nil
	}
	if pid, ok := privateOf(dir); ok {
		return fmt.Sprintf("kept: weirctl exec with pid %d made it and runs", pid), nil
	}
	if c.dry {
		if busy, err := occupied(dir); err != nil || busy {
			return "kept: there are processes in it", err
		}
		return "would be removed", nil
	}
	switch err := h.Remove(dir); {
	case errors.Is(err, syscall.EBUSY):
		return "kept: there are processes in it", nil
	case err != nil:
		return "kept", err
	}
	return "removed", nil
}

// captured tells whether a running weir takes the connections of a cgroup.
func (c *cleaner) captured(dir string) (bool, error) {
	used, err := intercept.Attached(dir)
	if !used || err != nil {
		return false, err
	}
	id, err := cgroup.ID(dir)
	return !slices.Contains(c.freed, id), err
}

// privateOf gives the process that a cgroup was made by and for, if it runs: one of weirctl exec is empty at first.
func privateOf(dir string) (pid int, runs bool) {
	base := filepath.Base(dir)
	pid, err := strconv.Atoi(base[strings.LastIndex(base, ".")+1:])
	if err != nil || pid <= 0 {
		return 0, false
	}
	return pid, !errors.Is(syscall.Kill(pid, 0), syscall.ESRCH)
}

// occupied tells whether there are processes in a cgroup or in those below it.
func occupied(dir string) (bool, error) {
	pids, err := cgroup.Processes(dir)
	if err != nil || len(pids) > 0 {
		return true, err
	}
	below, err := filepath.Glob(filepath.Join(dir, "*", "cgroup.procs"))
	if err != nil {
		return true, fmt.Errorf("look for cgroups: %w", err)
	}
	for _, procs := range below {
		if busy, err := occupied(filepath.Dir(procs)); err != nil || busy {
			return true, err
		}
	}
	return false, nil
}
