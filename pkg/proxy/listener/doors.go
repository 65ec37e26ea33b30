package listener

import (
	"net/netip"
	"slices"
)

// Doors are the addresses at which connections are taken: those of listeners, the unspecified ones included, and those of the
// capture sockets of every network namespace, which they do not tell.
func (m *Manager) Doors() []netip.AddrPort {
	m.mu.Lock()
	defer m.mu.Unlock()
	doors := boundAddrs(m.capture)
	for _, s := range m.sockets {
		if s.bound.IsValid() { // not a unix socket
			doors = append(doors, s.bound)
		}
	}
	for _, sockets := range m.within {
		doors = append(doors, boundAddrs(sockets)...)
	}
	slices.SortFunc(doors, netip.AddrPort.Compare)
	return slices.Compact(doors)
}
