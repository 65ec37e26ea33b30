package inbound

import (
	"net/netip"
	"slices"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/kernel/steer"
)

// takers finds the listener of a connection that comes in as the proxy does: the one at exactly the address, else the one at any
// address on the port, else the first inbound one, by name, with use_original_dst. Outbound listeners have no part in it.
type takers struct {
	exact      map[netip.AddrPort]*model.Listener
	any4, any6 map[uint16]*model.Listener
	catchAll   *model.Listener
	// policies tells that some of them decide by rbac filters.
	policies bool
}

func takersOf(snap *model.Snapshot) *takers {
	t := &takers{exact: map[netip.AddrPort]*model.Listener{}, any4: map[uint16]*model.Listener{}, any6: map[uint16]*model.Listener{}}
	for _, l := range snap.Listeners.Sorted() {
		if l.TrafficDirection == model.TrafficOutbound || l.UDP != nil {
			continue
		}
		for _, addr := range append([]netip.AddrPort{l.Address}, l.AdditionalAddresses...) {
			if addr.IsValid() && addr.Port() != 0 {
				t.add(netip.AddrPortFrom(addr.Addr().Unmap().WithZone(""), addr.Port()), l)
			}
		}
		if t.catchAll == nil && l.UseOriginalDst && l.TrafficDirection == model.TrafficInbound {
			t.catchAll = l
		}
		t.policies = t.policies || steer.HasArrivalRules(l)
	}
	return t
}

func (t *takers) add(addr netip.AddrPort, l *model.Listener) {
	switch {
	case !addr.Addr().IsUnspecified():
		setOnce(t.exact, addr, l)
	case addr.Addr().Is4():
		t.any4[addr.Port()] = l // goes before the IPv4 half of one at [::]
	default:
		setOnce(t.any6, addr.Port(), l)
		if l.IPv4Compat {
			setOnce(t.any4, addr.Port(), l)
		}
	}
}

func setOnce[K comparable](m map[K]*model.Listener, key K, l *model.Listener) {
	if m[key] == nil {
		m[key] = l
	}
}

// of is the listener of what a rule stands for, but for the destinations that other rules single out.
func (t *takers) of(r *Rule) *model.Listener {
	if r.Prefix.IsSingleIP() {
		if l := t.exact[netip.AddrPortFrom(r.Prefix.Addr(), r.Port)]; l != nil {
			return l
		}
	}
	at := t.any6
	if r.Prefix.Addr().Is4() {
		at = t.any4
	}
	if l := at[r.Port]; l != nil {
		return l
	}
	return t.catchAll
}

// settle sorts the rules and gives each its listener. Where rbac filters decide, rules are split up so that all destinations of a
// rule have one listener, and one filter chain by their port; what is captured stays the same.
func (p *Plan) settle(snap *model.Snapshot, i *model.Interception) {
	t := takersOf(snap)
	if t.policies {
		for _, r := range slices.Clone(p.Rules) {
			p.Rules = t.split(p.Rules, r)
		}
	}
	for n := range p.Rules {
		r := &p.Rules[n]
		l := t.of(r)
		if l == nil {
			continue
		}
		r.Listener = l.Name
		if t.policies {
			r.Policy, r.Kept = steer.ArrivalPolicy(i, l, r.Prefix, r.Port)
		}
	}
	slices.SortStableFunc(p.Rules, compare)
	p.Rules = slices.CompactFunc(p.Rules, func(a, b Rule) bool { return a.Prefix == b.Prefix && a.Port == b.Port })
}

// split adds the parts of a rule that may have another listener, or another filter chain.
func (t *takers) split(rules []Rule, r Rule) []Rule {
	part := func(prefix netip.Prefix, port uint16) {
		of := r
		of.Prefix, of.Port = prefix, port
		rules = append(rules, of)
	}
	for addr := range t.exact {
		if (r.Port == 0 || r.Port == addr.Port()) && r.Prefix.Contains(addr.Addr()) {
			part(netip.PrefixFrom(addr.Addr(), addr.Addr().BitLen()), addr.Port())
		}
	}
	if r.Port != 0 {
		return rules
	}
	at := t.any6
	if r.Prefix.Addr().Is4() {
		at = t.any4
	}
	for port := range at {
		part(r.Prefix, port)
	}
	if t.catchAll == nil {
		return rules
	}
	for _, fc := range t.catchAll.FilterChains {
		if port := fc.Match.DestinationPort; port > 0 && port < 1<<16 {
			part(r.Prefix, uint16(port))
		}
	}
	return rules
}
