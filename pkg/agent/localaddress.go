package agent

import (
	"net"
	"net/netip"
)

// localAddress stands for this host where a request comes from the loopback, or from weir itself: the first address of
// the family that is not of the loopback, as in Envoy, else the loopback's own. addrs are those of the interfaces.
func localAddress(addrs []net.Addr, v6 bool) netip.Addr {
	for _, a := range addrs {
		n, ok := a.(*net.IPNet)
		if !ok {
			continue
		}
		addr, ok := netip.AddrFromSlice(n.IP)
		if addr = addr.Unmap(); ok && !addr.IsLoopback() && addr.Is6() == v6 {
			return addr
		}
	}
	if v6 {
		return netip.IPv6Loopback()
	}
	return netip.AddrFrom4([4]byte{127, 0, 0, 1})
}

// findLocalAddress asks the kernel for the addresses of the interfaces. Without an answer it is the loopback's.
func findLocalAddress(v6 bool) netip.Addr {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		addrs = nil
	}
	return localAddress(addrs, v6)
}
