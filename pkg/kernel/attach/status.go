package attach

import (
	"fmt"
	"os"

	"github.com/cilium/ebpf"

	"github.com/weir-proxy/weir/pkg/kernel/program"
)

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
	Programs []program.AtHook
}

// Programs are those that are attached, in the order of hooks.
func (c *Cgroups) Programs() ([]program.Program, error) {
	var all []program.Program
	for _, h := range c.hooks {
		p, err := program.Describe(h.Program)
		if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	return all, nil
}

// Status asks the kernel what is attached, sorted by directory. Cgroups that have been deleted meanwhile are left out.
func (c *Cgroups) Status() ([]CgroupStatus, error) {
	programs, err := c.Programs()
	if err != nil {
		return nil, err
	}
	own := make(map[ebpf.ProgramID]string)
	for _, p := range programs {
		own[ebpf.ProgramID(p.ID)] = p.Name
	}
	var all []CgroupStatus
	for _, dir := range c.Dirs() {
		target, err := os.Open(dir)
		if err != nil {
			continue
		}
		entry, err := c.status(dir, target, own)
		target.Close()
		if err != nil {
			return nil, fmt.Errorf("query cgroup %s: %w", dir, err)
		}
		all = append(all, entry)
	}
	return all, nil
}

func (c *Cgroups) status(dir string, target *os.File, own map[ebpf.ProgramID]string) (CgroupStatus, error) {
	at := c.attached[dir]
	status := CgroupStatus{Dir: dir, Name: c.hierarchy.Name(dir), ID: at.id}
	for n, h := range c.hooks {
		entry := HookStatus{Hook: h.Name()}
		if info, err := at.links[n].Info(); err == nil {
			entry.LinkID = uint32(info.ID)
		}
		var err error
		if entry.Programs, err = program.EffectiveWith(h.Program, target, h.At, own); err != nil {
			return CgroupStatus{}, err
		}
		status.Hooks = append(status.Hooks, entry)
	}
	return status, nil
}
