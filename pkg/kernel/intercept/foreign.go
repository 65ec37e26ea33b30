package intercept

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/weir-proxy/weir/pkg/kernel/attach"
	"github.com/weir-proxy/weir/pkg/kernel/cgroup"
	"github.com/weir-proxy/weir/pkg/kernel/program"
)

// ForeignProgram is somebody else's program at one of weir's hooks.
type ForeignProgram struct {
	HookProgram
	Hook string
	// Cgroup is the directory of the cgroup that it is attached to.
	Cgroup string
	// Order is when it runs for connections of the given cgroup by which it was found, NotBeside where no weir is at the hook.
	Order Order
}

// Order is when a program at a hook runs, compared with weir's.
type Order int

// Orders.
const (
	NotBeside Order = iota
	// BeforeWeir is a program that may refuse, or rewrite what weir then sees.
	BeforeWeir
	// AfterWeir is a program that sees what weir wrote, and may rewrite that.
	AfterWeir
)

// orders tells when each program that runs for a cgroup at a hook does so; with more than one weir, compared with the first.
func orders(dir string, hook attach.Hook) (map[uint32]Order, error) {
	target, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer target.Close()
	all, err := program.Effective(target, hook.At, nil)
	if err != nil {
		return nil, err
	}
	weir := slices.IndexFunc(all, func(p HookProgram) bool { return strings.HasPrefix(p.Name, programPrefix) })
	out := make(map[uint32]Order)
	for n, p := range all {
		switch {
		case weir >= 0 && n < weir:
			out[p.ID] = BeforeWeir
		case weir >= 0:
			out[p.ID] = AfterWeir
		}
	}
	return out, nil
}

// Foreign lists the programs of others at the hooks that weir uses: those attached to the given cgroups and to the ones above
// them. Cgroups that are gone have none. A program whose name cannot be learnt, since it has just gone or for want of CAP_SYS_ADMIN, is
// left out: it may be weir's own.
func Foreign(h *cgroup.Hierarchy, dirs ...string) ([]ForeignProgram, error) {
	var all []ForeignProgram
	seen := make(map[string]bool)
	for _, captured := range dirs {
		for dir := range h.Upward(captured) {
			if seen[dir] {
				break
			}
			seen[dir] = true
			for _, hook := range (&objects{}).hooks() {
				programs, err := hook.On(dir)
				if errors.Is(err, os.ErrNotExist) {
					break
				}
				if err != nil {
					return nil, fmt.Errorf("query %s of cgroup %s: %w", hook.Name(), dir, err)
				}
				programs = slices.DeleteFunc(programs, func(p HookProgram) bool { return p.Name == "" || strings.HasPrefix(p.Name, programPrefix) })
				if len(programs) == 0 {
					continue
				}
				order, err := orders(captured, hook)
				if err != nil {
					return nil, fmt.Errorf("query %s of cgroup %s: %w", hook.Name(), captured, err)
				}
				for _, p := range programs {
					all = append(all, ForeignProgram{HookProgram: p, Hook: hook.Name(), Cgroup: dir, Order: order[p.ID]})
				}
			}
		}
	}
	slices.SortStableFunc(all, func(a, b ForeignProgram) int { return strings.Compare(a.Cgroup, b.Cgroup) })
	return all, nil
}

// neighbours remembers which cgroups have been looked at for programs of others. It is guarded by Interceptor.mu.
type neighbours struct {
	// fresh are the cgroups that have been attached to since the last look, told those whose foreign programs were told of.
	fresh, told map[string]bool
	// looked are the cgroups that have been looked at for programs of other weirs.
	looked map[string]bool
}

// follow notes what has been attached to.
func (n *neighbours) follow(change attach.Change) {
	for _, dir := range change.Detached {
		delete(n.fresh, dir)
	}
	for _, dir := range change.Attached {
		n.fresh[dir] = true
	}
}

// NewForeign lists the programs of others at the hooks of the cgroups that were attached to since the last call, and of those
// above them: each cgroup's programs once. What is attached later is not told of; Foreign sees it.
func (i *Interceptor) NewForeign() ([]ForeignProgram, error) {
	i.mu.Lock()
	fresh := slices.Sorted(maps.Keys(i.neighbours.fresh))
	clear(i.neighbours.fresh)
	i.mu.Unlock()
	if len(fresh) == 0 {
		return nil, nil
	}
	all, err := Foreign(i.opts.Hierarchy, fresh...)
	if err != nil {
		return nil, err
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	told := i.neighbours.told
	maps.DeleteFunc(told, func(dir string, _ bool) bool { return !exists(dir) })
	all = slices.DeleteFunc(all, func(f ForeignProgram) bool { return told[f.Cgroup] })
	for _, f := range all {
		told[f.Cgroup] = true
	}
	return all, nil
}

func exists(dir string) bool {
	_, err := os.Stat(dir)
	return err == nil
}
