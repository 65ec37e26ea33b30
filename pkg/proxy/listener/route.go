package listener

import (
	"net/netip"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/chain"
	"github.com/weir-proxy/weir/pkg/proxy/conn"
)

// Found says by what a listener is found for a destination.
type Found uint8

// Ways of finding a listener, in the order in which they are tried.
const (
	// FoundNone: there is no listener for the destination.
	FoundNone Found = iota
	// FoundExact: the listener has exactly this address.
	FoundExact
	// FoundAnyAddress: the listener is at 0.0.0.0 or [::] with this port.
	FoundAnyAddress
	// FoundCatchAll: the listener has use_original_dst and takes what no other one is there for.
	FoundCatchAll
)

// Route is what takes a connection.
type Route struct {
	// Listener in force.
	Listener *model.Listener
	// Chains are its filter chains as connections look them up.
	Chains *chain.Table
	Found  Found
}

// Route tells which listener takes a connection that was captured on its way out, by its original destination. It looks up what connections look up,
// and changes nothing.
func (m *Manager) Route(dst netip.AddrPort) (Route, bool) {
	return routeOf(m.routes.Load().outbound.lookUp(conn.Unmap(dst)))
}

// Bound tells which listener has a socket of its own that a connection to dst reaches, as any server has: at this address, or
// at the wildcard address while dst is the host's. Capture sockets belong to no listener.
func (m *Manager) Bound(dst netip.AddrPort) (Route, bool) {
	dst = conn.Unmap(dst)
	ours := dst.Addr().IsLoopback() || m.isHost(dst.Addr())
	m.mu.Lock()
	defer m.mu.Unlock()
	var wildcard *active
	for _, s := range m.sockets {
		a := s.target.Load()
		switch at := s.bound; {
		case at == dst:
			return routeOf(a, FoundExact)
		case !ours || at.Port() != dst.Port() || !at.Addr().IsUnspecified():
		case at.Addr().Is4() == dst.Addr().Is4(), at.Addr().Is6() && a.cfg.IPv4Compat:
			wildcard = a
		}
	}
	return routeOf(wildcard, FoundAnyAddress)
}

func routeOf(a *active, found Found) (Route, bool) {
	if a == nil {
		return Route{}, false
	}
	return Route{Listener: a.cfg, Chains: a.table, Found: found}, true
}
