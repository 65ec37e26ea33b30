package sockdiag

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// State is a TCP state, as include/net/tcp_states.h numbers them.
type State uint8

// States.
const (
	Established State = iota + 1
	SynSent
	SynRecv
	FinWait1
	FinWait2
	TimeWait
	Close
	CloseWait
	LastAck
	Listen
	Closing
)

// String is the state's name as ss(8) prints it.
func (s State) String() string {
	names := [...]string{
		"", "ESTAB", "SYN-SENT", "SYN-RECV", "FIN-WAIT-1", "FIN-WAIT-2", "TIME-WAIT", "UNCONN", "CLOSE-WAIT", "LAST-ACK", "LISTEN", "CLOSING",
	}
	if int(s) < len(names) {
		return names[s]
	}
	return fmt.Sprintf("state %d", uint8(s))
}

// Query says which sockets are wanted, and what of them.
type Query struct {
	// UDP asks for sockets of UDP instead of TCP: Established is one that is connected, Close any other.
	UDP bool
	// States wanted; none means Established alone.
	States []State
	// Info asks for byte counts and the round-trip time.
	Info bool
	// Storage is the descriptor of a BPF_MAP_TYPE_SK_STORAGE map whose values are wanted (Linux 5.7); 0 for none.
	Storage int
}

// Socket is one socket.
type Socket struct {
	State State
	// Local and Remote are as the socket has them: IPv4-mapped addresses of IPv6 sockets stay mapped.
	Local, Remote netip.AddrPort
	// Cookie is SO_COOKIE, Cgroup the id of the cgroup that the socket was created in (0 before Linux 5.8).
	Cookie, Cgroup uint64
	Inode, UID     uint32
	// Device is SO_BINDTODEVICE, 0 for none.
	Device uint32
	V6Only bool
	// RTT is the smoothed round-trip time; Sent counts the bytes that the peer acknowledged, Received those that came. All are
	// 0 unless Query.Info.
	RTT            time.Duration
	Sent, Received uint64
	// Stored is the value of the map of Query.Storage; nil when the socket has none. It is valid until the visit returns.
	Stored []byte
}

// Conn is a sock_diag socket.
type Conn struct {
	fd  int
	buf []byte
	seq uint32
}

// Open opens a socket in the network namespace of the calling thread.
func Open() (*Conn, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return nil, fmt.Errorf("open sock_diag socket: %w", err)
	}
	return &Conn{fd: fd, buf: make([]byte, 64<<10)}, nil
}

// Close closes the socket.
func (c *Conn) Close() error { return unix.Close(c.fd) }

// Dump visits the sockets of both families that the query asks for. The Socket is reused: visit must copy what it keeps.
func (c *Conn) Dump(q Query, visit func(*Socket)) error {
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		c.seq++
		if err := unix.Sendto(c.fd, q.request(family, c.seq), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
			return fmt.Errorf("ask for sockets: %w", err)
		}
		for done := false; !done; {
			n, _, err := unix.Recvfrom(c.fd, c.buf, 0)
			if errors.Is(err, unix.EINTR) {
				continue
			}
			if err != nil {
				return fmt.Errorf("read sockets: %w", err)
			}
			if done, err = parse(c.buf[:n], c.seq, visit); err != nil {
				return err
			}
		}
	}
	return nil
}

// Receiver finds the UDP socket that a datagram from one address to another comes to; false when there is none. What it was found by is all
// that a Socket without Query.Info has.
func (c *Conn) Receiver(from, to netip.AddrPort) (found Socket, ok bool, err error) {
	family := uint8(unix.AF_INET6)
	if to.Addr().Unmap().Is4() {
		family = unix.AF_INET
	}
	c.seq++
	q := Query{UDP: true, States: []State{Established, Close}}
	b := q.request(family, c.seq)
	binary.NativeEndian.PutUint16(b[6:], unix.NLM_F_REQUEST)
	place := func(ports, addr []byte, at netip.AddrPort) {
		binary.BigEndian.PutUint16(ports, at.Port())
		copy(addr, at.Addr().Unmap().AsSlice())
	}
	place(b[24:], b[28:44], from) // the kernel looks for who gets what "source" sends
	place(b[26:], b[44:60], to)
	binary.NativeEndian.PutUint64(b[64:], ^uint64(0)) // any cookie
	if err := unix.Sendto(c.fd, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return found, false, fmt.Errorf("ask for socket: %w", err)
	}
	for {
		n, _, err := unix.Recvfrom(c.fd, c.buf, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return found, false, fmt.Errorf("read socket: %w", err)
		}
		_, err = parse(c.buf[:n], c.seq, func(s *Socket) { found, ok = *s, true })
		if errors.Is(err, unix.ENOENT) {
			return found, false, nil
		}
		return found, ok, err
	}
}

// Sizes and numbers of linux/netlink.h, linux/sock_diag.h, linux/inet_diag.h.
const (
	headerSize  = 16
	requestSize = 56
	messageSize = 72

	sockDiagByFamily = 20

	requestStorages = 2 // INET_DIAG_REQ_SK_BPF_STORAGES
	requestMapFD    = 1 // SK_DIAG_BPF_STORAGE_REQ_MAP_FD

	attrInfo     = 2
	attrV6Only   = 11
	attrStorages = 20
	attrCgroup   = 21

	storageItem  = 1 // SK_DIAG_BPF_STORAGE
	storageValue = 3 // SK_DIAG_BPF_STORAGE_MAP_VALUE

	nested = 0x8000 // NLA_F_NESTED
)

// request is a struct inet_diag_req_v2, with attributes.
func (q *Query) request(family uint8, seq uint32) []byte {
	b := make([]byte, headerSize+requestSize, headerSize+requestSize+16)
	b[16], b[17] = family, unix.IPPROTO_TCP
	if q.UDP {
		b[17] = unix.IPPROTO_UDP
	}
	if q.Info {
		b[18] = 1 << (attrInfo - 1)
	}
	states := uint32(0)
	for _, s := range q.States {
		states |= 1 << s
	}
	if states == 0 {
		states = 1 << Established
	}
	binary.NativeEndian.PutUint32(b[20:], states)
	if q.Storage != 0 {
		b = binary.NativeEndian.AppendUint16(b, 12)
		b = binary.NativeEndian.AppendUint16(b, requestStorages|nested)
		b = binary.NativeEndian.AppendUint16(b, 8)
		b = binary.NativeEndian.AppendUint16(b, requestMapFD)
		b = binary.NativeEndian.AppendUint32(b, uint32(q.Storage))
	}
	binary.NativeEndian.PutUint32(b, uint32(len(b)))
	binary.NativeEndian.PutUint16(b[4:], sockDiagByFamily)
	binary.NativeEndian.PutUint16(b[6:], unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	binary.NativeEndian.PutUint32(b[8:], seq)
	return b
}
