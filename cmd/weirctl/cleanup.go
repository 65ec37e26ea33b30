package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/weir-proxy/weir/pkg/kernel/cgroup"
	"github.com/weir-proxy/weir/pkg/kernel/intercept"
)

const cleanupHelp = `usage: weirctl cleanup

Removes what a weir that was killed may have left on this host: empty cgroups named weir.*. BPF programs and maps are not among it,
since the kernel drops them with the process. Nothing is removed that a running weir uses, or that holds processes.
`

func runCleanup(_ context.Context, args []string, std stdio) int {
	if len(args) > 0 {
		if args[0] == "--help" || args[0] == "-h" {
			fmt.Fprint(std.out, cleanupHelp)
			return exitOK
		}
		return misuse(std, "cleanup", fmt.Errorf("unexpected argument %q", args[0]), cleanupHelp)
	}
	h, err := cgroup.Find()
	if err == nil {
		err = cleanup(h, std)
	}
	if err != nil {
		fmt.Fprintf(std.err, "weirctl cleanup: %v\n", err)
		return exitError
	}
	return exitOK
}

// cleanup removes the leftover cgroups below the root, deepest first.
func cleanup(h *cgroup.Hierarchy, std stdio) error {
	found := 0
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
			found++
			said, err := removeLeftover(h, dir)
			errs = append(errs, err)
			fmt.Fprintf(std.out, "%s: %s\n", h.Name(dir), said)
		}
	}
	if found == 0 {
		fmt.Fprintln(std.out, "nothing was left behind")
	}
	return errors.Join(errs...)
}

// removeLeftover removes a cgroup that nothing uses, and says what became of it.
func removeLeftover(h *cgroup.Hierarchy, dir string) (string, error) {
	switch used, err := intercept.Attached(dir); {
	case err != nil:
		return "kept", fmt.Errorf("%s: %w", h.Name(dir), err)
	case used:
		return "kept: a running weir captures it", nil
	}
	switch err := h.Remove(dir); {
	case errors.Is(err, syscall.EBUSY):
		return "kept: there are processes in it", nil
	case err != nil:
		return "kept", err
	}
	return "removed", nil
}
