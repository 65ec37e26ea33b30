package program

import (
	"errors"
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

// ErrHidden says that the kernel does not tell which programs are at a hook: that takes CAP_NET_ADMIN in the initial user namespace, for
// which no BPF token stands in.
var ErrHidden = errors.New("the programs at hooks are hidden from user namespaces")

// Query is link.QueryPrograms, with ErrHidden where this process may not ask.
func Query(o link.QueryOptions) (*link.QueryResult, error) {
	result, err := link.QueryPrograms(o)
	// The library takes the refusal for a kernel without the command, which is older than any that weir runs on.
	if errors.Is(err, ebpf.ErrNotSupported) || errors.Is(err, os.ErrPermission) {
		return nil, ErrHidden
	}
	return result, err
}

// EffectiveWith is Effective for a hook that mine is attached to: where others are hidden, mine is all that is listed.
func EffectiveWith(mine *ebpf.Program, cgroup *os.File, at ebpf.AttachType, own map[ebpf.ProgramID]string) ([]AtHook, error) {
	all, err := Effective(cgroup, at, own)
	if errors.Is(err, ErrHidden) {
		return Alone(mine)
	}
	return all, err
}

// Alone is what a hook has when nothing is known of others.
func Alone(mine *ebpf.Program) ([]AtHook, error) {
	p, err := Describe(mine)
	if err != nil {
		return nil, err
	}
	return []AtHook{{ID: p.ID, Name: p.Name, Weir: true}}, nil
}

// Effective lists what runs at a hook of a cgroup, in order, those of the cgroups above included.
func Effective(cgroup *os.File, at ebpf.AttachType, own map[ebpf.ProgramID]string) ([]AtHook, error) {
	const queryEffective = 1 // BPF_F_QUERY_EFFECTIVE, include/uapi/linux/bpf.h
	result, err := Query(link.QueryOptions{Target: int(cgroup.Fd()), Attach: at, QueryFlags: queryEffective})
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
