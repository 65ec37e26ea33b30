package udp

import (
	"encoding/binary"
	"net/netip"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Batch receives several datagrams by one system call, into memory of its own. It is used by one goroutine at a time.
type Batch struct {
	headers  []mmsghdr
	vectors  []unix.Iovec
	names    []unix.RawSockaddrInet6 // room for addresses of both families
	controls [][controlSize]byte
	memory   []byte
	size     int
}

// mmsghdr is the kernel's struct of this name.
type mmsghdr struct {
	header unix.Msghdr
	length uint32
	_      uint32
}

// controlSize holds what is asked of the kernel for each datagram: its destination, the size of segments, and losses.
const controlSize = 128

// NewBatch makes room for n datagrams of at most size bytes each, for one more byte each in fact, so that longer ones are seen.
func NewBatch(n, size int) *Batch {
	b := &Batch{
		headers: make([]mmsghdr, n), vectors: make([]unix.Iovec, n), names: make([]unix.RawSockaddrInet6, n),
		controls: make([][controlSize]byte, n), memory: make([]byte, n*(size+1)), size: size + 1,
	}
	for i := range n {
		b.vectors[i].Base = &b.memory[i*b.size]
		b.vectors[i].SetLen(b.size)
		h := &b.headers[i].header
		h.Iov = &b.vectors[i]
		h.SetIovlen(1)
		h.Name = (*byte)(unsafe.Pointer(&b.names[i]))
		h.Control = &b.controls[i][0]
	}
	return b
}

// Receive fills the batch with what the socket has, without waiting, and returns how many datagrams that are. Fewer than
// there is room for means that the socket has no more. The error is the system's, EAGAIN when there is nothing.
func (b *Batch) Receive(fd uintptr) (int, error) {
	for i := range b.headers {
		h := &b.headers[i].header
		h.Namelen = unix.SizeofSockaddrInet6
		h.SetControllen(controlSize)
		h.Flags = 0
	}
	for {
		n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&b.headers[0])), uintptr(len(b.headers)), unix.MSG_DONTWAIT, 0, 0)
		switch errno {
		case 0:
			return int(n), nil
		case unix.EINTR:
		default:
			return 0, errno
		}
	}
}

// Room is how many datagrams the batch can hold.
func (b *Batch) Room() int { return len(b.headers) }

// Message is what was received at once: one datagram, or with GRO several of one sender.
type Message struct {
	// Payload is valid until the batch is used again.
	Payload []byte
	// From is the sender, To the address that it sent to where the socket was asked to tell; both unmapped.
	From netip.AddrPort
	To   netip.Addr
	// Segment is the size of each datagram but the last; 0 when there is one.
	Segment int
	// Lost counts the datagrams that the socket had no room for since it was opened; 0 when it was not asked to tell, or there
	// are none.
	Lost uint32
	// Truncated tells that the datagram is longer than there was room for.
	Truncated bool
}

// Message gives what was received as number i.
func (b *Batch) Message(i int) Message {
	h := &b.headers[i]
	m := Message{
		Payload: b.memory[i*b.size : i*b.size+int(h.length)], From: addrPort(&b.names[i], h.header.Namelen),
		Truncated: h.header.Flags&unix.MSG_TRUNC != 0,
	}
	m.control(b.controls[i][:min(uint64(h.header.Controllen), controlSize)])
	return m
}

// control reads the control messages (cmsg(3)).
func (m *Message) control(data []byte) {
	const head = unix.SizeofCmsghdr
	for len(data) >= head {
		length := int(binary.NativeEndian.Uint64(data))
		level, kind := int(binary.NativeEndian.Uint32(data[8:])), int(binary.NativeEndian.Uint32(data[12:]))
		if length < head || length > len(data) {
			return
		}
		m.fact(level, kind, data[head:length])
		data = data[min(len(data), (length+7)&^7):]
	}
}

func (m *Message) fact(level, kind int, value []byte) {
	switch {
	case level == unix.SOL_IP && kind == unix.IP_PKTINFO && len(value) >= unix.SizeofInet4Pktinfo:
		m.To = netip.AddrFrom4([4]byte(value[8:12])) // ipi_addr, the packet's own
	case level == unix.SOL_IPV6 && kind == unix.IPV6_PKTINFO && len(value) >= unix.SizeofInet6Pktinfo:
		m.To = netip.AddrFrom16([16]byte(value[:16])).Unmap()
	case level == unix.SOL_SOCKET && kind == unix.SO_RXQ_OVFL && len(value) >= 4:
		m.Lost = binary.NativeEndian.Uint32(value)
	case level == unix.IPPROTO_UDP && kind == unix.UDP_GRO && len(value) >= 4:
		m.Segment = int(binary.NativeEndian.Uint32(value))
	}
}

// addrPort reads a socket address; the zero value when there is none.
func addrPort(name *unix.RawSockaddrInet6, length uint32) netip.AddrPort {
	port := func(p *uint16) uint16 { return binary.BigEndian.Uint16((*[2]byte)(unsafe.Pointer(p))[:]) }
	switch {
	case name.Family == unix.AF_INET && length >= unix.SizeofSockaddrInet4:
		in := (*unix.RawSockaddrInet4)(unsafe.Pointer(name))
		return netip.AddrPortFrom(netip.AddrFrom4(in.Addr), port(&in.Port))
	case name.Family == unix.AF_INET6 && length >= unix.SizeofSockaddrInet6:
		addr := netip.AddrFrom16(name.Addr).Unmap()
		if name.Scope_id != 0 && addr.IsLinkLocalUnicast() {
			addr = addr.WithZone(strconv.FormatUint(uint64(name.Scope_id), 10))
		}
		return netip.AddrPortFrom(addr, port(&name.Port))
	}
	return netip.AddrPort{}
}
