package source

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Protocol is that of the packets, which rules for routes can ask for.
type Protocol uint8

// Protocols.
const (
	TCP Protocol = unix.IPPROTO_TCP
	UDP Protocol = unix.IPPROTO_UDP
)

// ErrNone is returned when there is a route but no address to go with it.
var ErrNone = errors.New("the route has no source address")

var errShort = errors.New("the kernel's answer is cut off")

// Sizes and numbers of linux/netlink.h and linux/rtnetlink.h.
const (
	headerSize = 16 // struct nlmsghdr
	routeSize  = 12 // struct rtmsg

	attrDst      = 1  // RTA_DST
	attrPrefSrc  = 7  // RTA_PREFSRC
	attrProtocol = 27 // RTA_IP_PROTO
	attrPort     = 29 // RTA_DPORT

	answerSize = 4096 // more than one route with all of its attributes takes
)

// Of asks for the source address of packets to dst, in the network namespace of the calling thread. It takes some 10 us, and a file
// descriptor meanwhile. The error may be an Errno of the kernel, such as ENETUNREACH where there is no route.
func Of(p Protocol, dst netip.AddrPort) (netip.Addr, error) {
	dst = netip.AddrPortFrom(dst.Addr().Unmap().WithZone(""), dst.Port())
	src, err := ask(p, dst)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("find source address for %s: %w", dst, err)
	}
	return src, nil
}

func ask(p Protocol, dst netip.AddrPort) (netip.Addr, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return netip.Addr{}, err
	}
	defer unix.Close(fd)
	if err := unix.Sendto(fd, request(p, dst), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return netip.Addr{}, err
	}
	var buf [answerSize]byte
	for { // the kernel has answered before sendto returns
		n, _, err := unix.Recvfrom(fd, buf[:], unix.MSG_DONTWAIT)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return netip.Addr{}, err
		}
		return parse(buf[:n])
	}
}

// request is an RTM_GETROUTE.
func request(p Protocol, dst netip.AddrPort) []byte {
	family, ip := byte(unix.AF_INET), dst.Addr().AsSlice()
	if dst.Addr().Is6() {
		family = unix.AF_INET6
	}
	b := make([]byte, headerSize+routeSize, 80)
	b[headerSize], b[headerSize+1] = family, byte(8*len(ip)) // rtm_family, rtm_dst_len
	b = attribute(b, attrDst, ip)
	b = attribute(b, attrProtocol, []byte{byte(p)})
	b = attribute(b, attrPort, binary.BigEndian.AppendUint16(nil, dst.Port()))
	binary.NativeEndian.PutUint32(b, uint32(len(b)))
	binary.NativeEndian.PutUint16(b[4:], unix.RTM_GETROUTE)
	binary.NativeEndian.PutUint16(b[6:], unix.NLM_F_REQUEST)
	return b
}

// attribute appends a struct rtattr with its value, padded to 4 bytes.
func attribute(b []byte, kind uint16, value []byte) []byte {
	b = binary.NativeEndian.AppendUint16(b, uint16(4+len(value)))
	b = binary.NativeEndian.AppendUint16(b, kind)
	b = append(b, value...)
	return append(b, make([]byte, align(len(value))-len(value))...)
}

// parse reads the answer to one request.
func parse(b []byte) (netip.Addr, error) {
	if len(b) < headerSize {
		return netip.Addr{}, errShort
	}
	size := binary.NativeEndian.Uint32(b)
	if size < headerSize || uint64(size) > uint64(len(b)) {
		return netip.Addr{}, errShort
	}
	body := b[headerSize:size]
	switch kind := binary.NativeEndian.Uint16(b[4:]); kind {
	case unix.NLMSG_ERROR:
		if len(body) < 4 {
			return netip.Addr{}, errShort
		}
		return netip.Addr{}, unix.Errno(-int32(binary.NativeEndian.Uint32(body)))
	case unix.RTM_NEWROUTE:
		if len(body) < routeSize {
			return netip.Addr{}, errShort
		}
		return preferred(body[routeSize:])
	default:
		return netip.Addr{}, fmt.Errorf("the kernel's answer is a message of type %d", kind)
	}
}

// preferred looks for the source address among the attributes of a route.
func preferred(b []byte) (netip.Addr, error) {
	for len(b) >= 4 {
		size, kind := int(binary.NativeEndian.Uint16(b)), binary.NativeEndian.Uint16(b[2:])
		if size < 4 || size > len(b) {
			return netip.Addr{}, errShort
		}
		if kind == attrPrefSrc {
			if src, ok := netip.AddrFromSlice(b[4:size]); ok {
				return src, nil
			}
			return netip.Addr{}, errShort
		}
		b = b[min(len(b), align(size)):]
	}
	return netip.Addr{}, ErrNone
}

func align(n int) int { return (n + 3) &^ 3 }
