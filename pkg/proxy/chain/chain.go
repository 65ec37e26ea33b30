// Package chain finds the filter chain of a connection, compiled from the chains' match criteria.
//
// It owns Envoy's precedence: destination port, destination IP, server name, transport protocol, ALPN, direct source IP,
// source type, source IP, source port. At each level the most specific entry that fits the connection is taken, and
// there is no way back: when nothing below that entry matches, the default chain serves, though a less specific entry
// might have matched. It must not know what a chain does. A Table is immutable and its lookups do not allocate.
package chain

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/weir-proxy/weir/pkg/config/model"
)

// Input is what chains are matched by.
type Input struct {
	// Destination is where the client wanted to; Source its address as filters may have changed it, DirectSource the
	// socket's peer. The zero value stands for a unix socket.
	Destination, Source, DirectSource netip.AddrPort
	// ServerName in lower case, as detected.
	ServerName string
	// TransportProtocol is "raw_buffer" or "tls".
	TransportProtocol string
	ALPN              []string
}

// Table is a compiled set of chains.
type Table struct {
	ports    map[uint32]*destinationIPs
	fallback *model.FilterChain
}

// The levels below the destination port, outermost first.
type (
	destinationIPs struct{ prefixes[serverNames] }
	serverNames    struct {
		exact    map[string]*transports
		wildcard map[string]*transports // by ".suffix"
		anything *transports
	}
	transports      struct{ m map[string]*protocols }
	protocols       struct{ m map[string]*directSourceIPs }
	directSourceIPs struct{ prefixes[sourceTypes] }
	sourceTypes     struct{ m [3]*sourceIPs }
	sourceIPs       struct{ prefixes[sourcePorts] }
	sourcePorts     struct{ m map[uint32]*model.FilterChain }
)

// Compile builds the table. Two chains of which some connection would match both equally are an error that names them.
// fallback serves what no chain matches and may be nil.
func Compile(chains []*model.FilterChain, fallback *model.FilterChain) (*Table, error) {
	t := &Table{ports: map[uint32]*destinationIPs{}, fallback: fallback}
	for i, c := range chains {
		if err := t.add(i, c, chains); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// add enters a chain under every combination of its criteria.
func (t *Table) add(index int, c *model.FilterChain, all []*model.FilterChain) error {
	m := &c.Match
	ips := child(t.ports, m.DestinationPort)
	for _, dst := range orAnywhere(m.PrefixRanges) {
		names := ips.at(dst)
		for _, name := range orEmpty(m.ServerNames) {
			byALPN := child(names.at(name).m, m.TransportProtocol)
			if byALPN.m == nil {
				byALPN.m = map[string]*directSourceIPs{}
			}
			for _, alpn := range orEmpty(m.ApplicationProtocols) {
				direct := child(byALPN.m, alpn)
				for _, src := range orAnywhere(m.DirectSourcePrefixes) {
					other := direct.at(src).add(c)
					if other != nil {
						return fmt.Errorf("filter chain %s has the same matching rules defined as %s", describe(index, c), describe(slices.Index(all, other), other))
					}
				}
			}
		}
	}
	return nil
}

// add enters the chain below its source type. It gives the chain that has the place already, if one has.
func (s *sourceTypes) add(c *model.FilterChain) (other *model.FilterChain) {
	m := &c.Match
	if s.m[m.SourceType] == nil {
		s.m[m.SourceType] = &sourceIPs{}
	}
	for _, src := range orAnywhere(m.SourcePrefixes) {
		ports := s.m[m.SourceType].at(src)
		if ports.m == nil {
			ports.m = map[uint32]*model.FilterChain{}
		}
		for _, port := range orZero(m.SourcePorts) {
			if was := ports.m[port]; was != nil && was != c {
				return was
			}
			ports.m[port] = c
		}
	}
	return nil
}

func (s *serverNames) at(name string) *transports {
	if s.exact == nil {
		s.exact, s.wildcard = map[string]*transports{}, map[string]*transports{}
	}
	var t *transports
	switch suffix, isWildcard := strings.CutPrefix(name, "*."); {
	case name == "":
		if s.anything == nil {
			s.anything = &transports{}
		}
		t = s.anything
	case isWildcard:
		t = child(s.wildcard, "."+strings.ToLower(suffix))
	default:
		t = child(s.exact, strings.ToLower(name))
	}
	if t.m == nil {
		t.m = map[string]*protocols{}
	}
	return t
}

func child[K comparable, V any](m map[K]*V, key K) *V {
	v := m[key]
	if v == nil {
		v = new(V)
		m[key] = v
	}
	return v
}

func describe(index int, c *model.FilterChain) string {
	if c.Name != "" {
		return fmt.Sprintf("%q", c.Name)
	}
	return fmt.Sprintf("filter_chains[%d]", index)
}

func orEmpty(s []string) []string {
	if len(s) == 0 {
		return []string{""}
	}
	return s
}

func orZero(p []uint32) []uint32 {
	if len(p) == 0 {
		return []uint32{0}
	}
	return p
}

// orAnywhere stands for both families' whole space when no prefix is given.
func orAnywhere(p []netip.Prefix) []netip.Prefix {
	if len(p) == 0 {
		return []netip.Prefix{netip.PrefixFrom(netip.IPv4Unspecified(), 0), netip.PrefixFrom(netip.IPv6Unspecified(), 0)}
	}
	return p
}
