package main

import (
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/weir-proxy/weir/pkg/kernel/cgroup"
	"github.com/weir-proxy/weir/pkg/kernel/intercept"
	"github.com/weir-proxy/weir/pkg/kernel/pin"
	"github.com/weir-proxy/weir/pkg/kernel/program"
)

// kernelState is what weirs, and others, have put into the kernel.
type kernelState struct {
	Pins []pinState `json:"pins"`
	// Captured are the cgroups that programs of a weir are attached to.
	Captured []string `json:"captured_cgroups"`
	// Foreign programs are at weir's hooks of the captured cgroups, or of those above them; where nothing is captured, of the root.
	Foreign []foreignProgram `json:"foreign_programs"`
	// Shared are the captured cgroups that more than one weir captures.
	Shared []sharedCgroup `json:"shared_cgroups,omitempty"`
	// Problems are why something could not be looked at.
	Problems []string `json:"problems,omitempty"`
}

// pinState is what one weir has pinned.
type pinState struct {
	Dir      string        `json:"dir"`
	Instance string        `json:"base_id"`
	Owned    bool          `json:"owned"`
	Owners   []int         `json:"owners,omitempty"`
	Versions []pin.Version `json:"versions"`
	// Cgroups that programs are attached to by pins; an id where the cgroup is gone, or not to be seen from here.
	Cgroups []string `json:"cgroups"`
	verdict string
}

type foreignProgram struct {
	Cgroup string `json:"cgroup"`
	Hook   string `json:"hook"`
	Name   string `json:"name"`
	ID     uint32 `json:"id"`
	// Runs is "before weir" or "after weir"; empty where no weir is.
	Runs string `json:"runs,omitempty"`
}

// sharedCgroup is a cgroup that more than one weir captures.
type sharedCgroup struct {
	Cgroup string `json:"cgroup"`
	// Weirs in the order in which they decide.
	Weirs []capturingWeir `json:"weirs"`
}

// capturingWeir is a weir as its program shows it; it has no processes when it has ended and left that behind.
type capturingWeir struct {
	Program   uint32 `json:"program"`
	Processes []int  `json:"processes"`
}

func (w capturingWeir) String() string {
	if len(w.Processes) == 0 {
		return fmt.Sprintf("one that has ended or is not to be seen (its program is %d)", w.Program)
	}
	return "process " + strings.Trim(fmt.Sprint(w.Processes), "[]")
}

func runs(o intercept.Order) string {
	return map[intercept.Order]string{intercept.BeforeWeir: "before weir", intercept.AfterWeir: "after weir"}[o]
}

// sharedCgroups finds the cgroups among those that are captured that more than one weir captures.
func sharedCgroups(h *cgroup.Hierarchy, dirs []string) ([]sharedCgroup, error) {
	all, err := intercept.SharedAmong(dirs)
	var out []sharedCgroup
	for _, s := range all {
		ids := make([]uint32, 0, len(s.Weirs))
		for _, w := range s.Weirs {
			ids = append(ids, w.ID)
		}
		held, shared := program.Holders(ids...), sharedCgroup{Cgroup: h.Name(s.Cgroup)}
		for _, id := range ids {
			shared.Weirs = append(shared.Weirs, capturingWeir{id, append([]int{}, held[id]...)})
		}
		out = append(out, shared)
	}
	return out, err
}

// examineKernel looks at what is pinned and attached.
func examineKernel(places []string) kernelState {
	state := kernelState{Pins: []pinState{}, Captured: []string{}, Foreign: []foreignProgram{}}
	problem := func(err error) bool {
		if err != nil {
			state.Problems = append(state.Problems, err.Error())
		}
		return err != nil
	}
	pins, err := pin.List(places...)
	problem(err)
	h, err := cgroup.Find()
	if problem(err) {
		return state
	}
	for _, p := range pins {
		state.Pins = append(state.Pins, describePins(h, p))
	}
	dirs, err := intercept.Captured(h)
	if problem(err) {
		return state
	}
	for _, dir := range dirs {
		state.Captured = append(state.Captured, h.Name(dir))
	}
	state.Shared, err = sharedCgroups(h, dirs)
	problem(err)
	if len(dirs) == 0 {
		dirs = []string{h.Root()}
	}
	foreign, err := intercept.Foreign(h, dirs...)
	problem(err)
	for _, f := range foreign {
		state.Foreign = append(state.Foreign, foreignProgram{h.Name(f.Cgroup), f.Hook, f.Name, f.ID, runs(f.Order)})
	}
	return state
}

