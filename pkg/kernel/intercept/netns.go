package intercept

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/cilium/ebpf"
)

// NamespaceCapture is the capture sockets of one network namespace.
type NamespaceCapture struct {
	// Netns is the namespace's cookie.
	Netns uint64
	// Addrs of its sockets, at most one of each address family, IPv4 first.
	Addrs []netip.AddrPort
}

// SetCapture names the capture sockets of a network namespace, by the namespace's cookie; 0 is that of Options.Netns. There is
// at most one IPv4 and one IPv6 address. The sockets listen in that namespace already. Without one of its family, a connection
// that should be captured is left to the fail policy; so are all connections of a namespace that SetCapture was not called for.
// When the kernel has no room, the error is a *FullError and the namespace's earlier sockets stay in force.
func (i *Interceptor) SetCapture(netns uint64, addrs ...netip.AddrPort) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.closed {
		return fmt.Errorf("set capture sockets: %w", errClosed)
	}
	value, err := socketsOf(addrs)
	if err == nil {
		err = i.putSockets(cmp.Or(netns, i.opts.Netns), value)
	}
	if err != nil {
		return fmt.Errorf("set capture sockets of network namespace %d: %w", cmp.Or(netns, i.opts.Netns), err)
	}
	return nil
}

// ClearCapture forgets the capture sockets of a network namespace; 0 is that of Options.Netns. One that has none is no error.
func (i *Interceptor) ClearCapture(netns uint64) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.closed {
		return fmt.Errorf("clear capture sockets: %w", errClosed)
	}
	netns = cmp.Or(netns, i.opts.Netns)
	var err error
	if netns == i.opts.Netns {
		err = i.putSockets(netns, wireSockets{})
	} else if err = i.objects.Netns.Delete(netns); err == nil || errors.Is(err, ebpf.ErrKeyNotExist) {
		old := i.sockets[netns]
		delete(i.sockets, netns)
		err = i.rules.covered.sockets(&old, i.rules.covered.remove)
	}
	if err != nil {
		return fmt.Errorf("clear capture sockets of network namespace %d: %w", netns, err)
	}
	return nil
}

func (i *Interceptor) putSockets(netns uint64, value wireSockets) error {
	if err := i.rules.covered.sockets(&value, i.rules.covered.add); err != nil {
		return err
	}
	if err := i.objects.Netns.Put(netns, &value); err != nil {
		return errors.Join(full(err, "weir_netns", i.objects.Netns), i.rules.covered.sockets(&value, i.rules.covered.remove))
	}
	old := i.sockets[netns]
	i.sockets[netns] = value
	return i.rules.covered.sockets(&old, i.rules.covered.remove)
}

func socketsOf(addrs []netip.AddrPort) (wireSockets, error) {
	var value wireSockets
	for _, addr := range addrs {
		addr = netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())
		slot := &value.Capture6
		if addr.Addr().Is4() {
			slot = &value.Capture4
		}
		if !addr.IsValid() || addr.Port() == 0 || addr.Addr().IsUnspecified() || slot.Present != 0 {
			return value, fmt.Errorf("%s is not a usable address, or the second of its family", addr)
		}
		*slot = endpointOf(addr)
	}
	return value, nil
}

func endpointOf(addr netip.AddrPort) wireEndpoint {
	ip, port := wireOf(addr)
	return wireEndpoint{Addr: ip, Port: port, Present: 1}
}

// captures lists the namespaces with capture sockets, by cookie.
func (i *Interceptor) captures() []NamespaceCapture {
	var out []NamespaceCapture
	for _, netns := range slices.Sorted(maps.Keys(i.sockets)) {
		value := i.sockets[netns]
		entry := NamespaceCapture{Netns: netns}
		for _, e := range []wireEndpoint{value.Capture4, value.Capture6} {
			if e.Present != 0 {
				entry.Addrs = append(entry.Addrs, addrPort(e.Addr, e.Port))
			}
		}
		if len(entry.Addrs) > 0 {
			out = append(out, entry)
		}
	}
	return out
}
