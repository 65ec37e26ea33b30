package store

import (
	"fmt"
	"net/netip"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/config/translate"
	"github.com/weir-proxy/weir/pkg/config/xds"
)

// proposal is a listener of a response before it is taken.
type proposal struct {
	name     string
	resource xds.Resource
	value    *model.Listener
	warnings []translate.Warning
	err      error
}

func (b *batch) listeners() {
	t := b.store.listeners
	// Removed first, so that their addresses are free for what is new.
	for _, r := range b.update.Resources {
		if name := r.PeekName(); b.unreadable(r, name) {
			b.seen[""] = true
		} else if name != "" {
			b.seen[name] = true
		}
	}
	for _, name := range b.gone(t.dynamicNames) {
		if t.dynamic(name) {
			b.store.removeListener(name)
		}
	}
	proposals := b.proposeListeners()
	b.rejectDuplicateAddresses(proposals)
	for _, p := range proposals {
		if p.err != nil {
			b.reject(p.name, p.resource, p.err, &t.slot(p.name).Failure)
			continue
		}
		b.warn(p.warnings)
		if b.store.putListener(newEntry(p.value, p.value.Hash, p.resource, b.now).warned(p.warnings)) {
			b.store.countConflicts("listener "+p.name, p.value.FilterReferences())
		}
	}
}

// unreadable tells whether a resource with that name, as PeekName returned it, is no listener at all.
func (b *batch) unreadable(r xds.Resource, name string) bool {
	return r.Body != nil && (r.Body.GetTypeUrl() != b.update.Type || name == "" && b.unpack(r, &listenerv3.Listener{}) != nil)
}

// proposeListeners reads the listeners of the response, each for itself.
func (b *batch) proposeListeners() []*proposal {
	var all []*proposal
	done := map[string]bool{}
	for _, r := range b.update.Resources {
		if r.Body == nil {
			continue
		}
		if name := r.PeekName(); !done[name] && b.store.listeners.unchanged(b, name, r) {
			done[name] = true
			continue
		}
		m := &listenerv3.Listener{}
		p := &proposal{resource: r, err: b.decode(r, m)}
		p.name = nameOf(m.GetName(), r.Name)
		if p.err == nil && done[p.name] {
			p.err = fmt.Errorf("duplicate listener %s found", p.name)
		}
		done[p.name] = true
		if now := b.store.listeners.latest(p.name); p.err == nil && now != nil && now.Static {
			b.store.opt.Log.Warn("ignored a dynamic listener: a static one has its name", "name", p.name)
			continue
		}
		if p.err == nil {
			p.value, p.warnings, p.err = b.store.opt.Translate.Listener(m, b.meta(r))
		}
		if p.err == nil {
			p.value.Message = r.Body
		}
		all = append(all, p)
	}
	return all
}

// rejectDuplicateAddresses rejects proposals whose address another listener has once the whole response is taken: listeners
// may well exchange their addresses. A rejected listener stays where it is, which may be in the way of a further one, so
// that it goes on until no two are at one address.
func (b *batch) rejectDuplicateAddresses(proposals []*proposal) {
	for again := true; again; {
		again = false
		owners := b.addressOwners(proposals)
		for _, p := range proposals {
			if p.err != nil || !exclusive(p.value) {
				continue
			}
			if owner := owners[p.value.Address]; owner != p.name {
				p.err = fmt.Errorf("has duplicate address %s as existing listener %s", p.value.Address, owner)
				again = true
			}
		}
	}
}

// addressOwners names the listener that an address belongs to: the one that stays, or else the first that comes.
func (b *batch) addressOwners(proposals []*proposal) map[netip.AddrPort]string {
	owners := map[netip.AddrPort]string{}
	moves := map[string]bool{}
	for _, p := range proposals {
		moves[p.name] = moves[p.name] || p.err == nil
	}
	for _, p := range proposals {
		if p.err != nil || !exclusive(p.value) {
			continue
		}
		for _, name := range b.store.addresses[p.value.Address] {
			if !moves[name] {
				owners[p.value.Address] = name
			}
		}
	}
	for _, first := range []bool{true, false} { // who stays at its address comes before who wants it
		for _, p := range proposals {
			if p.err != nil || !exclusive(p.value) || owners[p.value.Address] != "" {
				continue
			}
			e := b.store.listeners.latest(p.name)
			if stays := e != nil && e.Value.Address == p.value.Address; stays == first {
				owners[p.value.Address] = p.name
			}
		}
	}
	return owners
}
