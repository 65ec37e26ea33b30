package attach

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"github.com/weir-proxy/weir/pkg/kernel/pin"
	"github.com/weir-proxy/weir/pkg/kernel/program"
)

// Options say what outlives the process.
type Options struct {
	// Store is where it is kept; nil for nowhere. The Pinned closes it.
	Store *pin.Store
	// Keep leaves everything in place when the process ends.
	Keep bool
	// Prefix is what the names of all programs begin with.
	Prefix string
	// Carried names the maps that know of connections under way, and so are handed from one daemon to the next. Everything else, which is
	// configuration, each daemon writes anew into maps of its own before it leads the links to its programs: nothing that another one
	// wrote is trusted, and connections go by the old rules until the new ones are complete.
	Carried []string
	// Epoch is counted up when the meaning of a carried map changes while its shape does not.
	Epoch int
	// Beside leaves what completes in a daemon before to that one's programs while it runs, beside those of this one; otherwise programs
	// that share the carried maps do it for both.
	Beside bool
	// Notice is told of pinned state that could not be used; nil for nobody.
	Notice func(text string)
}

// Pinned is what outlives the process on a BPF file system: the links by which programs are attached, and the carried maps. Without a
// store it keeps nothing.
type Pinned struct {
	opts Options
	// links of a daemon that went before, which no attachment has taken over so far.
	links []pin.Found
	// settled is true once what was left of them has been removed, shared when the carried maps are those of the daemon before.
	settled, shared bool
	// yielded is set while another daemon takes over, kept when links stay although the process ends.
	yielded, kept bool
	// clones are of the carried maps, by which they are pinned again when somebody removes the pins.
	clones map[string]*ebpf.Map
}

// New makes a Pinned.
func New(o Options) *Pinned { return &Pinned{opts: o} }

// Keeps tells whether there is anything that outlives the process.
func (p *Pinned) Keeps() bool { return p.opts.Store != nil }

// Shares tells whether the carried maps are those of a daemon before, whose connections are known here, too.
func (p *Pinned) Shares() bool { return p.shared }

// Yielded tells whether another daemon takes over, so that nothing is to be changed in the kernel.
func (p *Pinned) Yielded() bool { return p.yielded }

// Load hands the programs and maps of an object to the kernel and assigns those that into, a pointer to a struct, has fields for; see
// program.Load. The carried maps of a daemon before are used again if they fit the object, and pinned if not. replace adds other maps to
// those that are not made anew; it may be nil.
func (p *Pinned) Load(spec *ebpf.CollectionSpec, into any, replace func(map[string]*ebpf.Map) map[string]*ebpf.Map) error {
	reuse := p.find(spec)
	defer closeMaps(reuse)
	replacements := reuse
	if replace != nil {
		replacements = replace(reuse)
	}
	made, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{MapReplacements: replacements})
	if err != nil {
		return fmt.Errorf("load BPF programs: %w", program.Refusal(err))
	}
	defer made.Close()
	if err := p.commit(made.Maps, len(reuse) > 0); err != nil {
		return err
	}
	if err := made.Assign(into); err != nil {
		return fmt.Errorf("load BPF programs: %w", err)
	}
	return nil
}

// find gives the carried maps of the daemon before, if they fit the object, and remembers its links. The caller closes the maps.
func (p *Pinned) find(spec *ebpf.CollectionSpec) map[string]*ebpf.Map {
	if !p.Keeps() {
		return nil
	}
	wanted := make(map[string]*ebpf.MapSpec)
	for _, name := range p.opts.Carried {
		wanted[name] = spec.Maps[name]
	}
	programs := slices.Collect(maps.Keys(spec.Programs))
	found, err := p.opts.Store.Maps(pin.Layout(p.opts.Epoch, wanted, programs), wanted)
	if err != nil {
		p.notice("%v; it is made anew", err)
	}
	links, problems := p.opts.Store.Links(p.opts.Prefix)
	for _, problem := range problems {
		p.notice("%v", problem)
	}
	p.links = links
	p.shared = len(found) > 0
	return found
}

// commit pins the carried maps unless they are those that were found.
func (p *Pinned) commit(all map[string]*ebpf.Map, reused bool) error {
	if !p.Keeps() {
		return nil
	}
	chosen := make(map[string]*ebpf.Map)
	p.clones = make(map[string]*ebpf.Map)
	for _, name := range p.opts.Carried {
		clone, err := all[name].Clone()
		if err != nil {
			return fmt.Errorf("pin map %s: %w", name, err)
		}
		chosen[name], p.clones[name] = all[name], clone
	}
	return p.opts.Store.Commit(chosen, reused)
}

