package intercept

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"syscall"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"github.com/weir-proxy/weir/pkg/kernel/cgroup"
	"github.com/weir-proxy/weir/pkg/kernel/steer"
)

// hook is a place in a cgroup that one of the programs runs at.
type hook struct {
	attach  ebpf.AttachType
	program *ebpf.Program
	// decides is true where connections are captured, false where captured ones are completed.
	decides bool
}

// name is what a pinned link of the hook is called.
func (h hook) name() string { return h.attach.String() }

// hooks lists them in the order of attaching: what completes a captured connection is in place before connections are captured.
func (o *objects) hooks() []hook {
	return []hook{
		{ebpf.AttachCGroupSockOps, o.Sockops, false},
		{ebpf.AttachCgroupInetSockRelease, o.Release, false},
		{ebpf.AttachCgroupInet4GetPeername, o.Getpeername4, false},
		{ebpf.AttachCgroupInet6GetPeername, o.Getpeername6, false},
		{ebpf.AttachCGroupInet4Connect, o.Connect4, true},
		{ebpf.AttachCGroupInet6Connect, o.Connect6, true},
	}
}

// attachment is the links of one cgroup, in the order of hooks. The id tells it from a later cgroup of the same name.
type attachment struct {
	id    uint64
	links []link.Link
}

// close detaches in reverse: no new connection is captured before the rest goes. Links that are pinned stay attached when they
// are to be kept.
func (a *attachment) close(keep bool) error {
	var failed []error
	for _, l := range slices.Backward(a.links) {
		if !keep {
			failed = append(failed, unpin(l))
		}
		failed = append(failed, l.Close())
	}
	return errors.Join(failed...)
}

// attach puts all programs on a cgroup through links (BPF_LINK_CREATE, always "multi"): they run beside the programs of
// others, and die with the file descriptors unless they are pinned. Links of a daemon that went before are led to this one's
// programs.
func (i *Interceptor) attach(dir string, id uint64) error {
	target, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("attach to cgroup: %w", err)
	}
	defer target.Close()
	made := &attachment{id: id}
	for _, hook := range i.objects.hooks() {
		l, err := i.attachHook(target, id, hook)
		if err != nil {
			err = fmt.Errorf("attach %s to cgroup %s: %w", hook.attach, dir, i.exclusive(dir, hook, err))
			return errors.Join(err, made.close(false))
		}
		made.links = append(made.links, l)
	}
	i.attached[dir] = made
	i.neighbours.fresh[dir] = true
	return nil
}

// attachHook attaches the program of one hook.
func (i *Interceptor) attachHook(target *os.File, id uint64, hook hook) (link.Link, error) {
	if l := i.state.inherit(id, hook); l != nil {
		return l, nil
	}
	l := i.lingering.take(id, hook)
	if l == nil {
		made, err := link.AttachRawLink(link.RawLinkOptions{Target: int(target.Fd()), Program: hook.program, Attach: hook.attach})
		if err != nil {
			return nil, err
		}
		l = made
	}
	if err := i.state.pin(id, hook, l); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

func (i *Interceptor) detach(dir string) error {
	a := i.attached[dir]
	delete(i.attached, dir)
	delete(i.neighbours.fresh, dir)
	var err error
	if !i.closed && i.services.busy() {
		err = i.linger(a)
	} else {
		err = a.close(i.kept())
	}
	if err != nil {
		return fmt.Errorf("detach from cgroup %s: %w", dir, err)
	}
	return nil
}

// Refresh resolves the plan's cgroup patterns again, attaches to cgroups that have appeared and forgets those that are gone. It
// also frees the memory of services and endpoints that have left and have no connections any more.
func (i *Interceptor) Refresh() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.closed {
		return errClosed
	}
	if i.yielded {
		return nil
	}
	i.rules.names.sweep()
	if err := i.settle(); err != nil {
		return fmt.Errorf("refresh services: %w", err)
	}
	if i.closed || i.yielded {
		return nil
	}
	if len(i.lingering) > 0 {
		if err := i.lingering.end(!i.services.busy()); err != nil {
			return err
		}
	}
	if err := i.reattach(i.capturing()); err != nil {
		return fmt.Errorf("refresh cgroups: %w", err)
	}
	return nil
}

// reattach makes the attachments those that the plan wants. New ones come first, so that a cgroup which moves from one
// pattern to another is never without. What can be attached is, also when something else cannot.
func (i *Interceptor) reattach(plan *steer.Plan) error {
	if i.deferred {
		return nil
	}
	i.attachedAll = false
	dirs, err := i.resolve(plan)
	if err != nil {
		return err
	}
	var failed []error
	for _, dir := range dirs {
		failed = append(failed, i.ensure(dir))
	}
	for dir := range i.attached {
		if !slices.Contains(dirs, dir) {
			failed = append(failed, i.detach(dir))
		}
	}
	if err := errors.Join(failed...); err != nil {
		return err
	}
	i.attachedAll = true
	return i.state.settle()
}

// ensure attaches to a cgroup unless that has been done. Removing a cgroup detached what was on it, so that one which was made
// anew under the same name starts without.
func (i *Interceptor) ensure(dir string) error {
	id, err := cgroup.ID(dir)
	if err != nil {
		return err
	}
	if present := i.attached[dir]; present != nil {
		if present.id == id {
			return nil
		}
		if err := i.detach(dir); err != nil {
			return err
		}
	}
	return i.attach(dir, id)
}

func (i *Interceptor) resolve(plan *steer.Plan) ([]string, error) {
	if plan.Disabled || len(plan.Rules) == 0 {
		i.missing = nil
		return nil, nil
	}
	dirs, missing, created, err := i.opts.Hierarchy.ResolveWith(steer.DefaultCgroup, plan.Cgroups)
	if created != "" {
		i.created = append(i.created, created)
	}
	i.missing = missing
	return dirs, err
}

// removeIfEmpty leaves a cgroup in which processes still run: they are none of weir's business.
func removeIfEmpty(h *cgroup.Hierarchy, dir string) error {
	if err := h.Remove(dir); err != nil && !errors.Is(err, syscall.EBUSY) {
		return err
	}
	return nil
}
