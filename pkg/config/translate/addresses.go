package translate

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/weir-proxy/weir/pkg/config/model"
)

// addresses checks that no two listeners that bind want the same address, nor any that of the admin interface.
func (r *references) addresses() {
	owner := map[string]string{}
	inUse := func(l *model.Listener, at, address string) {
		r.errs = append(r.errs, &FieldError{
			Resource: listenerResource(l), Path: at, Code: CodeAddress,
			Reason: fmt.Sprintf("the admin interface listens at %s", address),
		})
	}
	claim := func(l *model.Listener, at, address string) {
		key := address
		if l.UDP != nil {
			key = "udp:" + address
		}
		if other, taken := owner[key]; taken {
			r.errs = append(r.errs, &FieldError{
				Resource: listenerResource(l), Path: at, Code: CodeAddress,
				Reason: fmt.Sprintf("error adding listener: '%s' has duplicate address '%s' as existing listener '%s'", l.Name, address, other),
			})
			return
		}
		owner[key] = l.Name
	}
	for _, name := range slices.Sorted(maps.Keys(r.listeners)) {
		l := r.listeners[name]
		if !l.BindToPort {
			continue
		}
		if l.Pipe != "" {
			claim(l, "address", l.Pipe)
			if r.Admin != nil && r.Admin.Pipe == l.Pipe {
				inUse(l, "address", l.Pipe)
			}
		}
		for i, a := range append([]netip.AddrPort{l.Address}, l.AdditionalAddresses...) {
			at := "address"
			if i > 0 {
				at = fmt.Sprintf("additional_addresses[%d]", i-1)
			}
			// Port 0 means any free port, so it clashes with nothing.
			if a.IsValid() && a.Port() != 0 {
				claim(l, at, a.String())
			}
			if r.Admin != nil && l.UDP == nil && r.Admin.takes(a) {
				inUse(l, at, r.Admin.Address.String())
			}
		}
	}
}

// takes tells whether nobody else can listen at an address, since the admin interface does, there or at all addresses.
func (a *Admin) takes(at netip.AddrPort) bool {
	mine := a.Address
	if a.Pipe != "" || mine.Port() == 0 || mine.Port() != at.Port() {
		return false
	}
	return mine.Addr() == at.Addr() || mine.Addr().Is4() == at.Addr().Is4() && (mine.Addr().IsUnspecified() || at.Addr().IsUnspecified())
}

// Snapshot returns the static resources as a snapshot. Of two resources with one name the last counts.
func (s *Static) Snapshot() *model.Snapshot {
	g := s.Group()
	return &model.Snapshot{
		Listeners: model.SetOf(g.Listeners), Clusters: model.SetOf(g.Clusters), Secrets: model.SetOf(g.Secrets), Interception: s.Interception,
	}
}
