package inbound

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/kernel/steer"
)

// Rule is a set of destinations.
type Rule struct {
	// Prefix, masked; IPv4 prefixes are IPv4, never mapped.
	Prefix netip.Prefix
	// Port; 0 is any.
	Port uint16
	// Listener that the rule was made for; empty for exclusions.
	Listener string
	// Origin says which part of the configuration the rule comes from, for people.
	Origin string
	// Policy of the rbac filters that the kernel evaluates; nil for none. Kept says why there are some that it does not.
	Policy *steer.Policy
	Kept   string
}

// Plan is what is to be captured.
type Plan struct {
	// Cgroups are patterns, as in steer.Plan.
	Cgroups []string
	// Rules are the destinations for which there is an inbound listener; Excludes win over them.
	Rules, Excludes []Rule
	// FailClosed refuses what should be captured while the proxy has no socket for it.
	FailClosed bool
	// Loopback captures connections to loopback addresses, too.
	Loopback bool
	// Names tells that applications are to see the addresses of some clients.
	Names bool
}

// numbered is the rule with a number, the first with 1, among those of the plan or its exclusions; nil for a number that there is none of.
func (p *Plan) numbered(number uint32, excluded bool) *Rule {
	rules := p.Rules
	if excluded {
		rules = p.Excludes
	}
	if number == 0 || int(number) > len(rules) {
		return nil
	}
	return &rules[number-1]
}

// Empty tells whether nothing is to be captured.
func (p *Plan) Empty() bool { return p == nil || len(p.Rules) == 0 }

// Compile derives the plan of a snapshot. Connections are captured for inbound listeners alone: those with use_original_dst take
// what comes to any captured port, and those with bind_to_port false what comes to their address. It is pure.
func Compile(snap *model.Snapshot) *Plan {
	i := snap.Interception
	if i == nil {
		i = &model.Interception{}
	}
	p := &Plan{Cgroups: i.Cgroups, FailClosed: i.FailClosed, Loopback: i.Inbound.IncludeLoopback}
	if len(p.Cgroups) == 0 {
		p.Cgroups = []string{steer.DefaultCgroup}
	}
	if i.Disabled || i.Inbound.Off {
		return p
	}
	for _, l := range snap.Listeners.All() {
		if l.TrafficDirection == model.TrafficInbound && l.Pipe == "" && l.UDP == nil {
			p.addListener(l, i.Inbound.Include)
			p.Names = p.Names || namesClients(l)
		}
	}
	if len(p.Rules) == 0 {
		return p
	}
	for n, r := range i.Inbound.Exclude {
		p.Excludes = append(p.Excludes, rules(r, fmt.Sprintf("inbound.exclude[%d]", n), "")...)
	}
	p.settle(snap, i)
	return p
}

// namesClients tells whether a listener may have applications see the addresses of its clients.
func namesClients(l *model.Listener) bool {
	return slices.ContainsFunc(l.ListenerFilters, func(f *model.ListenerFilter) bool {
		return f.Discovery != nil || strings.HasSuffix(f.TypeURL, steer.OriginalSrcType)
	})
}

// everything is both families, on the given ports; none means every port.
func everything(ports []uint16) []model.CaptureRange {
	return []model.CaptureRange{
		{Prefix: netip.PrefixFrom(netip.IPv4Unspecified(), 0), Ports: ports},
		{Prefix: netip.PrefixFrom(netip.IPv6Unspecified(), 0), Ports: ports},
	}
}

func (p *Plan) addListener(l *model.Listener, include []model.CaptureRange) {
	origin := "listener " + l.Name
	if l.UseOriginalDst {
		if len(include) == 0 {
			include = everything(nil)
		}
		for _, r := range include {
			p.Rules = append(p.Rules, rules(r, origin, l.Name)...)
		}
	}
	if l.BindToPort {
		return
	}
	for _, addr := range append([]netip.AddrPort{l.Address}, l.AdditionalAddresses...) {
		if !addr.IsValid() || addr.Port() == 0 {
			continue
		}
		for _, r := range rangesOf(addr, l.IPv4Compat) {
			p.Rules = append(p.Rules, rules(r, origin, l.Name)...)
		}
	}
}

// rangesOf is what a listener's address stands for.
func rangesOf(addr netip.AddrPort, ipv4Compat bool) []model.CaptureRange {
	ip, ports := addr.Addr().Unmap().WithZone(""), []uint16{addr.Port()}
	if !ip.IsUnspecified() {
		return []model.CaptureRange{{Prefix: netip.PrefixFrom(ip, ip.BitLen()), Ports: ports}}
	}
	all := everything(ports)
	switch {
	case ip.Is4():
		return all[:1]
	case ipv4Compat:
		return all
	}
	return all[1:]
}

func rules(r model.CaptureRange, origin, listener string) []Rule {
	if len(r.Ports) == 0 {
		return []Rule{{Prefix: r.Prefix, Listener: listener, Origin: origin}}
	}
	var out []Rule
	for _, p := range r.Ports {
		out = append(out, Rule{Prefix: r.Prefix, Port: p, Listener: listener, Origin: origin})
	}
	return out
}

// compare puts rules into an order of their own, so that equal configurations give equal plans.
func compare(a, b Rule) int {
	return cmp.Or(a.Prefix.Addr().Compare(b.Prefix.Addr()), cmp.Compare(a.Prefix.Bits(), b.Prefix.Bits()),
		cmp.Compare(a.Port, b.Port), cmp.Compare(a.Listener, b.Listener))
}

// sameRules tells whether two plans have the same entries in the kernel.
func sameRules(a, b *Plan) bool {
	same := func(x, y Rule) bool { return x.Prefix == y.Prefix && x.Port == y.Port && x.Policy.Same(y.Policy) }
	return slices.EqualFunc(a.Rules, b.Rules, same) && slices.EqualFunc(a.Excludes, b.Excludes, same)
}
