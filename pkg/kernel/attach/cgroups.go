package attach

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"syscall"

	"github.com/cilium/ebpf/link"

	"github.com/weir-proxy/weir/pkg/kernel/cgroup"
	"github.com/weir-proxy/weir/pkg/kernel/pin"
)

// Cgroups are those that a set of programs is attached to. The programs are on all of them, at all hooks.
type Cgroups struct {
	hierarchy *cgroup.Hierarchy
	pinned    *Pinned
	hooks     []Hook
	busy      func() bool
	attached  map[string]*attachment
	lingering lingering
	created   []string
}

// attachment is the links of one cgroup, in the order of hooks. The id tells it from a later cgroup of the same name.
type attachment struct {
	id    uint64
	links []link.Link
}

// Change is what Set did.
type Change struct {
	// Detached and Attached are directories; a cgroup that was made anew under its name is in both.
	Detached, Attached []string
}

// NewCgroups makes Cgroups, none so far. Hooks are in the order of attaching: what completes is in place before anything is captured.
// busy tells whether there is something to complete for cgroups that are left; see Linger. It is nil when there never is.
func NewCgroups(h *cgroup.Hierarchy, p *Pinned, hooks []Hook, busy func() bool) *Cgroups {
	if busy == nil {
		busy = func() bool { return false }
	}
	return &Cgroups{hierarchy: h, pinned: p, hooks: hooks, busy: busy, attached: make(map[string]*attachment), lingering: make(lingering)}
}

// Resolve finds the cgroups of patterns; missing are those that match nothing. The cgroup named fallback is made when it is asked for and
// not there, and removed by Close.
func (c *Cgroups) Resolve(fallback string, patterns []string) (dirs, missing []string, err error) {
	dirs, missing, created, err := c.hierarchy.ResolveWith(fallback, patterns)
	if created != "" {
		c.created = append(c.created, created)
	}
	return dirs, missing, err
}

// Dirs are the directories of the cgroups, sorted.
func (c *Cgroups) Dirs() []string { return slices.Sorted(maps.Keys(c.attached)) }

// Has tells whether the cgroup with a directory is one of them.
func (c *Cgroups) Has(dir string) bool { return c.attached[dir] != nil }

// Set makes the cgroups those with the given directories. New ones come first, so that a process which moves from one to another is never
// without. What can be attached is, also when something else cannot. When all is, Pinned.Settle may follow.
func (c *Cgroups) Set(dirs []string) (Change, error) {
	var change Change
	var failed []error
	for _, dir := range dirs {
		failed = append(failed, c.ensure(dir, &change))
	}
	for dir := range c.attached {
		if !slices.Contains(dirs, dir) {
			failed = append(failed, c.detach(dir, &change))
		}
	}
	return change, errors.Join(failed...)
}

// ensure attaches to a cgroup unless that has been done. Removing a cgroup detached what was on it, so that one which was made
// anew under the same name starts without.
func (c *Cgroups) ensure(dir string, change *Change) error {
	id, err := cgroup.ID(dir)
	if err != nil {
		return err
	}
	if present := c.attached[dir]; present != nil {
		if present.id == id {
			return nil
		}
		if err := c.detach(dir, change); err != nil {
			return err
		}
	}
	return c.attach(dir, id, change)
}

// attach puts all programs on a cgroup. Links of a daemon that went before are led to this one's programs.
func (c *Cgroups) attach(dir string, id uint64, change *Change) error {
	target, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("attach to cgroup: %w", err)
	}
	defer target.Close()
	made := &attachment{id: id}
	for _, h := range c.hooks {
		l, err := c.attachHook(target, id, h)
		if err != nil {
			err = fmt.Errorf("attach %s to cgroup %s: %w", h.At, dir, h.exclusive(c.hierarchy, dir, err))
			return errors.Join(err, c.release(made))
		}
		made.links = append(made.links, l)
	}
	c.attached[dir] = made
	change.Attached = append(change.Attached, dir)
	return nil
}

func (c *Cgroups) attachHook(target *os.File, id uint64, h Hook) (link.Link, error) {
	if l := c.pinned.inherit(id, h); l != nil {
		return l, nil
	}
	l := c.lingering.take(id, h)
	if l == nil {
		var err error
		if l, err = h.attach(target); err != nil {
			return nil, err
		}
	}
	if err := c.pinned.pin(id, h, l); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

func (c *Cgroups) detach(dir string, change *Change) error {
	a := c.attached[dir]
	delete(c.attached, dir)
	change.Detached = append(change.Detached, dir)
	leave := c.release
	if c.busy() {
		leave = c.linger
	}
	if err := leave(a); err != nil {
		return fmt.Errorf("detach from cgroup %s: %w", dir, err)
	}
	return nil
}

// release detaches in reverse: nothing new is captured before the rest goes.
func (c *Cgroups) release(a *attachment) error {
	var failed []error
	for _, l := range slices.Backward(a.links) {
		failed = append(failed, c.pinned.Release(l))
	}
	return errors.Join(failed...)
}

// Restore pins again what somebody has removed from the BPF file system while this daemon runs, and tells how many pins that were.
// Nothing was detached meanwhile, but nothing would have outlived the daemon. elsewhere are the links that Pinned.PinElsewhere has pinned.
func (c *Cgroups) Restore(elsewhere ...pin.OwnLink) (missing int, err error) {
	p := c.pinned
	if !p.Keeps() || p.yielded {
		return 0, nil
	}
	links := elsewhere
	for dir, a := range c.attached {
		if _, err := os.Stat(dir); err != nil {
			continue // it is detached, and gone with the next look for cgroups
		}
		for n, h := range c.hooks {
			links = append(links, pin.OfCgroup(a.id, h.Name(), a.links[n]))
		}
	}
	return p.opts.Store.Restore(p.clones, links)
}

// Reclaim leads the links to this daemon's programs again, after one that was to take over has failed.
func (c *Cgroups) Reclaim() error {
	if !c.pinned.Keeps() {
		return nil
	}
	c.pinned.yielded = false
	var failed []error
	for dir, a := range c.attached {
		for n, h := range c.hooks {
			err := a.links[n].Update(h.Program)
			if err == nil {
				err = unpin(a.links[n])
			}
			if err == nil {
				err = c.pinned.pin(a.id, h, a.links[n])
			}
			if err != nil {
				failed = append(failed, fmt.Errorf("attach %s to cgroup %s again: %w", h.At, dir, err))
			}
		}
	}
	return errors.Join(failed...)
}

// Close detaches everything but what Pinned.End has decided to stay. Cgroups that Resolve has made are removed unless somebody is in
// them.
func (c *Cgroups) Close() error {
	var failed []error
	for dir, a := range c.attached {
		if err := c.release(a); err != nil {
			failed = append(failed, fmt.Errorf("detach from cgroup %s: %w", dir, err))
		}
	}
	clear(c.attached)
	failed = append(failed, c.lingering.end(true))
	for _, dir := range c.created {
		if c.pinned.kept {
			break
		}
		if err := c.hierarchy.Remove(dir); !errors.Is(err, syscall.EBUSY) { // processes in it are none of weir's business
			failed = append(failed, err)
		}
	}
	return errors.Join(failed...)
}
