package sockdiag

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

var errShort = errors.New("read sockets: the kernel's answer is cut off")

// parse reads one datagram of an answer and tells whether it was the last one. Messages of other questions are skipped.
func parse(b []byte, seq uint32, visit func(*Socket)) (done bool, err error) {
	var s Socket
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
			return false, fmt.Errorf("read sockets: %w", unix.Errno(-int32(binary.NativeEndian.Uint32(body))))
		case kind == sockDiagByFamily:
			if !s.parse(body) {
				return false, errShort
			}
			visit(&s)
		}
		b = b[min(len(b), align(int(size))):]
	}
	return false, nil
}

// parse reads a struct inet_diag_msg with its attributes; false when it is cut off.
func (s *Socket) parse(b []byte) bool {
	if len(b) < messageSize {
		return false
	}
	*s = Socket{
		State:  State(b[1]),
		Local:  address(b[0], b[8:], b[4:]),
		Remote: address(b[0], b[24:], b[6:]),
		Device: binary.NativeEndian.Uint32(b[40:]),
		Cookie: uint64(binary.NativeEndian.Uint32(b[44:])) | uint64(binary.NativeEndian.Uint32(b[48:]))<<32,
		UID:    binary.NativeEndian.Uint32(b[64:]),
		Inode:  binary.NativeEndian.Uint32(b[68:]),
	}
	return attributes(b[messageSize:], func(kind uint16, value []byte) bool {
		switch {
		case kind == attrInfo:
			s.info(value)
		case kind == attrV6Only && len(value) >= 1:
			s.V6Only = value[0] != 0
		case kind == attrCgroup && len(value) >= 8:
			s.Cgroup = binary.NativeEndian.Uint64(value)
		case kind == attrStorages:
			return attributes(value, s.storage)
		}
		return true
	})
}

func (s *Socket) storage(kind uint16, value []byte) bool {
	if kind != storageItem {
		return true
	}
	return attributes(value, func(kind uint16, value []byte) bool {
		if kind == storageValue {
			s.Stored = value
		}
		return true
	})
}

// Offsets in struct tcp_info (linux/tcp.h); older kernels end it earlier.
const (
	infoRTT      = 68
	infoAcked    = 120
	infoReceived = 128
)

func (s *Socket) info(b []byte) {
	if len(b) >= infoRTT+4 {
		s.RTT = time.Duration(binary.NativeEndian.Uint32(b[infoRTT:])) * time.Microsecond
	}
	if len(b) >= infoReceived+8 {
		s.Sent = binary.NativeEndian.Uint64(b[infoAcked:])
		s.Received = binary.NativeEndian.Uint64(b[infoReceived:])
	}
}

func address(family uint8, ip, port []byte) netip.AddrPort {
	addr := netip.AddrFrom16([16]byte(ip[:16]))
	if family == unix.AF_INET {
		addr = netip.AddrFrom4([4]byte(ip[:4]))
	}
	return netip.AddrPortFrom(addr, binary.BigEndian.Uint16(port))
}

// attributes visits netlink attributes until visit returns false; false too when they are cut off.
func attributes(b []byte, visit func(kind uint16, value []byte) bool) bool {
	for len(b) >= 4 {
		size, kind := int(binary.NativeEndian.Uint16(b)), binary.NativeEndian.Uint16(b[2:])&^nested
		if size < 4 || size > len(b) || !visit(kind, b[4:size]) {
			return false
		}
		b = b[min(len(b), align(size)):]
	}
	return true
}

// align rounds up to four, as netlink messages and attributes are.
func align(n int) int { return (n + 3) &^ 3 }
