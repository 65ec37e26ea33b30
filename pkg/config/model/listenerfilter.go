package model

import (
	"fmt"
	"net/netip"
	"strings"
)

// ListenerFilter is one configured listener filter. Config was decoded by the filter's own package; it is nil when Discovery
// delivers it.
type ListenerFilter struct {
	Name      string
	TypeURL   string
	Config    any
	Discovery *FilterDiscovery
	// Disabled keeps the filter away from the connections that it matches; nil from none.
	Disabled *ListenerPredicate
}

// PredicateKind is the way a ListenerPredicate decides.
type PredicateKind uint8

// Predicate kinds.
const (
	PredicateAny PredicateKind = iota
	PredicateOr
	PredicateAnd
	PredicateNot
	PredicatePort
)

// ListenerPredicate is envoy.config.listener.v3.ListenerFilterChainMatchPredicate.
type ListenerPredicate struct {
	Kind PredicateKind
	// Of are the operands of PredicateOr and PredicateAnd, and the one of PredicateNot.
	Of []ListenerPredicate
	// Start inclusive and End exclusive of PredicatePort.
	Start, End int32
}

// Matches tells whether the predicate holds for a connection whose local address, as far as it is known now, is local. One that is
// no IP address has every port, as in Envoy.
func (p *ListenerPredicate) Matches(local netip.AddrPort) bool {
	switch p.Kind {
	case PredicatePort:
		port := int32(local.Port())
		return !local.IsValid() || p.Start <= port && port < p.End
	case PredicateNot:
		return !p.Of[0].Matches(local)
	case PredicateAnd:
		for i := range p.Of {
			if !p.Of[i].Matches(local) {
				return false
			}
		}
		return true
	case PredicateOr:
		for i := range p.Of {
			if p.Of[i].Matches(local) {
				return true
			}
		}
		return false
	}
	return true
}

// String writes the predicate for people.
func (p *ListenerPredicate) String() string {
	var of []string
	for i := range p.Of {
		of = append(of, p.Of[i].String())
	}
	switch p.Kind {
	case PredicatePort:
		return fmt.Sprintf("destination_port_range [%d, %d)", p.Start, p.End)
	case PredicateNot:
		return "not " + of[0]
	case PredicateAnd:
		return "(" + strings.Join(of, " and ") + ")"
	case PredicateOr:
		return "(" + strings.Join(of, " or ") + ")"
	}
	return "any_match"
}
