package inbound

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/weir-proxy/weir/pkg/kernel/program"
)

// Status is what is attached and in force.
type Status struct {
	// Generation of the rules in force; 0 before the first plan.
	Generation uint32
	// Plan in force. It must not be written to.
	Plan *Plan
	// Cgroups are the directories that are captured, sorted.
	Cgroups []string
	// Namespaces, by cookie.
	Namespaces []NamespaceStatus
}

// NamespaceStatus is a network namespace in which connections are captured.
type NamespaceStatus struct {
	Cookie uint64
	// Sinks are the addresses of the proxy's listening sockets.
	Sinks []netip.AddrPort
	// Programs at the namespace's sk_lookup hook, in the order in which they run. One of them that chooses a socket before weir's
	// does is respected.
	Programs []Program
	// Places where captured processes listen, sorted.
	Places []Place
}

// Program is a loaded program.
type Program = program.AtHook

// Place is an address on which captured processes listen.
type Place struct {
	Addr netip.AddrPort
	// Captured and Foreign are the sockets there, of captured processes and of others. With others nothing is captured.
	Captured, Foreign int
}

// Status asks the kernel what is attached.
func (i *Inbound) Status() (Status, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.closed {
		return Status{}, fmt.Errorf("read status of inbound capture: %w", errClosed)
	}
	s := Status{Generation: i.generation, Plan: i.plan, Cgroups: i.cgroups.Dirs()}
	places, err := i.places()
	if err != nil {
		return Status{}, err
	}
	for _, cookie := range slices.Sorted(maps.Keys(i.namespaces)) {
		n := i.namespaces[cookie]
		programs, err := n.programs()
		if err != nil {
			return Status{}, fmt.Errorf("read status of inbound capture: %w", err)
		}
		s.Namespaces = append(s.Namespaces, NamespaceStatus{
			Cookie: cookie, Sinks: slices.Clone(n.sinks), Programs: programs, Places: places[cookie],
		})
	}
	return s, nil
}

// places are where somebody listens, by namespace.
func (i *Inbound) places() (map[uint64][]Place, error) {
	out := make(map[uint64][]Place)
	var place wirePlace
	var count wireCount
	entries := i.objects.Listens.Iterate()
	for entries.Next(&place, &count) {
		if count != (wireCount{}) {
			out[place.Netns] = append(out[place.Netns], Place{place.at(), int(count.Captured), int(count.Foreign)})
		}
	}
	if err := entries.Err(); err != nil {
		return nil, fmt.Errorf("read places: %w", err)
	}
	for _, list := range out {
		slices.SortFunc(list, func(a, b Place) int {
			return cmp.Or(a.Addr.Addr().Compare(b.Addr.Addr()), cmp.Compare(a.Addr.Port(), b.Addr.Port()))
		})
	}
	return out, nil
}
