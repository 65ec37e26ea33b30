package accel

import "net/netip"

// The structs of bpf/accel.h as they lie in memory. Address bytes are in network order, everything else in the machine's.

// wireAddr is struct weir_addr: 16 bytes, IPv4 as ::ffff:a.b.c.d.
type wireAddr [16]byte

// wireEndpoint is struct accel_endpoint.
type wireEndpoint struct {
	Addr wireAddr
	Port uint32
}

// wirePair is struct accel_pair.
type wirePair struct {
	App, Proxy         wireAddr
	Netns              uint64
	AppPort, ProxyPort uint32
}

// wirePeer is struct accel_peer.
type wirePeer struct {
	Cookie  uint64
	Address uint64
}

// Indices of enum accel_counter.
const (
	counterMessages = iota
	counterBytes
	counterOverLimit
	counterBehindTCP
	counterSockets
	counterNoRoom
	counterEarlyData
	counterMultipath
	counterZerocopy
	counters
)

// endpoint is an address as a key; an unspecified address is all zeros, of both families.
func endpoint(a netip.AddrPort) wireEndpoint {
	e := wireEndpoint{Port: uint32(a.Port())}
	if !a.Addr().IsUnspecified() {
		e.Addr = a.Addr().As16()
	}
	return e
}

func pair(app, proxy netip.AddrPort, netns uint64) wirePair {
	return wirePair{
		App: app.Addr().As16(), Proxy: proxy.Addr().As16(), Netns: netns,
		AppPort: uint32(app.Port()), ProxyPort: uint32(proxy.Port()),
	}
}
