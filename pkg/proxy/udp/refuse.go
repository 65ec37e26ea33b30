package udp

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// refusals send what tells a client that nobody listens where it sent to (RFC 792 and RFC 4443 section 3.1, port unreachable): it came to a
// capture socket, which is there, so that the kernel does not say it. They take CAP_NET_RAW to open.
type refusals struct{ v4, v6 *net.IPConn }

// openRefusals opens the sockets of the calling thread's network namespace. They receive nothing. What can be opened is, also with an error.
func openRefusals() (*refusals, error) {
	v4, err4 := openICMP("ip4:icmp", netip.AddrFrom4([4]byte{127, 0, 0, 1}).String(), func(fd int) error {
		const icmpFilter = 1 // include/uapi/linux/icmp.h
		return unix.SetsockoptInt(fd, unix.SOL_RAW, icmpFilter, -1)
	})
	v6, err6 := openICMP("ip6:ipv6-icmp", netip.IPv6Loopback().String(), func(fd int) error {
		all := unix.ICMPv6Filter{}
		for i := range all.Data {
			all.Data[i] = ^uint32(0)
		}
		return unix.SetsockoptICMPv6Filter(fd, unix.SOL_ICMPV6, unix.ICMPV6_FILTER, &all)
	})
	return &refusals{v4, v6}, errors.Join(err4, err6)
}

func openICMP(network, address string, filter func(fd int) error) (*net.IPConn, error) {
	lc := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var failed error
		err := raw.Control(func(fd uintptr) { failed = filter(int(fd)) })
		return errors.Join(err, failed)
	}}
	c, err := lc.ListenPacket(context.Background(), network, address)
	if err != nil {
		return nil, fmt.Errorf("open socket for refusals: %w", err)
	}
	return c.(*net.IPConn), nil
}

func (r *refusals) close() {
	for _, c := range []*net.IPConn{r.v4, r.v6} {
		if c != nil {
			_ = c.Close()
		}
	}
}

// send tells a client that nobody listens at the address that its datagrams came to, and does nothing for want of a socket.
func (r *refusals) send(client, to netip.AddrPort) {
	c, message := r.v6, unreachable6(client, to)
	if client.Addr().Is4() {
		c, message = r.v4, unreachable4(client, to)
	}
	if c != nil {
		_, _ = c.WriteToIP(message, &net.IPAddr{IP: client.Addr().AsSlice(), Zone: client.Addr().Zone()})
	}
}

// Sizes and numbers of headers.
const (
	icmpSize, ipv4Size, ipv6Size, udpSize = 8, 20, 40, 8
	protocolUDP                           = 17
	hops                                  = 64
)

// unreachable4 is the message with the beginning of the datagram that it is about.
func unreachable4(client, to netip.AddrPort) []byte {
	b := make([]byte, icmpSize+ipv4Size+udpSize)
	b[0], b[1] = 3, 3
	ip := b[icmpSize:]
	ip[0], ip[8], ip[9] = 0x45, hops, protocolUDP
	binary.BigEndian.PutUint16(ip[2:], ipv4Size+udpSize)
	copy(ip[12:], client.Addr().AsSlice())
	copy(ip[16:], to.Addr().AsSlice())
	putUDP(ip[ipv4Size:], client, to)
	binary.BigEndian.PutUint16(b[2:], checksum(b))
	return b
}

// unreachable6 leaves the checksum to the kernel.
func unreachable6(client, to netip.AddrPort) []byte {
	b := make([]byte, icmpSize+ipv6Size+udpSize)
	b[0], b[1] = 1, 4
	ip := b[icmpSize:]
	ip[0], ip[6], ip[7] = 0x60, protocolUDP, hops
	binary.BigEndian.PutUint16(ip[4:], udpSize)
	copy(ip[8:], client.Addr().AsSlice())
	copy(ip[24:], to.Addr().AsSlice())
	putUDP(ip[ipv6Size:], client, to)
	return b
}

func putUDP(b []byte, client, to netip.AddrPort) {
	binary.BigEndian.PutUint16(b, client.Port())
	binary.BigEndian.PutUint16(b[2:], to.Port())
	binary.BigEndian.PutUint16(b[4:], udpSize)
}

// checksum is that of RFC 1071, of an even number of bytes.
func checksum(b []byte) uint16 {
	var sum uint32
	for ; len(b) > 1; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
