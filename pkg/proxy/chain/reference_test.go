package chain

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"

	"github.com/weir-proxy/weir/pkg/config/model"
)

// entry is one combination of a chain's criteria.
type entry struct {
	chain               *model.FilterChain
	port                uint32
	dst, direct, source netip.Prefix
	name, transport     string
	alpn                string
	kind                model.SourceType
	sourcePort          uint32
}

func entries(chains []*model.FilterChain) []entry {
	var out []entry
	for _, c := range chains {
		m := c.Match
		for _, dst := range orAnywhere(m.PrefixRanges) {
			for _, name := range orEmpty(m.ServerNames) {
				for _, alpn := range orEmpty(m.ApplicationProtocols) {
					for _, direct := range orAnywhere(m.DirectSourcePrefixes) {
						for _, src := range orAnywhere(m.SourcePrefixes) {
							for _, port := range orZero(m.SourcePorts) {
								out = append(out, entry{c, m.DestinationPort, dst, direct, src, name, m.TransportProtocol, alpn, m.SourceType, port})
							}
						}
					}
				}
			}
		}
	}
	return out
}

// best keeps the entries with the highest rank; a rank below 0 does not fit at all.
func best(list []entry, rank func(entry) int) []entry {
	top := -1
	for _, e := range list {
		top = max(top, rank(e))
	}
	if top < 0 {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(list), func(e entry) bool { return rank(e) != top })
}

// reference is the lookup as the documentation words it.
func reference(chains []*model.FilterChain, fallback *model.FilterChain, in *Input) *model.FilterChain {
	inPrefix := func(p netip.Prefix, a netip.Addr) int {
		if !p.Contains(a) {
			return -1
		}
		return p.Bits()
	}
	exactOrAny := func(have, want uint32) int {
		switch have {
		case want:
			return 1
		case 0:
			return 0
		}
		return -1
	}
	list := entries(chains)
	list = best(list, func(e entry) int { return exactOrAny(e.port, uint32(in.Destination.Port())) })
	list = best(list, func(e entry) int { return inPrefix(e.dst, in.Destination.Addr()) })
	list = best(list, func(e entry) int {
		switch suffix, wild := strings.CutPrefix(e.name, "*"); {
		case e.name == "":
			return 0
		case wild && strings.HasSuffix(in.ServerName, suffix) && len(in.ServerName) > len(suffix):
			return len(suffix)
		case e.name == in.ServerName:
			return 1000
		}
		return -1
	})
	list = best(list, func(e entry) int {
		switch e.transport {
		case in.TransportProtocol:
			return 1
		case "":
			return 0
		}
		return -1
	})
	list = best(list, func(e entry) int {
		if e.alpn == "" {
			return 0
		}
		if i := slices.Index(in.ALPN, e.alpn); i >= 0 {
			return 100 - i
		}
		return -1
	})
	list = best(list, func(e entry) int { return inPrefix(e.direct, in.DirectSource.Addr()) })
	list = best(list, func(e entry) int {
		isLocal := in.Source.Addr().IsLoopback() || in.Source.Addr() == in.Destination.Addr()
		switch {
		case e.kind == model.SourceAny:
			return 0
		case (e.kind == model.SourceSameIPOrLoopback) == isLocal:
			return 1
		}
		return -1
	})
	list = best(list, func(e entry) int { return inPrefix(e.source, in.Source.Addr()) })
	list = best(list, func(e entry) int { return exactOrAny(e.sourcePort, uint32(in.Source.Port())) })
	if len(list) == 0 {
		return fallback
	}
	return list[0].chain
}

func pick[T any](r *rand.Rand, from ...T) T { return from[r.IntN(len(from))] }

func randomChain(r *rand.Rand) *model.FilterChain {
	ranges := func() []netip.Prefix {
		return pick(r, nil, nil, prefixList("10.0.0.0/8"), prefixList("10.0.0.0/30"), prefixList("fd00::/16", "10.0.0.1/32"), prefixList("::/0"))
	}
	return &model.FilterChain{Match: model.FilterChainMatch{
		DestinationPort:      pick[uint32](r, 0, 0, 80, 443),
		PrefixRanges:         ranges(),
		ServerNames:          pick(r, nil, nil, []string{"a.b.test"}, []string{"*.b.test"}, []string{"*.test", "b.test"}),
		TransportProtocol:    pick(r, "", "", "tls", "raw_buffer"),
		ApplicationProtocols: pick(r, nil, nil, []string{"h2"}, []string{"http/1.1", "h3"}),
		DirectSourcePrefixes: ranges(),
		SourceType:           pick(r, model.SourceAny, model.SourceSameIPOrLoopback, model.SourceExternal),
		SourcePrefixes:       ranges(),
		SourcePorts:          pick(r, nil, []uint32{1}, []uint32{1, 2}),
	}}
}

func randomInput(r *rand.Rand) Input {
	addr := func() netip.Addr {
		return netip.MustParseAddr(pick(r, "10.0.0.1", "10.0.0.2", "10.9.0.1", "127.0.0.1", "fd00::1", "2001:db8::1"))
	}
	return Input{
		Destination:       netip.AddrPortFrom(addr(), pick[uint16](r, 80, 443, 8080)),
		Source:            netip.AddrPortFrom(addr(), pick[uint16](r, 1, 2, 3)),
		DirectSource:      netip.AddrPortFrom(addr(), 1),
		ServerName:        pick(r, "", "a.b.test", "c.b.test", "b.test", "x.y.b.test", "other"),
		TransportProtocol: pick(r, "tls", "raw_buffer"),
		ALPN:              pick(r, nil, []string{"h2"}, []string{"http/1.1", "h2"}, []string{"x"}),
	}
}
