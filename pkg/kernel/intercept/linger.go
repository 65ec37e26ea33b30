package intercept

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/cilium/ebpf/link"
)

// lingering are the links of cgroups whose connections are not decided any more, by the cgroup's id and the name of the hook: what
// completes offloaded connections stays until these are over, so that they do not count for ever.
type lingering map[uint64]map[string]link.Link

// linger takes over the links of a cgroup that complete connections, and closes those that decide.
func (i *Interceptor) linger(a *attachment) error {
	links, hooks := make(map[string]link.Link), i.objects.hooks()
	var failed []error
	for n, l := range slices.Backward(a.links) {
		failed = append(failed, unpin(l))
		if hooks[n].decides {
			failed = append(failed, l.Close())
			continue
		}
		links[hooks[n].name()] = l
	}
	i.lingering[a.id] = links
	return errors.Join(failed...)
}

// take gives the link that was left at a hook, or nil.
func (l lingering) take(id uint64, hook hook) link.Link {
	links := l[id]
	found := links[hook.name()]
	if found == nil {
		return nil
	}
	if delete(links, hook.name()); len(links) == 0 {
		delete(l, id)
	}
	return found
}

// end closes what is of no use any more: everything when no service has connections, else the links of cgroups that are gone
// with the last of their sockets.
func (l lingering) end(all bool) error {
	var failed []error
	for id, links := range l {
		for name, one := range links {
			if !all && !orphaned(one) {
				continue
			}
			delete(links, name)
			if err := one.Close(); err != nil {
				failed = append(failed, fmt.Errorf("detach from former cgroup %d: %w", id, err))
			}
		}
	}
	maps.DeleteFunc(l, func(_ uint64, links map[string]link.Link) bool { return len(links) == 0 })
	return errors.Join(failed...)
}

// orphaned tells whether the kernel has detached a link because its cgroup is gone.
func orphaned(l link.Link) bool {
	info, err := l.Info()
	return err == nil && info.Cgroup() != nil && info.Cgroup().CgroupId == 0
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
