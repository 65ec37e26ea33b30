package listener

import (
	"net/netip"
	"time"
)

// Live is a connection as it is now.
type Live struct {
	ID uint64
	// Client is the socket's peer, whatever the client is taken for, Socket its own address, Destination where the client wanted to go.
	Client, Socket, Destination netip.AddrPort
	// Redirected tells that Destination is not Socket: the connection was captured on its way.
	Redirected bool
	// Datagrams tells that it is a session of UDP. Package listener has none of them.
	Datagrams bool
	// Inbound tells that it was captured on its way to an application on this host.
	Inbound bool
	// Accelerated tells that what the client sends can come past TCP.
	Accelerated bool
	// Netns is the cookie of the network namespace that it was accepted in; 0 for weir's own.
	Netns uint64
	// Listener and FilterChain serve it; Route, Cluster and Endpoint are where its latest stream went.
	Listener, FilterChain, Route, Cluster string
	Endpoint                              netip.AddrPort
	Age                                   time.Duration
	// Received and Sent are the bytes from and to the client.
	Received, Sent uint64
}

// Live lists the connections that have found their filter chain, at most limit of them, in no order. It takes time in proportion to
// their number, during which no connection begins or ends.
func (m *Manager) Live(limit int) []Live {
	m.connMu.Lock()
	defer m.connMu.Unlock()
	out := make([]Live, 0, min(limit, len(m.conns)))
	for cn := range m.conns {
		if len(out) == limit {
			break
		}
		if cn.chain != nil { // all that is read was written before
			out = append(out, cn.live())
		}
	}
	return out
}

func (cn *connection) live() Live {
	info := &cn.info
	l := Live{
		ID: info.ID, Client: cn.c.Remote(), Socket: info.BoundLocal, Destination: info.Local,
		Redirected: info.Local != info.BoundLocal, Inbound: info.Inbound, Accelerated: cn.c.Accelerated(),
		Listener: info.Listener, FilterChain: cn.chain.cfg.Name, Age: time.Since(info.Start),
		Received: info.RxBytes.Load(), Sent: info.TxBytes.Load(),
	}
	if info.Namespace != nil {
		l.Netns = info.Namespace.Cookie
	}
	l.Route, l.Cluster, l.Endpoint = info.Latest.Load()
	return l
}
