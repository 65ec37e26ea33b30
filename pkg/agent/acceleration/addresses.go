package acceleration

import (
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"
)

// addresses are those of this host's interfaces, as they were when last looked at.
type addresses struct {
	set atomic.Pointer[map[netip.Addr]bool]
}

// refresh looks again.
func (a *addresses) refresh() error {
	list, err := net.InterfaceAddrs()
	if err != nil {
		return fmt.Errorf("list addresses of this host: %w", err)
	}
	set := make(map[netip.Addr]bool, len(list))
	for _, v := range list {
		if p, err := netip.ParsePrefix(v.String()); err == nil {
			set[p.Addr().Unmap()] = true
		}
	}
	a.set.Store(&set)
	return nil
}

// has tells whether an address leads to this host.
func (a *addresses) has(addr netip.Addr) bool {
	if addr.IsLoopback() {
		return true
	}
	set := a.set.Load()
	return set != nil && (*set)[addr.WithZone("")]
}
