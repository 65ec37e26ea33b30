package attach

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/cilium/ebpf/link"
)

// lingering are the links of cgroups for which nothing is decided any more, by the cgroup's id and the name of the hook: what completes
// connections stays until these are over, so that they do not count for ever.
type lingering map[uint64]map[string]link.Link

// linger takes over the links of a cgroup that complete connections, and closes those that decide.
func (c *Cgroups) linger(a *attachment) error {
	links := make(map[string]link.Link)
	var failed []error
	for n, l := range slices.Backward(a.links) {
		failed = append(failed, unpin(l))
		if c.hooks[n].Decides {
			failed = append(failed, l.Close())
			continue
		}
		links[c.hooks[n].Name()] = l
	}
	c.lingering[a.id] = links
	return errors.Join(failed...)
}

// take gives the link that was left at a hook, or nil.
func (l lingering) take(id uint64, h Hook) link.Link {
	links := l[id]
	found := links[h.Name()]
	if found == nil {
		return nil
	}
	if delete(links, h.Name()); len(links) == 0 {
		delete(l, id)
	}
	return found
}

// end closes what is of no use any more: everything, or the links of cgroups that are gone with the last of their sockets.
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

// Lingering is how many former cgroups have programs that complete connections still.
func (c *Cgroups) Lingering() int { return len(c.lingering) }

// Tidy detaches from former cgroups what has nothing to complete any more.
func (c *Cgroups) Tidy() error {
	if len(c.lingering) == 0 {
		return nil
	}
	return c.lingering.end(!c.busy())
}
