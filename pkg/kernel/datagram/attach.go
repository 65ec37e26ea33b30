package datagram

import (
	"fmt"

	"github.com/cilium/ebpf"

	"github.com/weir-proxy/weir/pkg/kernel/attach"
	"github.com/weir-proxy/weir/pkg/kernel/steer"
)

// hooks lists them in the order of attaching: what completes a captured exchange is in place before datagrams are captured.
func (o *objects) hooks() []attach.Hook {
	return []attach.Hook{
		{At: ebpf.AttachCgroupInet4GetPeername, Program: o.Getpeername4},
		{At: ebpf.AttachCgroupInet6GetPeername, Program: o.Getpeername6},
		{At: ebpf.AttachCGroupUDP4Recvmsg, Program: o.Recvmsg4},
		{At: ebpf.AttachCGroupUDP6Recvmsg, Program: o.Recvmsg6},
		{At: ebpf.AttachCGroupInet4Connect, Program: o.Connect4, Decides: true},
		{At: ebpf.AttachCGroupInet6Connect, Program: o.Connect6, Decides: true},
		{At: ebpf.AttachCGroupUDP4Sendmsg, Program: o.Sendmsg4, Decides: true},
		{At: ebpf.AttachCGroupUDP6Sendmsg, Program: o.Sendmsg6, Decides: true},
	}
}

// Refresh resolves the plan's cgroup patterns again, attaches to cgroups that have appeared and forgets those that are gone.
func (i *Interceptor) Refresh() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.closed || i.pinned.Yielded() || i.objects == nil {
		return nil
	}
	if err := i.reattach(); err != nil {
		return fmt.Errorf("refresh cgroups for datagrams: %w", err)
	}
	return nil
}

// reattach makes the attachments those that the plan wants.
func (i *Interceptor) reattach() error {
	if i.deferred {
		return nil
	}
	dirs, err := i.resolve()
	if err == nil {
		_, err = i.cgroups.Set(dirs)
	}
	if err != nil {
		return err
	}
	return i.pinned.Settle()
}

// resolve finds the cgroups of the plan, none when it has no rules. The default one is created when it is not there.
func (i *Interceptor) resolve() ([]string, error) {
	if len(i.plan.Rules) == 0 || i.plan.Disabled {
		return nil, nil
	}
	dirs, _, err := i.cgroups.Resolve(steer.DefaultCgroup, i.plan.Cgroups)
	return dirs, err
}

// Attached are the directories of the cgroups that the programs are attached to.
func (i *Interceptor) Attached() []string {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.cgroups.Dirs()
}
