package intercept

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"github.com/weir-proxy/weir/pkg/kernel/cgroup"
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
	Cgroups []CgroupStatus
	// MissingCgroups are patterns that match nothing at present.
	MissingCgroups []string
}

// Program is a loaded program.
type Program struct {
	Name string
	// ID by which bpftool prog shows it.
	ID uint32
}

// CgroupStatus is a cgroup with weir's programs.
type CgroupStatus struct {
	// Dir is its directory, Name the same relative to the hierarchy's root, ID what the kernel knows it by.
	Dir, Name string
	ID        uint64
	// Hooks in the order in which they were attached.
	Hooks []HookStatus
}

// HookStatus says what runs at one hook of a cgroup.
type HookStatus struct {
	// Hook is the kernel's name of it, such as "CGroupInet4Connect".
	Hook string
	// LinkID of weir's link.
	LinkID uint32
	// Programs in the order in which they run, those of cgroups above included. A program before weir's may have rewritten the
	// address that weir sees; one after it may rewrite what weir wrote.
	Programs []HookProgram
}

// HookProgram is one program at a hook.
type HookProgram struct {
	ID   uint32
	Name string
	// Weir is true for this Interceptor's own program.
	Weir bool
}

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
	own := make(map[ebpf.ProgramID]bool)
	for _, hook := range i.objects.hooks() {
		program, err := describe(hook.program)
		if err != nil {
			return Status{}, fmt.Errorf("read interception status: %w", err)
		}
		status.Programs = append(status.Programs, program)
		own[ebpf.ProgramID(program.ID)] = true
	}
	for _, dir := range slices.Sorted(maps.Keys(i.attached)) {
		if _, err := os.Stat(dir); err != nil {
			continue
		}
		entry, err := i.cgroupStatus(dir, own)
		if err != nil {
			return Status{}, fmt.Errorf("read interception status of cgroup %s: %w", dir, err)
		}
		status.Cgroups = append(status.Cgroups, entry)
	}
	return status, nil
}

func describe(program *ebpf.Program) (Program, error) {
	info, err := program.Info()
	if err != nil {
		return Program{}, err
	}
	id, _ := info.ID()
	return Program{Name: info.Name, ID: uint32(id)}, nil
}

func (i *Interceptor) cgroupStatus(dir string, own map[ebpf.ProgramID]bool) (CgroupStatus, error) {
	id, err := cgroup.ID(dir)
	if err != nil {
		return CgroupStatus{}, err
	}
	status := CgroupStatus{Dir: dir, Name: i.opts.Hierarchy.Name(dir), ID: id}
	target, err := os.Open(dir)
	if err != nil {
		return CgroupStatus{}, err
	}
	defer target.Close()
	for n, hook := range i.objects.hooks() {
		entry := HookStatus{Hook: hook.attach.String()}
		if info, err := i.attached[dir].links[n].Info(); err == nil {
			entry.LinkID = uint32(info.ID)
		}
		if entry.Programs, err = effective(target, hook.attach, own); err != nil {
			return CgroupStatus{}, err
		}
		status.Hooks = append(status.Hooks, entry)
	}
	return status, nil
}

// effective lists what runs at a hook of the cgroup, in order. The name of a program that has gone meanwhile is empty.
func effective(target *os.File, at ebpf.AttachType, own map[ebpf.ProgramID]bool) ([]HookProgram, error) {
	const queryEffective = 1 // BPF_F_QUERY_EFFECTIVE, include/uapi/linux/bpf.h
	result, err := link.QueryPrograms(link.QueryOptions{
		Target: int(target.Fd()), Attach: at, QueryFlags: queryEffective,
	})
	if err != nil {
		return nil, err
	}
	return named(result.Programs, own), nil
}

// named describes programs that are attached.
func named(all []link.AttachedProgram, own map[ebpf.ProgramID]bool) []HookProgram {
	var programs []HookProgram
	for _, attached := range all {
		entry := HookProgram{ID: uint32(attached.ID), Weir: own[attached.ID]}
		if program, err := ebpf.NewProgramFromID(attached.ID); err == nil {
			if described, err := describe(program); err == nil {
				entry.Name = described.Name
			}
			program.Close()
		}
		programs = append(programs, entry)
	}
	return programs
}

// Attached reports whether a running weir, this process or another one, captures the connections of the cgroup with the
// directory dir, through programs on it or on one above it. It goes by the name of the program. A missing cgroup has none.
func Attached(dir string) (bool, error) {
	target, err := os.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("query cgroup: %w", err)
	}
	defer target.Close()
	programs, err := effective(target, ebpf.AttachCGroupInet4Connect, nil)
	if err != nil {
		return false, fmt.Errorf("query cgroup %s: %w", dir, err)
	}
	return slices.ContainsFunc(programs, func(p HookProgram) bool { return p.Name == captureProgram }), nil
}
