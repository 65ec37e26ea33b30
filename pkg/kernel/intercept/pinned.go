package intercept

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"github.com/weir-proxy/weir/pkg/kernel/pin"
)

// layoutEpoch is counted up when the meaning of a carried map changes while its shape does not.
const layoutEpoch = 1

// carried names the maps that know of connections under way, and so are handed from one daemon to the next. Everything else,
// which is configuration, each daemon writes anew into maps of its own before it leads the links to its programs: nothing
// that another one wrote is trusted, and connections go by the old rules until the new ones are complete.
func carried() []string {
	return []string{"weir_flows", "weir_offloads", "weir_places", "weir_handoff", "weir_reasons"}
}

// programPrefix is what the names of all of weir's programs begin with.
const programPrefix = "weir_"

// captureProgram is the name of the program by which a cgroup is known to be captured.
const captureProgram = programPrefix + "connect4"

// pinned is what an Interceptor keeps on a BPF file system; without a store it keeps nothing.
type pinned struct {
	store  *pin.Store
	notice func(string)
	// links of a daemon that went before, which no attachment has taken over so far.
	links []pin.Found
	// settled is true once what was left of them has been removed.
	settled bool
	// shared is true when the carried maps are those of the daemon before.
	shared bool
	// pinned are clones of the carried maps, by which they are pinned again when somebody removes the pins; lost counts such pins.
	pinned map[string]*ebpf.Map
	lost   uint64
	first  uint32
	// epoch tells this daemon's numbers in sockets from those of a daemon before.
	epoch uint32
}

func newPinned(o Options) *pinned {
	s := &pinned{store: o.Pins, notice: o.Notice, first: 1, epoch: 1}
	if s.notice == nil {
		s.notice = func(string) {}
	}
	if s.store != nil {
		// Daemons that share sockets must not take the other's numbers for theirs: neither those of listeners, rules and blocks,
		// nor, for people, the generations.
		s.epoch = max(1, rand.Uint32())
		s.first = uint32(time.Now().Unix())
	}
	return s
}

// generation is the one after previous, 0 for none.
func (s *pinned) generation(previous uint32) uint32 {
	if previous == 0 {
		return s.first
	}
	return previous + 1
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
	s.shared = len(found) > 0
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
// Nothing was detached meanwhile, but nothing would have outlived the daemon.
func (i *Interceptor) Restore() (missing int, err error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.closed || i.yielded || i.deferred || i.state.store == nil {
		return 0, nil
	}
	var links []pin.CgroupLink
	for dir, a := range i.attached {
		if !exists(dir) {
			continue // it is detached, and gone with the next look for cgroups
		}
		for n, hook := range i.objects.hooks() {
			links = append(links, pin.CgroupLink{Cgroup: a.id, Hook: hook.name(), Link: a.links[n]})
		}
	}
	missing, err = i.state.store.Restore(i.state.pinned, links)
	i.state.lost += uint64(missing)
	return missing, err
}

// LostPins counts the pins that Restore has found removed.
func (i *Interceptor) LostPins() uint64 {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.state.lost
}

// inherit leads the link of a daemon before to the hook's program, which is atomic: a connection meets the one program or the
// other. It gives nil when there is none. When the maps are not shared, only the hooks that decide are led over: connections
// which the other daemon's program captured are completed by its programs.
func (s *pinned) inherit(id uint64, hook hook) link.Link {
	for n, found := range s.links {
		if found.Cgroup != id || found.Hook != hook.name() || !found.Current && !hook.decides {
			continue
		}
		s.links = append(s.links[:n:n], s.links[n+1:]...)
		err := found.Link.Update(hook.program)
		if err == nil && !found.Current {
			err = s.store.Link(id, hook.name(), found.Link)
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

func (s *pinned) pin(id uint64, hook hook, l link.Link) error {
	if s.store == nil {
		return nil
	}
	return s.store.Link(id, hook.name(), l)
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
	if err != nil {
		return err
	}
	s.settled = true
	return nil
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
	closeMaps(s.pinned)
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

func closeMaps(all map[string]*ebpf.Map) {
	for _, m := range all {
		m.Close()
	}
}

// kept tells whether what is pinned stays when this Interceptor ends. The caller holds mu.
func (i *Interceptor) kept() bool {
	return i.state.store != nil && i.closed && (i.opts.KeepPins || i.yielded || !i.state.store.Locked())
}

// Shares tells whether the connections that a daemon before this one captured are known here, too, so that this one can go on with
// its capture sockets.
func (i *Interceptor) Shares() bool { return i.state.shared }

// Activate attaches for the plan that was applied, and for those to come, when Options.Deferred held that back.
func (i *Interceptor) Activate() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.closed || !i.deferred {
		return nil
	}
	i.deferred = false
	if err := i.reattach(i.capturing()); err != nil {
		return fmt.Errorf("attach: %w", err)
	}
	return nil
}

// Own waits until the pinned state is this process's own, and removes what the daemon before left and nobody needs.
func (i *Interceptor) Own(ctx context.Context) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.closed || i.state.store == nil {
		return nil
	}
	if err := i.state.store.Lock(ctx); err != nil {
		return err
	}
	return i.state.settle()
}

// Freeze changes nothing in the kernel from now on, since another daemon takes over, until Reclaim. OriginalDst goes on as before.
func (i *Interceptor) Freeze() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.yielded = i.state.store != nil
}

// Yield leaves the pinned state to another daemon, which has led the links to its programs: from now on this Interceptor changes
// nothing any more, and its Close detaches nothing. OriginalDst goes on as before. Without pinned state it does nothing.
func (i *Interceptor) Yield() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.state.store == nil {
		return nil
	}
	i.yielded = true
	return i.state.store.Close()
}

// Reclaim leads the links to this Interceptor's programs again, after a daemon that was to take over has failed.
func (i *Interceptor) Reclaim() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.closed || i.state.store == nil {
		return nil
	}
	i.yielded = false
	var failed []error
	for dir, a := range i.attached {
		for n, hook := range i.objects.hooks() {
			err := a.links[n].Update(hook.program)
			if err == nil {
				err = unpin(a.links[n])
			}
			if err == nil {
				err = i.state.pin(a.id, hook, a.links[n])
			}
			if err != nil {
				failed = append(failed, fmt.Errorf("attach %s to cgroup %s again: %w", hook.attach, dir, err))
			}
		}
	}
	return errors.Join(failed...)
}
