package intercept

import (
	"fmt"

	"github.com/cilium/ebpf"

	"github.com/weir-proxy/weir/pkg/kernel/attach"
	"github.com/weir-proxy/weir/pkg/kernel/steer"
)

// hooks lists them in the order of attaching: what completes a captured connection is in place before connections are captured.
func (o *objects) hooks() []attach.Hook {
	return []attach.Hook{
		{At: ebpf.AttachCGroupSockOps, Program: o.Sockops},
		{At: ebpf.AttachCgroupInetSockRelease, Program: o.Release},
		{At: ebpf.AttachCgroupInet4GetPeername, Program: o.Getpeername4},
		{At: ebpf.AttachCgroupInet6GetPeername, Program: o.Getpeername6},
		{At: ebpf.AttachCGroupInet4Connect, Program: o.Connect4, Decides: true},
		{At: ebpf.AttachCGroupInet6Connect, Program: o.Connect6, Decides: true},
	}
}

// Refresh resolves the plan's cgroup patterns again, attaches to cgroups that have appeared and forgets those that are gone. It
// also frees the memory of services and endpoints that have left and have no connections any more.
func (i *Interceptor) Refresh() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.closed {
		return errClosed
	}
	if i.pinned.Yielded() {
		return nil
	}
	i.rules.names.sweep()
	if err := i.settle(); err != nil {
		return fmt.Errorf("refresh services: %w", err)
	}
	if i.closed || i.pinned.Yielded() {
		return nil
	}
	if err := i.cgroups.Tidy(); err != nil {
		return err
	}
	if err := i.reattach(i.capturing()); err != nil {
		return fmt.Errorf("refresh cgroups: %w", err)
	}
	return nil
}

// reattach makes the attachments those that the plan wants.
func (i *Interceptor) reattach(plan *steer.Plan) error {
	if i.deferred {
		return nil
	}
	i.attachedAll = false
	dirs, err := i.resolve(plan)
	if err != nil {
		return err
	}
	change, err := i.cgroups.Set(dirs)
	i.neighbours.follow(change)
	if err != nil {
		return err
	}
	i.attachedAll = true
	return i.pinned.Settle()
}

// resolve finds the cgroups of the plan, none when it has no rules.
func (i *Interceptor) resolve(plan *steer.Plan) (dirs []string, err error) {
	if plan.Disabled || len(plan.Rules) == 0 {
		i.missing = nil
		return nil, nil
	}
	dirs, i.missing, err = i.cgroups.Resolve(steer.DefaultCgroup, plan.Cgroups)
	return dirs, err
}

// busy tells whether any service has connections.
func (s *services) busy() bool {
	for _, have := range s.byBlock {
		if s.stats(have).Active > 0 {
			return true
		}
	}
	return false
}
