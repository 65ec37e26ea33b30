package inbound

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

// The structs of bpf/inbound.h, in its layout. A test compares them with the object's BTF.

type wireAddr [16]byte

type wirePlace struct {
	Netns     uint64
	Addr      wireAddr
	Port      [2]byte
	Reserved  uint16
	Reserved2 uint32
}

type wireCount struct {
	Captured, Foreign uint32
}

type wireHalf struct {
	Cookie   uint64
	Half     uint32
	Reserved uint32
}

type wireSocket struct {
	Place    wirePlace
	Foreign  uint32
	Reserved uint32
}

type wirePrefix struct {
	PrefixLen, Generation uint32
	Port                  [2]byte
	Kind, Family          uint16
	Reserved              uint16
	Addr                  wireAddr
}

type wirePair struct {
	Netns                  uint64
	Client, Server         wireAddr
	ClientPort, ServerPort [2]byte
	Reserved               uint32
}

type wireRule struct {
	ID, Policy uint32
}

type wirePeer struct {
	Addr     wireAddr
	Port     [2]byte
	Named    uint16
	Reserved uint32
}

type wireExplain struct {
	Ethernet [14]byte
	Reserved uint16
	Pair     wirePair
	Rule     wireRule
	Reason   uint32
	Action   uint32
}

type wireSink struct {
	Netns    uint64
	Family   uint32
	Reserved uint32
}

type wireEdit struct {
	Ethernet  [14]byte
	Operation uint16
	Half      wireHalf
	Socket    wireSocket
}

type wireControl struct {
	Generation, Flags uint32
}

// packed is the control as the eight bytes that are written at once.
func (c wireControl) packed() uint64 { return uint64(c.Generation) | uint64(c.Flags)<<32 }

// Constants of bpf/inbound.h and of the kernel.
const (
	flagEnabled uint32 = 1 << iota
	flagFailClosed
	flagAllLocal
	flagHasExcludes
	flagNames
	flagNoRules
)

const (
	kindTake  uint16 = 1
	kindLeave uint16 = 2

	operationEnter  uint16 = 1
	operationRemove uint16 = 2

	exactBits  = 96
	familyIPv4 = 2
	familyIPv6 = 10
)

func port(p uint16) (b [2]byte) {
	binary.BigEndian.PutUint16(b[:], p)
	return b
}

func placeOf(netns uint64, at netip.AddrPort) wirePlace {
	return wirePlace{Netns: netns, Addr: at.Addr().As16(), Port: port(at.Port())}
}

// at is the place as an address; IPv4 unmapped.
func (p wirePlace) at() netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom16(p.Addr).Unmap(), binary.BigEndian.Uint16(p.Port[:]))
}

func pairOf(netns uint64, client, server netip.AddrPort) wirePair {
	return wirePair{
		Netns: netns, Client: client.Addr().As16(), Server: server.Addr().As16(),
		ClientPort: port(client.Port()), ServerPort: port(server.Port()),
	}
}

func peerOf(peer netip.AddrPort) wirePeer {
	if !peer.IsValid() {
		return wirePeer{}
	}
	return wirePeer{Addr: peer.Addr().As16(), Port: port(peer.Port()), Named: 1}
}

func prefixKey(generation uint32, kind uint16, r Rule) wirePrefix {
	key := wirePrefix{
		PrefixLen: exactBits + uint32(r.Prefix.Bits()), Generation: generation,
		Port: port(r.Port), Kind: kind, Family: familyIPv6, Addr: r.Prefix.Addr().As16(),
	}
	if r.Prefix.Addr().Is4() {
		key.Family = familyIPv4
		key.PrefixLen += 96
	}
	return key
}

func (e *wireEdit) marshal() ([]byte, error) {
	data, err := binary.Append(nil, binary.NativeEndian, e)
	if err != nil {
		return nil, fmt.Errorf("encode edit: %w", err)
	}
	return data, nil
}
