package listener

import (
	"net"
	"net/netip"
	"time"

	"github.com/weir-proxy/weir/pkg/proxy/conn"
)

// hostAddrsAge is how long the host's addresses are taken to stay the same.
const hostAddrsAge = 5 * time.Second

// hostAddrs are the addresses of the host's interfaces, as read at a time.
type hostAddrs struct {
	read time.Time
	set  map[netip.Addr]struct{}
}

// SelfAddrs tells whether connecting to addr would come back to where connections of any destination are taken: a capture
// socket, or a listener with use_original_dst, which would take its own address for the original destination and connect to
// itself for ever. A listener at a wildcard address counts with every address of the host. Other listeners may be connected
// to: chains of them are ordinary configuration.
func (m *Manager) SelfAddrs(addr netip.AddrPort) bool {
	own := *m.own.Load()
	addr = conn.Unmap(addr)
	ip, port := addr.Addr(), addr.Port()
	if ip.IsUnspecified() { // connects to loopback
		if ip = netip.IPv6Loopback(); addr.Addr().Is4() {
			ip = netip.AddrFrom4([4]byte{127, 0, 0, 1})
		}
	}
	if _, ok := own[netip.AddrPortFrom(ip, port)]; ok {
		return true
	}
	wildcard := netip.IPv6Unspecified()
	if ip.Is4() {
		wildcard = netip.IPv4Unspecified()
	}
	_, bound := own[netip.AddrPortFrom(wildcard, port)]
	return bound && (ip.IsLoopback() || m.isHost(ip))
}

// isHost tells whether an address is one of this host's. When the addresses cannot be read, those of before count.
func (m *Manager) isHost(ip netip.Addr) bool {
	h := m.host.Load()
	if h == nil || time.Since(h.read) > hostAddrsAge {
		next := &hostAddrs{read: time.Now(), set: map[netip.Addr]struct{}{}}
		addrs, err := net.InterfaceAddrs()
		if err != nil && h != nil {
			next.set = h.set
		}
		for _, a := range addrs {
			if n, ok := a.(*net.IPNet); ok {
				if ip, ok := netip.AddrFromSlice(n.IP); ok {
					next.set[ip.Unmap()] = struct{}{}
				}
			}
		}
		m.host.Store(next)
		h = next
	}
	_, ok := h.set[ip.WithZone("")]
	return ok
}