func (p *Pinned) notice(format string, args ...any) {
	if p.opts.Notice != nil {
		p.opts.Notice(fmt.Sprintf(format, args...))
	}
}

// inherit leads the link of a daemon before to the hook's program, which is atomic: a connection meets the one program or the
// other. It gives nil when there is none. When the maps are not shared, only the hooks that decide are led over: connections
// which the other daemon's program captured are completed by its programs.
func (p *Pinned) inherit(id uint64, h Hook) link.Link {
	for n, found := range p.links {
		if found.Cgroup != id || found.Hook != h.Name() || !found.Current && !h.Decides {
			continue
		}
		p.links = append(p.links[:n:n], p.links[n+1:]...)
		if p.opts.Beside && !h.Decides && !p.opts.Store.Locked() {
			p.drop(found)
			return nil
		}
		err := found.Link.Update(h.Program)
		if err == nil && !found.Current {
			err = p.pin(id, h, found.Link)
		}
		if err != nil {
			p.notice("pinned link %s cannot be updated: %v; the program is attached anew", found.Path, err)
			p.drop(found)
			return nil
		}
		return found.Link
	}
	return nil
}

// drop detaches a link, unless another daemon holds it still.
func (p *Pinned) drop(found pin.Found) {
	if err := errors.Join(os.Remove(found.Path), found.Link.Close()); err != nil {
		p.notice("remove pinned link: %v", err)
	}
}

func (p *Pinned) pin(id uint64, h Hook, l link.Link) error {
	if !p.Keeps() {
		return nil
	}
	return p.opts.Store.Link(id, h.Name(), l)
}

// PinElsewhere pins a link that is not of a cgroup; see pin.Store.LinkElsewhere.
func (p *Pinned) PinElsewhere(name string, l link.Link) error {
	if !p.Keeps() {
		return nil
	}
	return p.opts.Store.LinkElsewhere(name, l)
}

// Release closes a link, which detaches its program unless it is to stay.
func (p *Pinned) Release(l link.Link) error {
	var err error
	if !p.kept {
		err = unpin(l)
	}
	return errors.Join(err, l.Close())
}

// unpin removes the pin of a link that has one.
func unpin(l link.Link) error {
	if err := l.Unpin(); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// Settle removes what the daemon before left and this one has no use for, once everything is in place and the pinned state is this
// process's own.
func (p *Pinned) Settle() error {
	if !p.Keeps() || p.settled || !p.opts.Store.Locked() {
		return nil
	}
	for _, found := range p.links {
		p.drop(found)
	}
	p.links = nil
	removed, err := p.opts.Store.Sweep()
	for _, name := range removed {
		p.notice("removed pinned state of another version: %s/%s", p.opts.Store.Dir(), name)
	}
	p.settled = err == nil
	return err
}

// Own waits until the pinned state is this process's own, and settles.
func (p *Pinned) Own(ctx context.Context) error {
	if !p.Keeps() {
		return nil
	}
	if err := p.opts.Store.Lock(ctx); err != nil {
		return err
	}
	return p.Settle()
}

// Freeze says that another daemon is about to take over, until Cgroups.Reclaim. Without a store it does nothing.
func (p *Pinned) Freeze() { p.yielded = p.Keeps() }

// Yield leaves the pinned state to another daemon, which has led the links to its programs or attached its own: nothing of it is detached
// from now on. Without a store it does nothing.
func (p *Pinned) Yield() error {
	if !p.Keeps() {
		return nil
	}
	p.yielded = true
	return p.opts.Store.Close()
}

// End decides what stays, before the first link is released because the process ends.
func (p *Pinned) End() {
	p.kept = p.Keeps() && (p.opts.Keep || p.yielded || !p.opts.Store.Locked())
}

// Leave closes without removing anything, for when the programs could not be loaded.
func (p *Pinned) Leave() error {
	p.kept = true
	return p.Close()
}

// Close gives up the pinned state, and removes it unless it is to stay.
func (p *Pinned) Close() error {
	if !p.Keeps() {
		return nil
	}
	var failed []error
	for _, found := range p.links {
		failed = append(failed, found.Link.Close())
	}
	p.links = nil
	closeMaps(p.clones)
	if !p.kept {
		failed = append(failed, p.opts.Store.Remove())
	}
	return errors.Join(append(failed, p.opts.Store.Close())...)
}

func closeMaps(all map[string]*ebpf.Map) {
	for _, m := range all {
		m.Close()
	}
}
