package datagram

import (
	"fmt"
	"maps"
	"os"
	"slices"

	"github.com/cilium/ebpf"

	"github.com/weir-proxy/weir/pkg/kernel/program"
	"github.com/weir-proxy/weir/pkg/kernel/steer"
)

// Status is what is loaded, attached and in force.
type Status struct {
	// Loaded tells that there was something to do with datagrams. Nothing else is set before that.
	Loaded bool
	// Generation of the rules in force.
	Generation uint32
	// Plan in force. It must not be written to.
	Plan *steer.Plan
	// Capture sockets by the cookies of their network namespaces; Netns is that of the proxy.
	Capture map[uint64]Ports
	Netns   uint64
	// Cgroups that programs are attached to, sorted by directory.
	Cgroups []CgroupStatus
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
	// Hook is the kernel's name of it.
	Hook string
	// LinkID of weir's link.
	LinkID uint32
	// Programs in the order in which they run.
	Programs []program.AtHook
}

// Status asks the kernel what is attached. Cgroups that have been deleted meanwhile are left out.
func (i *Interceptor) Status() (Status, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.closed {
		return Status{}, fmt.Errorf("read status of datagrams: %w", errClosed)
	}
	if i.objects == nil {
		return Status{}, nil
	}
	status := Status{Loaded: true, Generation: i.generation, Plan: i.plan, Netns: i.opts.Netns}
	i.life.RLock()
	status.Capture = maps.Clone(i.ports)
	i.life.RUnlock()
	own := map[ebpf.ProgramID]string{}
	for _, hook := range i.objects.hooks() {
		p, err := program.Describe(hook.program)
		if err != nil {
			return Status{}, fmt.Errorf("read status of datagrams: %w", err)
		}
		own[ebpf.ProgramID(p.ID)] = p.Name
	}
	for _, dir := range slices.Sorted(maps.Keys(i.attached)) {
		target, err := os.Open(dir)
		if err != nil {
			continue
		}
		entry, err := i.cgroupStatus(dir, target, own)
		target.Close()
		if err != nil {
			return Status{}, fmt.Errorf("read status of datagrams of cgroup %s: %w", dir, err)
		}
		status.Cgroups = append(status.Cgroups, entry)
	}
	return status, nil
}

func (i *Interceptor) cgroupStatus(dir string, target *os.File, own map[ebpf.ProgramID]string) (CgroupStatus, error) {
	at := i.attached[dir]
	status := CgroupStatus{Dir: dir, Name: i.opts.Hierarchy.Name(dir), ID: at.id}
	for n, hook := range i.objects.hooks() {
		entry := HookStatus{Hook: hook.attach.String()}
		if info, err := at.links[n].Info(); err == nil {
			entry.LinkID = uint32(info.ID)
		}
		var err error
		if entry.Programs, err = program.EffectiveWith(hook.program, target, hook.attach, own); err != nil {
			return CgroupStatus{}, err
		}
		status.Hooks = append(status.Hooks, entry)
	}
	return status, nil
}
