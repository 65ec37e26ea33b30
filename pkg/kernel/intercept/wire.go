package intercept

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/weir-proxy/weir/pkg/kernel/steer"
)

// The structs of bpf/types.h. They have no padding, so that they are handed to the kernel as they lie in memory; a test compares
// every member with the object's BTF. Address and port bytes are in network order, everything else in the machine's.

// wireAddr is struct weir_addr: 16 bytes, IPv4 as ::ffff:a.b.c.d.
type wireAddr [16]byte

// wirePort is a port in network byte order.
type wirePort [2]byte

// Address families as struct weir_prefix has them.
const (
	familyIPv4 = 2
	familyIPv6 = 10
)

// Protocols as struct weir_prefix and struct weir_query have them.
const (
	protocolTCP = 6
	protocolUDP = 17
)

// ruleExactBits is RULE_EXACT_BITS: port, family and protocol.
const ruleExactBits = 32

// Bits of wireControl.Flags, enum weir_flag.
const (
	flagEnabled = 1 << iota
	flagFailClosed
	flagHasExcludes
	flagRulesLost
)

type wirePrefix struct {
	PrefixLen uint32
	Port      wirePort
	Family    uint8
	Protocol  uint8
	Addr      wireAddr
}

type wireRule struct {
	Action   uint32
	Listener uint32
	Rule     uint32
	Service  uint32
}

type wireEndpoint struct {
	Addr    wireAddr
	Port    wirePort
	Present uint16
}

type wireControl struct {
	Epoch       uint32
	Flags       uint32
	ProxyMark   uint32
	Reserved    uint32
	ProxyCgroup uint64
	Netns       uint64
}

type wireSockets struct {
	Capture4 wireEndpoint
	Capture6 wireEndpoint
}

type wireQuery struct {
	Addr     wireAddr
	Port     wirePort
	Protocol uint8
	Family   uint8
	BoundIf  uint32
	Mark     uint32
	Source   uint32
	Cgroup   uint64
	Netns    uint64
	Flags    uint32
	Reserved uint32
}

type wireVerdict struct {
	Action     uint32
	Reason     uint32
	Listener   uint32
	Rule       uint32
	Service    uint32
	Endpoint   uint32
	TargetPort wirePort
	Reserved   uint16
	Reserved2  uint32
	Target     wireAddr
}

type wireFlow struct {
	Addr     wireAddr
	Port     wirePort
	Reserved uint16
	Epoch    uint32
	Listener uint32
	Rule     uint32
	Cookie   uint64
	Cgroup   uint64
	PID      uint32
	UID      uint32
}

type wirePair struct {
	Client     wireAddr
	Server     wireAddr
	ClientPort wirePort
	ServerPort wirePort
	Reserved   uint32
	Netns      uint64
}

type wireExplain struct {
	Ethernet [14]byte
	Reserved uint16
	Query    wireQuery
	Verdict  wireVerdict
}

func wireOf(addr netip.AddrPort) (wireAddr, wirePort) {
	return addr.Addr().As16(), portOf(addr.Port())
}

func protocolOf(p steer.Protocol) uint8 {
	if p == steer.UDP {
		return protocolUDP
	}
	return protocolTCP
}

func portOf(port uint16) wirePort {
	var p wirePort
	binary.BigEndian.PutUint16(p[:], port)
	return p
}

func addrPort(addr wireAddr, port wirePort) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom16(addr).Unmap(), binary.BigEndian.Uint16(port[:]))
}

// prefixKey is the key of a rule in weir_capture or weir_exclude.
func prefixKey(rule steer.Rule) wirePrefix {
	key := wirePrefix{
		PrefixLen: uint32(ruleExactBits + rule.Prefix.Bits()),
		Port:      portOf(rule.Port),
		Family:    familyIPv6,
		Protocol:  protocolOf(rule.Protocol),
		Addr:      rule.Prefix.Addr().As16(),
	}
	if rule.Prefix.Addr().Is4() {
		key.Family = familyIPv4
		key.PrefixLen += 96
	}
	return key
}

func (e *wireExplain) marshal() ([]byte, error) {
	data, err := binary.Append(nil, binary.NativeEndian, e)
	if err != nil {
		return nil, fmt.Errorf("encode query: %w", err)
	}
	return data, nil
}

// unmarshalVerdict takes the verdict from what the explain program left of a struct weir_explain.
func unmarshalVerdict(data []byte) (wireVerdict, error) {
	var e wireExplain
	if _, err := binary.Decode(data, binary.NativeEndian, &e); err != nil {
		return wireVerdict{}, fmt.Errorf("decode verdict: %w", err)
	}
	return e.Verdict, nil
}
