package view

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/weir-proxy/weir/pkg/kernel/intercept"
	"github.com/weir-proxy/weir/pkg/observe/admin"
	"github.com/weir-proxy/weir/pkg/proxy/listener"
)

// maxLive bounds how many connections of user space are looked at.
const maxLive = 100_000

// Connections joins what the kernel knows of the sockets of applications with what weir knows of its connections.
type Connections struct {
	// Live lists the connections in user space.
	Live func(limit int) []listener.Live
	// Sockets lists the captured and offloaded sockets of every namespace that is served; it may be nil. What it gives counts even
	// when there is an error.
	Sockets func() ([]NamespaceSocket, error)
	// Servers lists the listening sockets of captured processes in every namespace that is served, with Local and what their owner
	// is found by; it may be nil, and is asked only when connections have come in.
	Servers func() []NamespaceSocket
	// Senders lists the sockets of UDP in the same way; it may be nil, and is asked only when datagrams were captured.
	Senders func() []NamespaceSocket
	// Services tells the listener and the cluster of each service that connections are offloaded for, by name; it may be nil.
	Services func() map[string]Service
	// Processes finds the owners of sockets; it may be nil.
	Processes Processes
}

var _ admin.Connections = Connections{}

// NamespaceSocket is the socket of an application.
type NamespaceSocket struct {
	intercept.LiveSocket
	// Netns is the cookie of its network namespace, 0 for weir's own; Namespace its name.
	Netns     uint64
	Namespace string
}

// Service is what connections are offloaded for. The cluster is the first of several.
type Service struct{ Listener, Cluster string }

// Processes finds the owners of sockets. It is asked about all sockets of an answer at once.
type Processes interface {
	Owners(sockets []NamespaceSocket) []Owner
}

// Owner is the process that has a socket; the zero value when it is not known.
type Owner struct {
	PID                int
	Command, Container string
}

// Verdicts on connections.
const (
	verdictCaptured  = "captured"  // on its way out of an application, by weir
	verdictOffloaded = "offloaded" // past weir, by the kernel alone
	verdictInbound   = "inbound"   // on its way to an application
	verdictBound     = "bound"     // to an address of weir's own
)

// connectionList is the answer of /weir/connections.
type connectionList struct {
	// Total counts the connections that were seen; Connections has those with the most bytes.
	Total       int              `json:"total"`
	Connections []connectionInfo `json:"connections"`
	// Problems say what is missing.
	Problems []string `json:"problems,omitempty"`
}

type connectionInfo struct {
	// ID is the number of the connection in access logs; 0 when weir does not have it.
	ID      uint64 `json:"id,omitempty"`
	Verdict string `json:"verdict"`
	// Protocol is "udp" for sessions of datagrams, and empty for connections.
	Protocol string `json:"protocol,omitempty"`
	// Accelerated tells that the payload of the client goes past TCP where it can.
	Accelerated bool `json:"accelerated,omitempty"`
	// PID is 0 when the process is not known, or is none of this host.
	PID         int    `json:"pid,omitempty"`
	Command     string `json:"command,omitempty"`
	Container   string `json:"container,omitempty"`
	Namespace   string `json:"namespace,omitempty"`
	Client      string `json:"client"`
	Destination string `json:"destination"`
	State       string `json:"state,omitempty"`
	Listener    string `json:"listener,omitempty"`
	FilterChain string `json:"filter_chain,omitempty"`
	Route       string `json:"route,omitempty"`
	Cluster     string `json:"cluster,omitempty"`
	Endpoint    string `json:"endpoint,omitempty"`
	// BytesSent are those of the client, BytesReceived those to it.
	BytesSent     uint64 `json:"bytes_sent"`
	BytesReceived uint64 `json:"bytes_received"`
	// RTT is of the client's socket, in microseconds; with a captured one that is the way to weir and back.
	RTT int64 `json:"rtt_us,omitempty"`
	// Age is in milliseconds; -1 when it is not known.
	Age int64 `json:"age_ms"`

	socket *NamespaceSocket
	// netns is that of a connection that came in to an application at server, or of datagrams that were captured from sender.
	netns          uint64
	server, sender netip.AddrPort
}

// end is one end of a connection.
type end struct {
	netns uint64
	addr  netip.AddrPort
}

