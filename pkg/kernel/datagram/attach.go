package datagram

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"

	"github.com/cilium/ebpf/link"

	"github.com/weir-proxy/weir/pkg/kernel/cgroup"
	"github.com/weir-proxy/weir/pkg/kernel/steer"
)

// attachment is the links of one cgroup, in the order of hooks. The id tells it from a later cgroup of the same name.
type attachment struct {
	id    uint64
	links []link.Link
}

// close detaches in reverse: nothing new is captured before the rest goes. Links that are pinned stay attached when they are to be
// kept.
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

// Refresh resolves the plan's cgroup patterns again, attaches to cgroups that have appeared and forgets those that are gone.
func (i *Interceptor) Refresh() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.closed || i.yielded || i.objects == nil {
		return nil
	}
	if err := i.reattach(); err != nil {
		return fmt.Errorf("refresh cgroups for datagrams: %w", err)
	}
	return nil
}

// reattach makes the attachments those that the plan wants. What can be attached is, also when something else cannot.
func (i *Interceptor) reattach() error {
	if i.deferred {
		return nil
	}
	dirs, err := i.resolve()
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
	return i.state.settle()
}

// resolve finds the cgroups of the plan, none when it has no rules. The default one is created when it is not there.
func (i *Interceptor) resolve() ([]string, error) {
	if len(i.plan.Rules) == 0 || i.plan.Disabled {
		return nil, nil
	}
	dirs, _, created, err := i.opts.Hierarchy.ResolveWith(steer.DefaultCgroup, i.plan.Cgroups)
	if created != "" {
		i.created = append(i.created, created)
	}
	return dirs, err
}

// ensure attaches to a cgroup unless that has been done.
func (i *Interceptor) ensure(dir string) error {
	id, err := cgroup.ID(dir)
	if err != nil {
		return err
	}
	if a := i.attached[dir]; a != nil {
		if a.id == id {
			return nil
		}
		if err := i.detach(dir); err != nil {
			return err
		}
	}
	return i.attach(dir, id)
}

// attach puts all programs on a cgroup through links, always "multi": they run beside the programs of others. Links of a daemon that
// went before are led to this one's programs.
func (i *Interceptor) attach(dir string, id uint64) error {
	target, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("attach to cgroup: %w", err)
	}
	defer target.Close()
	made := &attachment{id: id}
	for _, h := range i.objects.hooks() {
		l, err := i.attachHook(target, id, h)
		if err != nil {
			return errors.Join(fmt.Errorf("attach %s to cgroup %s: %w", h.attach, dir, err), made.close(false))
		}
		made.links = append(made.links, l)
	}
	i.attached[dir] = made
	return nil
}

func (i *Interceptor) attachHook(target *os.File, id uint64, h hook) (link.Link, error) {
	if l := i.state.inherit(id, h); l != nil {
		return l, nil
	}
	l, err := link.AttachRawLink(link.RawLinkOptions{Target: int(target.Fd()), Program: h.program, Attach: h.attach})
	if err != nil {
		return nil, err
	}
	if err := i.state.pin(id, h, l); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

func (i *Interceptor) detach(dir string) error {
	err := i.attached[dir].close(i.kept())
	delete(i.attached, dir)
	if err != nil {
		return fmt.Errorf("detach from cgroup %s: %w", dir, err)
	}
	return nil
}

// Attached are the directories of the cgroups that the programs are attached to.
func (i *Interceptor) Attached() []string {
	i.mu.Lock()
	defer i.mu.Unlock()
	return slices.Sorted(maps.Keys(i.attached))
}
