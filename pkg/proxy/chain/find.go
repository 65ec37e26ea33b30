package chain

import (
	"net/netip"
	"strings"

	"github.com/weir-proxy/weir/pkg/config/model"
)

// Find gives the chain of a connection; nil when none matches and there is no default.
func (t *Table) Find(in *Input) *model.FilterChain {
	ips, ok := t.ports[uint32(in.Destination.Port())]
	if !ok || in.Destination.Port() == 0 {
		ips = t.ports[0]
	}
	if c := ips.find(in); c != nil {
		return c
	}
	return t.fallback
}

func (d *destinationIPs) find(in *Input) *model.FilterChain {
	if d == nil {
		return nil
	}
	return d.lookUp(in.Destination.Addr()).find(in)
}

func (s *serverNames) find(in *Input) *model.FilterChain {
	if s == nil {
		return nil
	}
	if t := s.exact[in.ServerName]; t != nil {
		return t.find(in)
	}
	for name := in.ServerName; len(name) > 1; {
		dot := strings.IndexByte(name[1:], '.')
		if dot < 0 {
			break
		}
		name = name[1+dot:]
		if t := s.wildcard[name]; t != nil {
			return t.find(in)
		}
	}
	return s.anything.find(in)
}

func (t *transports) find(in *Input) *model.FilterChain {
	if t == nil {
		return nil
	}
	if p := t.m[in.TransportProtocol]; p != nil {
		return p.find(in)
	}
	return t.m[""].find(in)
}

func (p *protocols) find(in *Input) *model.FilterChain {
	if p == nil {
		return nil
	}
	for _, alpn := range in.ALPN {
		if d := p.m[alpn]; d != nil {
			return d.find(in)
		}
	}
	return p.m[""].find(in)
}

func (d *directSourceIPs) find(in *Input) *model.FilterChain {
	if d == nil {
		return nil
	}
	return d.lookUp(in.DirectSource.Addr()).find(in)
}

func (s *sourceTypes) find(in *Input) *model.FilterChain {
	if s == nil {
		return nil
	}
	kind := model.SourceExternal
	if local(in) {
		kind = model.SourceSameIPOrLoopback
	}
	if ips := s.m[kind]; ips != nil {
		return ips.find(in)
	}
	return s.m[model.SourceAny].find(in)
}

// local tells of connections from loopback or from the destination's own address; unix sockets are local.
func local(in *Input) bool {
	src := in.Source.Addr()
	return !src.IsValid() || src.IsLoopback() || src == in.Destination.Addr()
}

func (s *sourceIPs) find(in *Input) *model.FilterChain {
	if s == nil {
		return nil
	}
	ports := s.lookUp(in.Source.Addr())
	if ports == nil {
		return nil
	}
	if c := ports.m[uint32(in.Source.Port())]; c != nil {
		return c
	}
	return ports.m[0]
}

// prefixes is a table of address prefixes, looked up by the longest one that holds the address.
type prefixes[T any] struct {
	m       map[netip.Prefix]*T
	lengths [2][]int // of IPv4 and IPv6 prefixes, longest first
}

// at gives the entry of a prefix, made if there is none.
func (p *prefixes[T]) at(prefix netip.Prefix) *T {
	prefix = normal(prefix)
	if p.m == nil {
		p.m = map[netip.Prefix]*T{}
	}
	v := child(p.m, prefix)
	lengths := &p.lengths[family(prefix.Addr())]
	at := 0
	for at < len(*lengths) && (*lengths)[at] > prefix.Bits() {
		at++
	}
	if at == len(*lengths) || (*lengths)[at] != prefix.Bits() {
		*lengths = append((*lengths)[:at], append([]int{prefix.Bits()}, (*lengths)[at:]...)...)
	}
	return v
}

// lookUp gives the entry of the longest prefix that holds the address; nil when none does. An invalid address, which
// stands for a unix socket, is looked up as 255.255.255.255, as in Envoy: the entry without prefixes serves it.
func (p *prefixes[T]) lookUp(a netip.Addr) *T {
	if !a.IsValid() {
		a = netip.AddrFrom4([4]byte{255, 255, 255, 255})
	}
	a = a.Unmap().WithZone("")
	for _, bits := range p.lengths[family(a)] {
		prefix, _ := a.Prefix(bits) // the lengths are those of the family
		if v := p.m[prefix]; v != nil {
			return v
		}
	}
	return nil
}

func family(a netip.Addr) int {
	if a.Is4() {
		return 0
	}
	return 1
}

// normal masks a prefix and turns an IPv4-mapped one into IPv4.
func normal(p netip.Prefix) netip.Prefix {
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p.Masked()
}
