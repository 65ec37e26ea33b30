package intercept

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"github.com/cilium/ebpf"

	"github.com/weir-proxy/weir/pkg/kernel/attach"
	"github.com/weir-proxy/weir/pkg/kernel/program"
	"github.com/weir-proxy/weir/pkg/kernel/steer"
)

// Status is what is loaded, attached and in force.
type Status struct {
	// Generation of the rules in force; 0 before the first plan.
	Generation uint32
	// Plan in force. It must not be written to.
	Plan *steer.Plan
	// Capture sockets of the network namespaces that have some, by cookie.
	Capture []NamespaceCapture
	// ProxyMark, ProxyCgroup and Netns as in Options; Netns, the proxy's own namespace, is filled in.
	ProxyMark          uint32
	ProxyCgroup, Netns uint64
	// Programs of weir.
	Programs []Program
	// Cgroups that programs are attached to, sorted by directory.
	Cgroups []attach.CgroupStatus
	// MissingCgroups are patterns that match nothing at present.
	MissingCgroups []string
}

// Program is a loaded program.
type Program = program.Program

// HookProgram is one program at a hook; Weir is true for this Interceptor's own program.
type HookProgram = program.AtHook

// Status asks the kernel what is attached. Cgroups that have been deleted meanwhile are left out.
func (i *Interceptor) Status() (Status, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.closed {
		return Status{}, fmt.Errorf("read interception status: %w", errClosed)
	}
	status := Status{
		Generation:     i.applied.generation,
		Plan:           i.applied.plan,
		ProxyMark:      i.opts.ProxyMark,
		ProxyCgroup:    i.opts.ProxyCgroup,
		Netns:          i.opts.Netns,
		Capture:        i.captures(),
		MissingCgroups: slices.Clone(i.missing),
	}
	var err error
	if status.Programs, err = i.cgroups.Programs(); err == nil {
		status.Cgroups, err = i.cgroups.Status()
	}
	if err != nil {
		return Status{}, fmt.Errorf("read interception status: %w", err)
	}
	return status, nil
}

// Attached reports whether a running weir, this process or another one, captures the connections of the cgroup with the
// directory dir, through programs on it or on one above it. It goes by the name of the program. A missing cgroup has none.
func Attached(dir string) (bool, error) {
	found, err := Capturing(dir)
	return len(found) > 0, err
}

// Capturing lists the programs, of this process or another one, that capture the connections of the cgroup with the directory dir, in
// the order in which they run. As Attached it goes by their names, and counts those of cgroups above.
func Capturing(dir string) ([]HookProgram, error) {
	target, err := os.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("query cgroup: %w", err)
	}
	defer target.Close()
	programs, err := program.Effective(target, ebpf.AttachCGroupInet4Connect, nil)
	if err != nil {
		return nil, fmt.Errorf("query cgroup %s: %w", dir, err)
	}
	return slices.DeleteFunc(programs, func(p HookProgram) bool { return p.Name != captureProgram }), nil
}
