package matcher

import (
	"cmp"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// exactMap is exact_match_map.
type exactMap struct {
	input    Input
	outcomes map[string]*Outcome
}

func (m *exactMap) find(d *Data) (action any, ok, decided bool) {
	v := m.input.Value(d)
	o := m.outcomes[v.Text]
	if !v.Present || o == nil {
		return nil, false, false
	}
	if d.Trace != nil {
		d.trace(m.input.String(), " is ", v.Text)
	}
	action, ok = o.follow(d)
	return action, ok, true
}

func (m *exactMap) each(f func(*Outcome)) { eachOf(m.outcomes, f) }

func eachOf(outcomes map[string]*Outcome, f func(*Outcome)) {
	for _, o := range outcomes {
		f(o)
	}
}

// prefixMap is prefix_match_map: the longest prefix decides.
type prefixMap struct {
	input    Input
	lengths  []int // of the prefixes, longest first
	outcomes map[string]*Outcome
}

func newPrefixMap(in Input, outcomes map[string]*Outcome) *prefixMap {
	m := &prefixMap{input: in, outcomes: outcomes}
	for prefix := range outcomes {
		m.lengths = append(m.lengths, len(prefix))
	}
	m.lengths = longestFirst(m.lengths)
	return m
}

func longestFirst(n []int) []int {
	slices.SortFunc(n, func(a, b int) int { return cmp.Compare(b, a) })
	return slices.Compact(n)
}

func (m *prefixMap) find(d *Data) (action any, ok, decided bool) {
	v := m.input.Value(d)
	if !v.Present {
		return nil, false, false
	}
	for _, n := range m.lengths {
		if n > len(v.Text) {
			continue
		}
		if o := m.outcomes[v.Text[:n]]; o != nil {
			if d.Trace != nil {
				d.trace(m.input.String(), " begins with ", v.Text[:n])
			}
			action, ok = o.follow(d)
			return action, ok, true
		}
	}
	return nil, false, false
}

func (m *prefixMap) each(f func(*Outcome)) { eachOf(m.outcomes, f) }

// domainMap is ServerNameMatcher: exact names, then "*." and the longest rest of the name, then "*".
type domainMap struct {
	input    Input
	outcomes map[string]*Outcome // "a.b", "*.b" and "*"
}

func (m *domainMap) find(d *Data) (action any, ok, decided bool) {
	v := m.input.Value(d)
	if !v.Present {
		return nil, false, false
	}
	name := strings.ToLower(v.Text)
	o := m.outcomes[name]
	for rest := name; o == nil; {
		dot := strings.IndexByte(rest, '.')
		if dot < 0 {
			o = m.outcomes["*"]
			break
		}
		rest = rest[dot+1:]
		o = m.outcomes["*."+rest]
	}
	if o == nil {
		return nil, false, false
	}
	if d.Trace != nil {
		d.trace(m.input.String(), " is in the domain of ", v.Text)
	}
	action, ok = o.follow(d)
	return action, ok, true
}

func (m *domainMap) each(f func(*Outcome)) { eachOf(m.outcomes, f) }

// ipMap is IPMatcher: the longest prefix decides; when the tree that it leads to has no answer, the next shorter one that is
// not exclusive does.
type ipMap struct {
	input    Input
	bits4    []int // lengths of the prefixes, longest first
	bits6    []int
	outcomes map[netip.Prefix]*ipOutcome
	all      []*ipOutcome
}

type ipOutcome struct {
	Outcome
	exclusive bool
}

// add lets a prefix lead to an outcome; the first one of a prefix counts.
func (m *ipMap) add(p netip.Prefix, o *ipOutcome) {
	if m.outcomes[p] != nil {
		return
	}
	m.outcomes[p] = o
	if p.Addr().Is4() {
		m.bits4 = longestFirst(append(m.bits4, p.Bits()))
	} else {
		m.bits6 = longestFirst(append(m.bits6, p.Bits()))
	}
}

func (m *ipMap) find(d *Data) (action any, ok, decided bool) {
	v := m.input.Value(d)
	addr, err := netip.ParseAddr(v.Text)
	if !v.Present || err != nil {
		return nil, false, false
	}
	addr = addr.Unmap().WithZone("")
	lengths := m.bits6
	if addr.Is4() {
		lengths = m.bits4
	}
	first := true
	for _, bits := range lengths {
		p, err := addr.Prefix(bits)
		if err != nil {
			continue
		}
		o := m.outcomes[p]
		if o == nil || o.exclusive && !first {
			continue
		}
		if d.Trace != nil {
			d.trace(m.input.String(), " is in ", p.Addr().String(), "/", strconv.Itoa(bits))
		}
		if action, ok = o.follow(d); ok {
			return action, true, true
		}
		first = false
	}
	return nil, false, false
}

func (m *ipMap) each(f func(*Outcome)) {
	for _, o := range m.all {
		f(&o.Outcome)
	}
}
