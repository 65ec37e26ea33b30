package datagram

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"github.com/weir-proxy/weir/pkg/kernel/pin"
)

// layoutEpoch is counted up when the meaning of a carried map changes while its shape does not.
const layoutEpoch = 1

// carried names the maps that know of exchanges under way. Whoever has them never takes a number that was given for another
// destination's. Rules, settings and ports each daemon writes anew.
func carried() []string {
	return []string{"weir_udp_numbers", "weir_udp_dests", "weir_udp_next", "weir_udp_sockets", "weir_udp_peers"}
}

// programPrefix is what the names of all programs begin with.
const programPrefix = "weir_udp_"

// pinned is what an Interceptor keeps on a BPF file system; without a store it keeps nothing.
type pinned struct {
	store  *pin.Store
	notice func(string)
	// links of a daemon that went before, which no attachment has taken over so far.
	links []pin.Found
	// settled is true once what was left of them has been removed.
	settled bool
	// pinned are clones of the carried maps, by which they are pinned again when somebody removes the pins.
	pinned map[string]*ebpf.Map
}

// openPinned opens the place for it, where there is to be one.
func openPinned(o *Options) (*pinned, error) {
	s := &pinned{notice: o.Notice}
	if s.notice == nil {
		s.notice = func(string) {}
	}
	if o.OpenPins == nil {
		return s, nil
	}
	var err error
	s.store, err = o.OpenPins()
	return s, err
}

// maps gives the carried maps of the daemon before, if they fit the object. The caller closes them.
func (s *pinned) maps(spec *ebpf.CollectionSpec) map[string]*ebpf.Map {
	if s.store == nil {
		return nil
	}
	wanted := make(map[string]*ebpf.MapSpec)
	for _, name := range carried() {
		wanted[name] = spec.Maps[name]
	}
	var programs []string
	for name := range spec.Programs {
		programs = append(programs, name)
	}
	found, err := s.store.Maps(pin.Layout(layoutEpoch, wanted, programs), wanted)
	if err != nil {
		s.notice(err.Error() + "; it is made anew")
	}
	links, problems := s.store.Links(programPrefix)
	for _, p := range problems {
		s.notice(p.Error())
	}
	s.links = links
	return found
}

// commit pins the carried maps unless they are those that were found.
func (s *pinned) commit(all map[string]*ebpf.Map, reused bool) error {
	if s.store == nil {
		return nil
	}
	chosen := make(map[string]*ebpf.Map)
	for _, name := range carried() {
		chosen[name] = all[name]
	}
	s.pinned = make(map[string]*ebpf.Map)
	for name, m := range chosen {
		clone, err := m.Clone()
		if err != nil {
			return fmt.Errorf("pin map %s: %w", name, err)
		}
		s.pinned[name] = clone
	}
	return s.store.Commit(chosen, reused)
}

// Restore pins again what somebody has removed from the BPF file system while this daemon runs, and tells how many pins that were.
func (i *Interceptor) Restore() (missing int, err error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.closed || i.yielded || i.deferred || !i.pins() {
		return 0, nil
	}
	var links []pin.CgroupLink
	for dir, a := range i.attached {
		if _, err := os.Stat(dir); err != nil {
			continue // it is detached, and gone with the next look for cgroups
		}
		for n, h := range i.objects.hooks() {
			links = append(links, pin.CgroupLink{Cgroup: a.id, Hook: h.name(), Link: a.links[n]})
		}
	}
	return i.state.store.Restore(i.state.pinned, links)
}

// inherit leads the link of a daemon before to the hook's program, which is atomic: a datagram meets the one program or the other. It
// gives nil when there is none. A daemon that still runs goes on with the answers to what it has captured, so that its programs for
// them stay beside this one's until it ends, as those of another layout do.
func (s *pinned) inherit(id uint64, h hook) link.Link {
	for n, found := range s.links {
		if found.Cgroup != id || found.Hook != h.name() || !found.Current && !h.decides {
			continue
		}
		s.links = append(s.links[:n:n], s.links[n+1:]...)
		if !h.decides && !s.store.Locked() {
			s.drop(found)
			return nil
		}
		err := found.Link.Update(h.program)
		if err == nil && !found.Current {
			err = s.store.Link(id, h.name(), found.Link)
		}
		if err != nil {
			s.notice(fmt.Sprintf("pinned link %s cannot be updated: %v; the program is attached anew", found.Path, err))
			s.drop(found)
			return nil
		}
		return found.Link
	}
	return nil
}

