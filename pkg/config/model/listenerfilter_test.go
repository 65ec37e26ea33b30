package model

import (
	"net/netip"
	"testing"
)

func TestListenerPredicate(t *testing.T) {
	ports := func(start, end int32) ListenerPredicate {
		return ListenerPredicate{Kind: PredicatePort, Start: start, End: end}
	}
	set := func(kind PredicateKind, of ...ListenerPredicate) ListenerPredicate {
		return ListenerPredicate{Kind: kind, Of: of}
	}
	cases := map[string]struct {
		predicate ListenerPredicate
		port      uint16
		want      bool
	}{
		"any":                {ListenerPredicate{}, 80, true},
		"not any":            {set(PredicateNot, ListenerPredicate{}), 80, false},
		"before the range":   {ports(3306, 3308), 3305, false},
		"start":              {ports(3306, 3308), 3306, true},
		"last":               {ports(3306, 3308), 3307, true},
		"end is not in it":   {ports(3306, 3308), 3308, false},
		"highest port":       {ports(65535, 65536), 65535, true},
		"empty range":        {ports(80, 80), 80, false},
		"or, second":         {set(PredicateOr, ports(1, 2), ports(5, 6)), 5, true},
		"or, none":           {set(PredicateOr, ports(1, 2), ports(5, 6)), 3, false},
		"and, both":          {set(PredicateAnd, ports(1, 9), ports(5, 20)), 6, true},
		"and, one":           {set(PredicateAnd, ports(1, 9), ports(5, 20)), 12, false},
		"nested":             {set(PredicateOr, ports(1, 2), set(PredicateNot, set(PredicateAnd, ports(0, 100), ports(50, 200)))), 60, false},
		"nested, other port": {set(PredicateOr, ports(1, 2), set(PredicateNot, set(PredicateAnd, ports(0, 100), ports(50, 200)))), 120, true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			local := netip.AddrPortFrom(netip.MustParseAddr("10.0.0.1"), tc.port)
			if got := tc.predicate.Matches(local); got != tc.want {
				t.Errorf("%v matches %v: %v", &tc.predicate, local, got)
			}
		})
	}
	p := ports(1, 2)
	if !p.Matches(netip.AddrPort{}) {
		t.Error("a unix socket has every port")
	}
	p = set(PredicateOr, set(PredicateNot, ports(1, 2)), ListenerPredicate{})
	if got, want := p.String(), "(not destination_port_range [1, 2) or any_match)"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
