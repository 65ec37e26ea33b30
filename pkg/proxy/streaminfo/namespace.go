package streaminfo

import (
	"net/netip"
	"sync/atomic"
)

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

	givenUp atomic.Bool
}

// GiveUp notes that the namespace is not served any more: nothing is to be kept in it.
func (n *Namespace) GiveUp() { n.givenUp.Store(true) }

// GivenUp tells whether GiveUp was called.
func (n *Namespace) GivenUp() bool { return n.givenUp.Load() }

// Cgroup is the control group of the process that made a captured connection; the zero value is none.
type Cgroup struct {
	// ID is the kernel's number for it, never used again while the host runs.
	ID uint64
	// Names finds its name below the root of the hierarchy and the id of its container, "" for what is not known. It may be nil. It
	// may block for a few microseconds, and is to be called only by those who want the names.
	Names func(id uint64) (name, container string)
}

// Origin says from where an upstream connection is made. The zero value leaves it to weir's network namespace. Connections of
// different origins are never exchanged for each other.
type Origin struct {
	Namespace *Namespace
	// Inbound: on behalf of a connection that was captured on its way to an application of the namespace. Connections to the
	// namespace's own addresses then go to the application and not back to weir.
	Inbound bool
	// Source is what the upstream is to see as the client; the zero value is weir itself.
	Source Source
}

// Source is a foreign address that upstream connections are made from.
type Source struct {
	// Addr of the client. Its port is 0 when any will do.
	Addr netip.AddrPort
	// Mark is the SO_MARK of the sockets, by which replies find back; 0 is weir's own.
	Mark uint32
}

// Origin is from where upstream connections on behalf of this connection are made. A nil Connection has the zero value.
func (c *Connection) Origin() Origin {
	switch {
	case c == nil:
		return Origin{}
	case c.Inbound:
		// The application is in the namespace that the connection came to, wherever other upstreams are connected to from.
		return Origin{Namespace: c.Namespace, Inbound: true, Source: c.Source}
	}
	return Origin{Namespace: c.Namespace.Upstream(), Source: c.Source}
}

// Upstream is the namespace that upstream connections on behalf of a connection from n are made in.
func (n *Namespace) Upstream() *Namespace {
	if n == nil || n.HostUpstream {
		return nil
	}
	return n
}