// LiveConnections implements admin.Connections.
func (v Connections) LiveConnections(limit int) admin.ConnectionList {
	out := &connectionList{}
	var sockets []NamespaceSocket
	if v.Sockets != nil {
		var err error
		if sockets, err = v.Sockets(); err != nil {
			out.Problems = strings.Split(err.Error(), "\n")
		}
	}
	all := join(v.Live(maxLive), sockets)
	out.Total = len(all)
	slices.SortFunc(all, func(a, b connectionInfo) int {
		return cmp.Or(cmp.Compare(b.BytesSent+b.BytesReceived, a.BytesSent+a.BytesReceived), cmp.Compare(a.ID, b.ID), cmp.Compare(a.Client, b.Client))
	})
	out.Connections = all[:min(limit, len(all))]
	v.complete(out.Connections)
	return out
}

// join makes one row of the two halves of a connection.
func join(live []listener.Live, sockets []NamespaceSocket) []connectionInfo {
	byEnd := make(map[end]*NamespaceSocket, len(sockets))
	for i := range sockets {
		if s := &sockets[i]; !s.Offloaded {
			byEnd[end{s.Netns, s.Local}] = s
		}
	}
	all := make([]connectionInfo, 0, len(live)+len(sockets))
	for i := range live {
		l := &live[i]
		at := end{l.Netns, unmapped(l.Client)}
		socket := byEnd[at]
		if !l.Redirected || l.Inbound || l.Datagrams { // sockets are those of TCP
			socket = nil
		}
		if socket != nil {
			delete(byEnd, at)
		}
		all = append(all, inUserSpace(l, socket))
	}
	for i := range sockets {
		s := &sockets[i]
		if s.Offloaded || byEnd[end{s.Netns, s.Local}] == s {
			all = append(all, inKernel(s))
		}
	}
	return all
}

func unmapped(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }

// inUserSpace is the row of a connection that weir has. The application's socket may be gone, or out of sight.
func inUserSpace(l *listener.Live, socket *NamespaceSocket) connectionInfo {
	row := connectionInfo{
		ID: l.ID, Verdict: verdictBound, Client: unmapped(l.Client).String(), Destination: unmapped(l.Destination).String(),
		Listener: l.Listener, FilterChain: l.FilterChain, Route: l.Route, Cluster: l.Cluster,
		BytesSent: l.Received, BytesReceived: l.Sent, Age: l.Age.Milliseconds(), Accelerated: l.Accelerated,
	}
	if l.Datagrams {
		row.Protocol = "udp"
	}
	switch {
	case l.Inbound:
		row.Verdict, row.netns, row.server = verdictInbound, l.Netns, unmapped(l.Destination)
	case l.Redirected:
		row.Verdict = verdictCaptured
	}
	if l.Redirected && l.Datagrams {
		row.netns, row.sender = l.Netns, unmapped(l.Client)
	}
	if l.Endpoint.IsValid() {
		row.Endpoint = unmapped(l.Endpoint).String()
	}
	if socket != nil {
		row.from(socket)
		// Either may have missed some: weir what the kernel moved for it, the socket what passed it by.
		row.BytesSent, row.BytesReceived = max(row.BytesSent, socket.Sent), max(row.BytesReceived, socket.Received)
	}
	return row
}

// inKernel is the row of a socket that weir has no connection for: an offloaded one, or one that has not found its filter chain.
func inKernel(s *NamespaceSocket) connectionInfo {
	row := connectionInfo{
		Verdict: verdictCaptured, Client: s.Local.String(), Destination: s.Dst.String(), Listener: s.Listener, Age: -1,
		BytesSent: s.Sent, BytesReceived: s.Received,
	}
	if s.Offloaded {
		row.Verdict, row.Endpoint = verdictOffloaded, s.Peer.String()
		if s.Age > 0 {
			row.Age = s.Age.Milliseconds()
		}
	}
	row.from(s)
	return row
}

func (row *connectionInfo) from(s *NamespaceSocket) {
	row.socket, row.Namespace, row.State, row.RTT = s, s.Namespace, s.State.String(), s.RTT.Microseconds()
}