func (s *pinned) pin(id uint64, h hook, l link.Link) error {
	if s.store == nil {
		return nil
	}
	return s.store.Link(id, h.name(), l)
}

// drop detaches a link, unless another daemon holds it still.
func (s *pinned) drop(found pin.Found) {
	if err := errors.Join(os.Remove(found.Path), found.Link.Close()); err != nil {
		s.notice(fmt.Sprintf("remove pinned link: %v", err))
	}
}

// settle removes what the daemon before left and this one has no use for, once everything is in place.
func (s *pinned) settle() error {
	if s.store == nil || s.settled || !s.store.Locked() {
		return nil
	}
	for _, found := range s.links {
		s.drop(found)
	}
	s.links = nil
	removed, err := s.store.Sweep()
	for _, name := range removed {
		s.notice(fmt.Sprintf("removed pinned state of another version: %s/%s", s.store.Dir(), name))
	}
	s.settled = err == nil
	return err
}

// close gives up the pinned state, and removes it unless it is to be kept.
func (s *pinned) close(keep bool) error {
	if s.store == nil {
		return nil
	}
	var failed []error
	for _, found := range s.links {
		failed = append(failed, found.Link.Close())
	}
	s.links = nil
	for _, m := range s.pinned {
		failed = append(failed, m.Close())
	}
	if !keep {
		failed = append(failed, s.store.Remove())
	}
	return errors.Join(append(failed, s.store.Close())...)
}

// unpin removes the pin of a link that has one.
func unpin(l link.Link) error {
	if err := l.Unpin(); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// kept tells whether what is pinned stays when this Interceptor ends. The caller holds mu.
func (i *Interceptor) kept() bool {
	return i.state != nil && i.state.store != nil && i.closed && (i.opts.KeepPins || i.yielded || !i.state.store.Locked())
}

// pins tells whether there is something that outlives the process. The caller holds mu.
func (i *Interceptor) pins() bool { return i.state != nil && i.state.store != nil }

// Activate attaches for the plan that was applied, and for those to come, when Options.Deferred held that back.
func (i *Interceptor) Activate() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.closed || !i.deferred {
		return nil
	}
	i.deferred = false
	if i.objects == nil {
		return nil
	}
	if err := i.reattach(); err != nil {
		return fmt.Errorf("attach for datagrams: %w", err)
	}
	return nil
}

// Own waits until the pinned state is this process's own, and removes what the daemon before left and nobody needs.
func (i *Interceptor) Own(ctx context.Context) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.closed || !i.pins() {
		return nil
	}
	if err := i.state.store.Lock(ctx); err != nil {
		return err
	}
	return i.state.settle()
}

// Freeze changes nothing in the kernel from now on, since another daemon takes over, until Reclaim. OriginalDst goes on as before.
// Without pinned state it does nothing.
func (i *Interceptor) Freeze() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.yielded = i.pins()
}

// Yield leaves the pinned state to another daemon, which has led the links to its programs: from now on this Interceptor changes
// nothing any more, and its Close detaches nothing but what completes exchanges of its own.
func (i *Interceptor) Yield() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if !i.pins() {
		return nil
	}
	i.yielded = true
	return i.state.store.Close()
}

// Reclaim leads the links to this Interceptor's programs again, after a daemon that was to take over has failed.
func (i *Interceptor) Reclaim() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.closed || !i.pins() {
		return nil
	}
	i.yielded = false
	var failed []error
	for dir, a := range i.attached {
		for n, h := range i.objects.hooks() {
			err := a.links[n].Update(h.program)
			if err == nil {
				err = unpin(a.links[n])
			}
			if err == nil {
				err = i.state.pin(a.id, h, a.links[n])
			}
			if err != nil {
				failed = append(failed, fmt.Errorf("attach %s to cgroup %s again: %w", h.attach, dir, err))
			}
		}
	}
	return errors.Join(failed...)
}
