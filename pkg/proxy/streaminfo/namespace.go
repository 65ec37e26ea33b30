package streaminfo

import "net/netip"

// Namespace is a network namespace, other than weir's own, in which captured applications live. A nil one is weir's own. It is
// compared by its pointer.
type Namespace struct {
	// Cookie is the kernel's number for it, never used again while the host runs.
	Cookie uint64
	// Name is for people: where it was found.
	Name string
	// Inside calls f on a thread in the namespace, to create sockets there. It fails once the namespace was given up.
	Inside func(f func() error) error
	// Own tells weir's sockets in the namespace, which it must not connect to; nil while there are none.
	Own func(netip.AddrPort) bool
	// HostUpstream makes the connections to upstreams in weir's own namespace instead.
	HostUpstream bool
}

// Upstream is the namespace that upstream connections on behalf of a connection from n are made in.
func (n *Namespace) Upstream() *Namespace {
	if n == nil || n.HostUpstream {
		return nil
	}
	return n
}