// complete adds what takes more time, to the rows that are shown.
func (v Connections) complete(rows []connectionInfo) {
	var sockets []NamespaceSocket
	var of []*connectionInfo
	var services map[string]Service
	servers, senders := v.servers(rows), v.senders(rows)
	for i := range rows {
		s := rows[i].socket
		if s == nil && rows[i].server.IsValid() {
			if s = ServerOf(servers, rows[i].netns, rows[i].server); s != nil {
				rows[i].Namespace = s.Namespace
			}
		}
		if s == nil && rows[i].sender.IsValid() {
			if s = ServerOf(senders, rows[i].netns, rows[i].sender); s != nil {
				rows[i].Namespace = s.Namespace
			}
		}
		if s == nil {
			continue
		}
		sockets, of = append(sockets, *s), append(of, &rows[i])
		if !s.Offloaded {
			continue
		}
		if services == nil && v.Services != nil {
			services = v.Services()
		}
		service := services[s.Service]
		rows[i].Listener, rows[i].Cluster = service.Listener, cmp.Or(service.Cluster, s.Service)
	}
	if v.Processes == nil || len(sockets) == 0 {
		return
	}
	for i, o := range v.Processes.Owners(sockets) {
		of[i].PID, of[i].Command, of[i].Container = o.PID, o.Command, o.Container
	}
}

// servers are the listening sockets, when a row is of a connection that came in.
func (v Connections) servers(rows []connectionInfo) []NamespaceSocket {
	if v.Servers == nil || !slices.ContainsFunc(rows, func(r connectionInfo) bool { return r.server.IsValid() }) {
		return nil
	}
	return v.Servers()
}

// senders are the sockets of UDP, when a row is of datagrams that were captured.
func (v Connections) senders(rows []connectionInfo) []NamespaceSocket {
	if v.Senders == nil || !slices.ContainsFunc(rows, func(r connectionInfo) bool { return r.sender.IsValid() }) {
		return nil
	}
	return v.Senders()
}

// ServerOf is the socket by which an application gets a connection to an address in a namespace, 0 for weir's own: the one on the very
// address, else one on all addresses; nil when there is none.
func ServerOf(servers []NamespaceSocket, netns uint64, at netip.AddrPort) *NamespaceSocket {
	var wildcard *NamespaceSocket
	for i := range servers {
		s := &servers[i]
		if s.Netns != netns || s.Local.Port() != at.Port() {
			continue
		}
		if s.Local == at {
			return s
		}
		if bound := s.Local.Addr(); bound.IsUnspecified() && (bound.Is6() || at.Addr().Is4()) {
			wildcard = s
		}
	}
	return wildcard
}

// Text implements admin.ConnectionList.
func (l *connectionList) Text() string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "VERDICT\tPROCESS\tCONTAINER\tCLIENT\tDESTINATION\tLISTENER\tROUTE\tCLUSTER\tENDPOINT\tSENT\tRECEIVED\tRTT\tAGE")
	for i := range l.Connections {
		c := &l.Connections[i]
		process, rtt, age := "", "", ""
		if c.PID != 0 {
			process = fmt.Sprintf("%s(%d)", c.Command, c.PID)
		}
		if c.RTT > 0 {
			rtt = (time.Duration(c.RTT) * time.Microsecond).String()
		}
		if c.Age >= 0 {
			age = (time.Duration(c.Age) * time.Millisecond).String()
		}
		fmt.Fprint(w, strings.TrimSpace(c.Verdict+" "+c.Protocol))
		if c.Accelerated {
			fmt.Fprint(w, " accelerated")
		}
		for _, text := range []string{process, c.Container, c.Client, c.Destination, c.Listener, c.Route, c.Cluster, c.Endpoint} {
			fmt.Fprint(w, "\t", cmp.Or(text, "-"))
		}
		fmt.Fprintf(w, "\t%d\t%d\t%s\t%s\n", c.BytesSent, c.BytesReceived, cmp.Or(rtt, "-"), cmp.Or(age, "-"))
	}
	_ = w.Flush() // strings.Builder takes everything
	if shown := len(l.Connections); shown < l.Total {
		fmt.Fprintf(&b, "%d of %d connections\n", shown, l.Total)
	}
	for _, p := range l.Problems {
		fmt.Fprintln(&b, "incomplete:", p)
	}
	return b.String()
}
