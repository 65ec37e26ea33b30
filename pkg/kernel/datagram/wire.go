package datagram

import (
	"encoding/binary"
	"net/netip"

	"github.com/weir-proxy/weir/pkg/kernel/steer"
)

// The structs of bpf/udp.h. They have no padding; a test compares every member with the object's BTF. Address and port bytes are in
// network order, everything else in the machine's.

type wireAddr [16]byte

type wirePort [2]byte

// slots is UDP_SLOTS.
const slots = 16

// exactBits is UDP_EXACT_BITS.
const exactBits = 64

// Bits of wireControl.Flags, enum weir_udp_flag.
const (
	flagEnabled = 1 << iota
	flagFailClosed
	flagHasExcludes
	flagRulesLost
)

// Families of wirePrefix.
const (
	familyIPv4 = 2
	familyIPv6 = 10
)

type wireControl struct {
	Generation  uint32
	Flags       uint32
	ProxyMark   uint32
	Reserved    uint32
	ProxyCgroup uint64
}

type wirePorts struct {
	Port4 wirePort
	Port6 [slots]wirePort
}

type wirePrefix struct {
	Prefixlen  uint32
	Generation uint32
	Port       wirePort
	Family     uint16
	Addr       wireAddr
}

type wireRule struct {
	Action uint32
	Rule   uint32
}

type wireQuery struct {
	Addr      wireAddr
	Port      wirePort
	Reserved  uint16
	BoundIf   uint32
	Mark      uint32
	Elsewhere uint32
	Cgroup    uint64
	Netns     uint64
}

type wireVerdict struct {
	Action     uint32
	Reason     uint32
	Generation uint32
	Rule       uint32
}

type wireDest struct {
	Addr     wireAddr
	Port     wirePort
	Reserved uint16
}

type wireExplain struct {
	Ethernet [14]byte
	Reserved uint16
	Query    wireQuery
	Verdict  wireVerdict
}

type wireFind struct {
	Ethernet   [14]byte
	Reserved   uint16
	Client     wireAddr
	ClientPort wirePort
	LocalPort  wirePort
	Slot       uint32
	Found      uint32
	Dest       wireDest
}

func wireOf(addr netip.AddrPort) (wireAddr, wirePort) { return addr.Addr().As16(), portOf(addr.Port()) }

func portOf(port uint16) (p wirePort) {
	binary.BigEndian.PutUint16(p[:], port)
	return p
}

func (d *wireDest) addrPort() netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom16(d.Addr).Unmap(), binary.BigEndian.Uint16(d.Port[:]))
}

// prefixKey is the key of a rule under a generation.
func prefixKey(generation uint32, rule steer.Rule) wirePrefix {
	key := wirePrefix{
		Prefixlen: uint32(exactBits + rule.Prefix.Bits()), Generation: generation, Port: portOf(rule.Port), Family: familyIPv6,
		Addr: rule.Prefix.Addr().As16(),
	}
	if rule.Prefix.Addr().Is4() {
		key.Family = familyIPv4
		key.Prefixlen += 96
	}
	return key
}

// numberOf is the number that a loopback address stands for; false for those that are none of ours.
func numberOf(addr netip.Addr) (uint32, bool) {
	if !addr.Is4() || !addr.IsLoopback() {
		return 0, false
	}
	four := addr.As4()
	return binary.BigEndian.Uint32(four[:]) & 0xffffff, true
}
