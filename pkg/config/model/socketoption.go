package model

import "net/netip"

// SocketOption is an option of setsockopt(2) for a socket (envoy.config.core.v3.SocketOption).
type SocketOption struct {
	Level, Name int
	// Int is what the kernel is given unless Bytes is not nil.
	Int   int
	Bytes []byte
	// Late options are set once the socket is bound and listens, the others before.
	Late bool
	// IPv4Only and IPv6Only limit the option to a family.
	IPv4Only, IPv6Only bool
}

// AppliesTo tells whether the option is for a socket at this address; the zero value is a unix socket.
func (o *SocketOption) AppliesTo(at netip.Addr) bool {
	return (!o.IPv4Only || at.Is4()) && (!o.IPv6Only || at.Is6())
}

// OptionsAt are the options of the socket of an address: 0 is Address, further ones are AdditionalAddresses.
func (l *Listener) OptionsAt(i int) []SocketOption {
	all, at := l.SocketOptions, l.Address.Addr()
	if i > 0 {
		at = l.AdditionalAddresses[i-1].Addr()
		if l.AdditionalSocketOptions != nil {
			all = l.AdditionalSocketOptions[i-1]
		}
	}
	var out []SocketOption
	for _, o := range all {
		if o.AppliesTo(at) {
			out = append(out, o)
		}
	}
	return out
}
