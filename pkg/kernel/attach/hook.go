package attach

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"github.com/weir-proxy/weir/pkg/kernel/cgroup"
	"github.com/weir-proxy/weir/pkg/kernel/program"
)

// Hook is a place in a cgroup that a program runs at.
type Hook struct {
	At      ebpf.AttachType
	Program *ebpf.Program
	// Decides is true where something is captured, false where what was captured is completed.
	Decides bool
}

// Name is the kernel's name of it, such as "CGroupInet4Connect"; a pinned link is called by it.
func (h Hook) Name() string { return h.At.String() }

// Attach puts the program on the cgroup with a directory through a link (BPF_LINK_CREATE, always "multi"): it runs beside the programs of
// others, and until the link is closed.
func (h Hook) Attach(dir string) (link.Link, error) {
	target, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("attach to cgroup: %w", err)
	}
	defer target.Close()
	l, err := h.attach(target)
	if err != nil {
		return nil, fmt.Errorf("attach %s to cgroup %s: %w", h.At, dir, err)
	}
	return l, nil
}

func (h Hook) attach(target *os.File) (link.Link, error) {
	l, err := link.AttachRawLink(link.RawLinkOptions{Target: int(target.Fd()), Program: h.Program, Attach: h.At})
	if err != nil {
		return nil, err // not l, which would be no nil interface
	}
	return l, nil
}

// On lists the programs that are attached to one cgroup itself, those of other people included.
func (h Hook) On(dir string) ([]program.AtHook, error) {
	target, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer target.Close()
	result, err := program.Query(link.QueryOptions{Target: int(target.Fd()), Attach: h.At})
	if err != nil {
		return nil, err
	}
	return program.Named(result.Programs, nil), nil
}

// ExclusiveError says that somebody else's program allows no other one at a hook: it was attached to the cgroup, or to one above,
// without BPF_F_ALLOW_MULTI.
type ExclusiveError struct {
	// Cgroup is the directory of the cgroup that it is attached to, Hook the hook's name.
	Cgroup, Hook string
	// Program that is in the way.
	Program program.AtHook
	// Err is what the kernel said.
	Err error
}

// Error names the program.
func (e *ExclusiveError) Error() string {
	return fmt.Sprintf("program %s (id %d) at %s of cgroup %s was attached so that it allows no other one (without BPF_F_ALLOW_MULTI): %v",
		e.Program.Name, e.Program.ID, e.Hook, e.Cgroup, e.Err)
}

// Unwrap returns what the kernel said.
func (e *ExclusiveError) Unwrap() error { return e.Err }

// exclusive explains why the kernel did not allow to attach: the nearest cgroup, from dir upwards, that has a program of its own
// at the hook. Programs in "multi" mode never are in the way, so that one which is there is not.
func (h Hook) exclusive(hierarchy *cgroup.Hierarchy, dir string, err error) error {
	if !errors.Is(err, syscall.EPERM) {
		return err
	}
	for dir := range hierarchy.Upward(dir) {
		own, failed := h.On(dir)
		if failed != nil || len(own) == 0 {
			continue
		}
		return &ExclusiveError{Cgroup: dir, Hook: h.Name(), Program: own[0], Err: err}
	}
	return err
}