func describePins(h *cgroup.Hierarchy, s pin.State) pinState {
	out := pinState{Dir: s.Dir, Instance: s.Instance, Owned: s.Owned, Owners: s.Owners, Versions: s.Versions, Cgroups: namesOf(h, s.Cgroups)}
	if s.Owned {
		out.verdict = owner(s) + " owns " + contents(s)
	} else {
		out.verdict = "left behind: " + contents(s) + "; `" + cleanupCommand(s) + "` removes them"
	}
	return out
}

// cleanupCommand removes the state of a weir that is gone.
func cleanupCommand(s pin.State) string {
	fs := filepath.Dir(filepath.Dir(s.Dir))
	if slices.Contains(pin.Places(""), fs) {
		return "weirctl cleanup"
	}
	return "weirctl cleanup --bpf-fs " + fs
}

// namesOf finds the names of cgroups by their ids.
func namesOf(h *cgroup.Hierarchy, ids []uint64) []string {
	names := make(map[uint64]string)
	// What cannot be read is not found, and stands there as a number.
	_ = filepath.WalkDir(h.Root(), func(dir string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.IsDir() {
			return nil
		}
		if id, err := cgroup.ID(dir); err == nil && slices.Contains(ids, id) {
			names[id] = h.Name(dir)
		}
		return nil
	})
	out := []string{}
	for _, id := range ids {
		name, ok := names[id]
		if !ok {
			name = fmt.Sprintf("id %d, which is gone", id)
		}
		out = append(out, name)
	}
	return out
}

func (k kernelState) print(out io.Writer) error {
	if len(k.Pins) > 0 {
		fmt.Fprint(out, "\nPinned, so that it outlives weir (life_cycle.persistence):\n")
	}
	for _, p := range k.Pins {
		fmt.Fprintf(out, "  %s\n    %s\n", p.Dir, p.verdict)
		for _, name := range p.Cgroups {
			fmt.Fprintf(out, "    on %s\n", name)
		}
	}
	if len(k.Captured) > 0 {
		fmt.Fprintf(out, "\nCaptured cgroups:\n  %s\n", strings.Join(k.Captured, "\n  "))
	} else {
		fmt.Fprint(out, "\nNo cgroup is captured at present.\n")
	}
	k.printShared(out)
	if err := k.printForeign(out); err != nil {
		return err
	}
	for _, p := range k.Problems {
		fmt.Fprintln(out, "\nCould not be looked at:", p)
	}
	return nil
}

// printShared warns of weirs that get into each other's way.
func (k kernelState) printShared(out io.Writer) {
	if len(k.Shared) == 0 {
		return
	}
	fmt.Fprint(out, "\nWRONG: more than one weir captures the same cgroup. Each decides about what the one before it has rewritten, and getpeername() tells\n"+
		"applications of one that only one of them knows. Give each its own cgroups (weir.interception), or end all but one:\n")
	for _, s := range k.Shared {
		var weirs []string
		for _, w := range s.Weirs {
			weirs = append(weirs, w.String())
		}
		fmt.Fprintf(out, "  %s: %s\n", s.Cgroup, strings.Join(weirs, ", then "))
	}
}

// printForeign tells of programs of others, and when they run.
func (k kernelState) printForeign(out io.Writer) error {
	if len(k.Foreign) == 0 {
		return nil
	}
	fmt.Fprint(out, "\nPrograms of others at the hooks that weir uses. Weir decides about what one before it has rewritten, and one after it may rewrite what weir wrote;\n"+
		"those of lower cgroups run before those of upper ones:\n")
	w := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	for _, f := range k.Foreign {
		line := fmt.Sprintf("  %s\t%s\t%s\tid %d", f.Cgroup, f.Hook, f.Name, f.ID)
		if f.Runs != "" {
			line += "\truns " + f.Runs
		}
		fmt.Fprintln(w, line)
	}
	return w.Flush()
}
