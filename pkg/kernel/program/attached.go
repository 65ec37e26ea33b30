package program

import (
	"os"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

// Program is a loaded program.
type Program struct {
	Name string
	// ID by which bpftool prog shows it.
	ID uint32
}

// AtHook is one program at a hook.
type AtHook struct {
	ID   uint32
	Name string
	// Weir is true for a program of the caller's own.
	Weir bool
}

// Describe tells a program's name and id.
func Describe(p *ebpf.Program) (Program, error) {
	info, err := p.Info()
	if err != nil {
		return Program{}, err
	}
	id, _ := info.ID()
	return Program{Name: info.Name, ID: uint32(id)}, nil
}

// Effective lists what runs at a hook of a cgroup, in order, those of the cgroups above included.
func Effective(cgroup *os.File, at ebpf.AttachType, own map[ebpf.ProgramID]string) ([]AtHook, error) {
	const queryEffective = 1 // BPF_F_QUERY_EFFECTIVE, include/uapi/linux/bpf.h
	result, err := link.QueryPrograms(link.QueryOptions{Target: int(cgroup.Fd()), Attach: at, QueryFlags: queryEffective})
	if err != nil {
		return nil, err
	}
	return Named(result.Programs, own), nil
}

// Named describes programs that are attached; own are the names of the caller's. It takes CAP_SYS_ADMIN to learn those of others: they
// are empty without it, as those of programs that have gone meanwhile.
func Named(all []link.AttachedProgram, own map[ebpf.ProgramID]string) []AtHook {
	var programs []AtHook
	for _, attached := range all {
		name, weir := own[attached.ID]
		entry := AtHook{ID: uint32(attached.ID), Name: name, Weir: weir}
		if weir {
			programs = append(programs, entry)
			continue
		}
		if p, err := ebpf.NewProgramFromID(attached.ID); err == nil {
			if described, err := Describe(p); err == nil {
				entry.Name = described.Name
			}
			p.Close()
		}
		programs = append(programs, entry)
	}
	return programs
}
