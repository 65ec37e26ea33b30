package inbound

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// listening is a listening TCP socket as sock_diag(7) reports it.
type listening struct {
	addr   netip.AddrPort // as the socket has it: an IPv6 socket bound to a mapped address has that
	cookie uint64
	cgroup uint64 // 0: not reported, before Linux 5.8
	inode  uint32
	device uint32 // SO_BINDTODEVICE, 0: none
	v6only bool
}

// diagnosis is a sock_diag socket. It asks about the namespace that it was opened in.
type diagnosis struct {
	fd  int
	buf []byte
	seq uint32
}

func openDiagnosis() (*diagnosis, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return nil, fmt.Errorf("open sock_diag socket: %w", err)
	}
	return &diagnosis{fd: fd, buf: make([]byte, 64<<10)}, nil
}

func (d *diagnosis) close() error { return unix.Close(d.fd) }

// listening lists the listening TCP sockets of both families.
func (d *diagnosis) listening() ([]listening, error) {
	var all []listening
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		d.seq++
		if err := unix.Sendto(d.fd, dumpRequest(family, d.seq), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
			return nil, fmt.Errorf("ask for listening sockets: %w", err)
		}
		for done := false; !done; {
			n, _, err := unix.Recvfrom(d.fd, d.buf, 0)
			if errors.Is(err, unix.EINTR) {
				continue
			}
			if err != nil {
				return nil, fmt.Errorf("read listening sockets: %w", err)
			}
			if done, err = parseDump(d.buf[:n], d.seq, func(l listening) { all = append(all, l) }); err != nil {
				return nil, err
			}
		}
	}
	return all, nil
}

// Sizes and numbers of linux/netlink.h, linux/sock_diag.h and linux/inet_diag.h.
const (
	headerSize  = 16
	requestSize = 56
	messageSize = 72

	sockDiagByFamily = 20
	stateListen      = 10
	attrV6Only       = 11
	attrCgroup       = 21
)

// dumpRequest is a struct inet_diag_req_v2 that asks for all listening TCP sockets of a family.
func dumpRequest(family uint8, seq uint32) []byte {
	b := make([]byte, headerSize+requestSize)
	binary.NativeEndian.PutUint32(b, uint32(len(b)))
	binary.NativeEndian.PutUint16(b[4:], sockDiagByFamily)
	binary.NativeEndian.PutUint16(b[6:], unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	binary.NativeEndian.PutUint32(b[8:], seq)
	b[16], b[17] = family, unix.IPPROTO_TCP
	binary.NativeEndian.PutUint32(b[20:], 1<<stateListen)
	return b
}

var errShort = errors.New("read listening sockets: the kernel's answer is cut off")

// parseDump reads one datagram of an answer. It tells whether it was the last one. Messages of other questions are skipped.
func parseDump(b []byte, seq uint32, visit func(listening)) (done bool, err error) {
	for len(b) >= headerSize {
		size := binary.NativeEndian.Uint32(b)
		if size < headerSize || uint64(size) > uint64(len(b)) {
			return false, errShort
		}
		kind, of, body := binary.NativeEndian.Uint16(b[4:]), binary.NativeEndian.Uint32(b[8:]), b[headerSize:size]
		switch {
		case of != seq:
		case kind == unix.NLMSG_DONE:
			return true, nil
		case kind == unix.NLMSG_ERROR:
			if len(body) < 4 {
				return false, errShort
			}
			errno := unix.Errno(-int32(binary.NativeEndian.Uint32(body)))
			return false, fmt.Errorf("read listening sockets: %w", errno)
		case kind == sockDiagByFamily:
			l, ok := parseListening(body)
			if !ok {
				return false, errShort
			}
			visit(l)
		}
		b = b[min(len(b), align(int(size))):]
	}
	return false, nil
}

// parseListening reads a struct inet_diag_msg with its attributes.
func parseListening(b []byte) (l listening, ok bool) {
	if len(b) < messageSize {
		return l, false
	}
	ip := netip.AddrFrom16([16]byte(b[8:24]))
	if b[0] == unix.AF_INET {
		ip = netip.AddrFrom4([4]byte(b[8:12]))
	}
	l.addr = netip.AddrPortFrom(ip, binary.BigEndian.Uint16(b[4:]))
	l.device = binary.NativeEndian.Uint32(b[40:])
	l.cookie = uint64(binary.NativeEndian.Uint32(b[44:])) | uint64(binary.NativeEndian.Uint32(b[48:]))<<32
	l.inode = binary.NativeEndian.Uint32(b[68:])
	for b = b[messageSize:]; len(b) >= 4; {
		size, kind := int(binary.NativeEndian.Uint16(b)), binary.NativeEndian.Uint16(b[2:])
		if size < 4 || size > len(b) {
			return l, false
		}
		switch value := b[4:size]; {
		case kind == attrV6Only && len(value) >= 1:
			l.v6only = value[0] != 0
		case kind == attrCgroup && len(value) >= 8:
			l.cgroup = binary.NativeEndian.Uint64(value)
		}
		b = b[min(len(b), align(size)):]
	}
	return l, true
}

// align rounds up to four, as netlink messages and attributes are.
func align(n int) int { return (n + 3) &^ 3 }
