package store

import (
	"net/netip"
	"slices"

	"github.com/weir-proxy/weir/pkg/config/model"
)

// addresses names the listeners at each address that is to be of one listener alone, by their newest forms.
type addresses map[netip.AddrPort][]string

// move notes that a listener's newest form became another one; either may be nil.
func (a addresses) move(old, now *model.Listener) {
	if old != nil && exclusive(old) {
		rest := slices.DeleteFunc(a[old.Address], func(name string) bool { return name == old.Name })
		if a[old.Address] = rest; len(rest) == 0 {
			delete(a, old.Address)
		}
	}
	if now != nil && exclusive(now) {
		a[now.Address] = append(a[now.Address], now.Name)
	}
}

// exclusive tells whether no other listener may have the address of this one.
func exclusive(l *model.Listener) bool { return l.Address.IsValid() && l.Address.Port() != 0 }

// putListener makes e the newest form of a listener and tells whether anything changed.
func (s *Store) putListener(e *Entry[*model.Listener]) bool {
	old := s.newest(e.Value.Name)
	if !s.listeners.put(s.deps, e.Value.Name, e) {
		return false
	}
	s.addresses.move(old, e.Value)
	return true
}

// removeListener forgets a listener.
func (s *Store) removeListener(name string) {
	s.addresses.move(s.newest(name), nil)
	s.listeners.remove(s.deps, name)
}

// newest is the newest form of a listener, nil when there is none.
func (s *Store) newest(name string) *model.Listener {
	if e := s.listeners.latest(name); e != nil {
		return e.Value
	}
	return nil
}
