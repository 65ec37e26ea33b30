package udp

import (
	"encoding/binary"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weir-proxy/weir/pkg/proxy/streaminfo"
)

// Datagram is what a client sent.
type Datagram struct {
	// Peer is the client, Local the address that it means: the original destination of captured datagrams.
	Peer, Local netip.AddrPort
	// Source is the address that the client of a captured datagram would have sent from without weir; the zero value stands for Peer.
	Source netip.AddrPort
	// Captured tells that Local was restored.
	Captured bool
	// Within is the network namespace that it was captured in; nil for weir's own.
	Within *streaminfo.Namespace
	// Payload is valid during the call only.
	Payload []byte
	// Reply is the way back.
	Reply Path
}

// Client is whom the client is taken for. Answers go to Peer.
func (d *Datagram) Client() netip.AddrPort {
	if d.Source.IsValid() {
		return d.Source
	}
	return d.Peer
}

// Connection is what is known of a client.
func (d *Datagram) Connection() *streaminfo.Connection {
	c := &streaminfo.Connection{Namespace: d.Within, Start: time.Now(), Local: d.Local, BoundLocal: d.Local, Remote: d.Client(), DirectRemote: d.Client()}
	if d.Captured {
		c.OriginalDst = d.Local
	}
	return c
}

// Handler handles the datagrams of a listener. Its methods may be called by any goroutine.
type Handler interface {
	// Handle takes a datagram, which is valid during the call only. It must not block.
	Handle(d *Datagram)
	// Vacate ends the sessions of a network namespace and waits for them.
	Vacate(in *streaminfo.Namespace)
	// Close ends all sessions and waits for them.
	Close()
	// Sessions are under way.
	Sessions() int
	// Unfinished counts the sessions whose client waits for an answer, and those of captured clients.
	Unfinished() (awaiting, captured int)
}

// Path leads back to a client: the socket that its datagrams came to, and the address that they were sent to, from which the
// client expects the answer.
type Path struct {
	conn *net.UDPConn
	// from is the control message that says where to send from.
	from    [32 + 8]byte
	fromLen int
	// refusals tell a captured client, whose datagrams came to local, that nobody is there; nil for others.
	refusals *refusals
	local    netip.AddrPort
}

// newPath sends from a socket; from may be invalid, and is then left to the system.
func newPath(conn *net.UDPConn, from netip.Addr, v6 bool) Path {
	p := Path{conn: conn}
	if !from.IsValid() || from.IsUnspecified() || from.IsMulticast() {
		return p
	}
	level, kind, size := unix.SOL_IP, unix.IP_PKTINFO, unix.SizeofInet4Pktinfo
	if v6 {
		level, kind, size = unix.SOL_IPV6, unix.IPV6_PKTINFO, unix.SizeofInet6Pktinfo
	}
	const head = unix.SizeofCmsghdr
	p.fromLen = unix.CmsgSpace(size)
	binary.NativeEndian.PutUint64(p.from[:], uint64(head+size))
	binary.NativeEndian.PutUint32(p.from[8:], uint32(level))
	binary.NativeEndian.PutUint32(p.from[12:], uint32(kind))
	if v6 {
		addr := from.As16()
		copy(p.from[head:], addr[:])
	} else {
		addr := from.As4()
		copy(p.from[head+4:], addr[:]) // ipi_spec_dst
	}
	return p
}

// Local is the address that a captured client's datagrams come to; the zero value for others.
func (p *Path) Local() netip.AddrPort { return p.local }

// Same tells whether two paths go by the same socket, from the same address.
func (p *Path) Same(q *Path) bool { return p.conn == q.conn && p.from == q.from }

// Refuse tells a client whose datagrams were captured that nobody listens at their destination: its socket fails with ECONNREFUSED if it is
// connected. It does nothing for others, whom Envoy does not tell either.
func (p *Path) Refuse(client netip.AddrPort) {
	if p.refusals != nil {
		p.refusals.send(client, p.local)
	}
}

// Send sends to a client. It does not allocate.
func (p *Path) Send(payload []byte, to netip.AddrPort) error {
	_, _, err := p.conn.WriteMsgUDPAddrPort(payload, p.from[:p.fromLen], to)
	return err
}
