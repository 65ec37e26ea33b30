package udp

import (
	"maps"
	"net/netip"
	"slices"
	"time"
)

// Session is one as it is now.
type Session struct {
	ID uint64
	// Client is the peer, Destination where it sends to.
	Client, Destination netip.AddrPort
	// Captured tells that its datagrams were captured on their way, in the network namespace with the cookie Netns; 0 for weir's own.
	Captured bool
	Netns    uint64
	// Listener serves it, Cluster and Endpoint are where it goes.
	Listener, Cluster string
	Endpoint          netip.AddrPort
	Age               time.Duration
	// Received and Sent are the bytes from and to the client.
	Received, Sent uint64
}

// lister is a Handler that can tell of its sessions.
type lister interface {
	// Live lists at most limit sessions, in no order.
	Live(limit int) []Session
}

// Live lists sessions, at most limit of them. What is no session, such as a question for a name, is left out.
func (m *Manager) Live(limit int) []Session {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []Session
	for _, name := range slices.Sorted(maps.Keys(m.active)) {
		if l, ok := m.active[name].handler.(lister); ok {
			out = append(out, l.Live(limit-len(out))...)
		}
	}
	return out
}
