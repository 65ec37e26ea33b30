package steer

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/weir-proxy/weir/pkg/config/model"
)

// ofConnections is a listener that takes connections, else nil; l may be nil. Those of datagrams have a plan of their own.
func ofConnections(l *model.Listener) *model.Listener {
	if l != nil && l.UDP != nil {
		return nil
	}
	return l
}

// Ranks of the rules for datagrams, the lower wins for the same target.
const (
	udpPolicy   = iota // Interception.UDP
	udpListener        // a listener's own address
	udpLocal           // loopback and the like, left alone by what follows
	udpWildcard        // a listener's any-address
	udpCompat          // the IPv4 half of an [::] listener
	udpCatchAll        // use_original_dst
)

// datagrams collects the rules of a plan of datagrams.
type datagrams struct {
	rules   map[target]rankedRule
	notices []Notice
}

type rankedRule struct {
	Rule
	rank int
}

// CompileUDP derives from a snapshot what happens to datagrams: those to the addresses of listeners of datagrams with bind_to_port
// false go to weir, and where such a listener has use_original_dst everything else does, but for local destinations. What
// Interception.UDP says of a destination goes first. Without either, the plan has no rules, and nothing needs to be done.
// Exclusions are those of connections, and listeners of traffic direction INBOUND have no part in it. The result depends on the snapshot's content alone. It looks at all listeners:
// give it a snapshot with those of datagrams alone.
func CompileUDP(snap *model.Snapshot) (*Plan, []Notice) {
	if snap == nil {
		return &Plan{}, nil
	}
	d := datagrams{rules: map[target]rankedRule{}}
	var config model.Interception
	if snap.Interception != nil {
		config = *snap.Interception
	}
	catchAll := ""
	for name, l := range snap.Listeners.Sorted() {
		if l.UDP == nil || outgoing(l) == nil {
			continue
		}
		d.listener(name, l)
		if l.UseOriginalDst && catchAll == "" {
			catchAll = name
		}
	}
	if catchAll != "" {
		rule := Rule{Protocol: UDP, Action: Redirect, Listener: catchAll, Origin: "use_original_dst of listener " + catchAll}
		for _, whole := range every {
			d.wildcard(udpCatchAll, whole, rule)
		}
	}
	d.policies(config.UDP)
	plan := &Plan{FailClosed: config.FailClosed, Disabled: config.Disabled, Cgroups: slices.Clone(config.Cgroups)}
	for _, r := range d.rules {
		plan.Rules = append(plan.Rules, r.Rule)
	}
	slices.SortFunc(plan.Rules, compareRules)
	if len(plan.Rules) == 0 {
		return &Plan{}, d.notices
	}
	if len(plan.Cgroups) == 0 {
		plan.Cgroups = []string{DefaultCgroup}
	}
	plan.Excludes = udpExcludes(config.Exclude)
	return plan, d.notices
}

func (d *datagrams) notice(resource, field, format string, args ...any) {
	d.notices = append(d.notices, Notice{resource, field, fmt.Sprintf(format, args...)})
}

// add keeps the rule of the lower rank; of the same rank, the first.
func (d *datagrams) add(rank int, rule Rule) {
	rule.Prefix, rule.Protocol = rule.Prefix.Masked(), UDP
	before, found := d.rules[rule.target()]
	if found && before.rank <= rank {
		if rank == udpListener && before.rank == rank {
			d.notice(rule.Listener, "address", "%s port %d is already captured for listener %q", rule.Prefix, rule.Port, before.Listener)
		}
		return
	}
	d.rules[rule.target()] = rankedRule{rule, rank}
}

func (d *datagrams) listener(name string, l *model.Listener) {
	if l.BindToPort {
		return
	}
	for i, addr := range append([]netip.AddrPort{l.Address}, l.AdditionalAddresses...) {
		field := "address"
		if i > 0 {
			field = fmt.Sprintf("additional_addresses[%d]", i-1)
		}
		d.address(name, l, field, addr)
	}
}

func (d *datagrams) address(name string, l *model.Listener, field string, addr netip.AddrPort) {
	if !addr.IsValid() || addr.Port() == 0 {
		if !l.UseOriginalDst {
			d.notice(name, field, "%q with bind_to_port false has no port to capture", addr)
		}
		return
	}
	rule := Rule{Port: addr.Port(), Action: Redirect, Listener: name}
	addressRules(d, l, addr.Addr(), rule, addressRanks{udpListener, udpWildcard, udpCompat})
}

// wildcard adds the rule for a whole family, and what it leaves alone. Resolvers on the host's loopback, such as that of
// systemd, are among it: who means those gives the listener their address.
func (d *datagrams) wildcard(rank int, whole netip.Prefix, rule Rule) {
	rule.Prefix = whole
	d.add(rank, rule)
	for _, prefix := range slices.Concat(local[:], groups[:]) {
		if sameFamily(prefix, whole) {
			d.add(udpLocal, Rule{Prefix: prefix, Port: rule.Port, Origin: "local address, left alone"})
		}
	}
}

// groups are destinations that are more than one host.
var groups = [...]netip.Prefix{
	netip.MustParsePrefix("224.0.0.0/4"), netip.MustParsePrefix("255.255.255.255/32"), netip.MustParsePrefix("ff00::/8"),
}

// policies adds what the configuration says of destinations.
func (d *datagrams) policies(list []model.UDPPolicy) {
	actions := map[model.UDPAction]Action{model.UDPPass: Pass, model.UDPProxied: Redirect, model.UDPRefuse: Refuse}
	for _, p := range list {
		ports := p.Ports
		if len(ports) == 0 {
			ports = []uint16{0}
		}
		for _, port := range ports {
			d.add(udpPolicy, Rule{
				Prefix: unmapped(p.Prefix), Port: port, Action: actions[p.Action], Origin: fmt.Sprintf("udp.rules[%d] of interception", p.Rule),
			})
		}
	}
}

// udpExcludes are the exclusions, for datagrams.
func udpExcludes(ranges []model.CaptureRange) []Rule {
	seen := map[target]bool{}
	var rules []Rule
	for i, r := range ranges {
		prefixes := every[:]
		if r.Prefix.IsValid() {
			prefixes = []netip.Prefix{unmapped(r.Prefix)}
		}
		ports := r.Ports
		if len(ports) == 0 {
			ports = []uint16{0}
		}
		for _, prefix := range prefixes {
			for _, port := range ports {
				rule := Rule{Prefix: prefix, Port: port, Protocol: UDP, Origin: fmt.Sprintf("exclude[%d] of interception", i)}
				if !seen[rule.target()] {
					seen[rule.target()] = true
					rules = append(rules, rule)
				}
			}
		}
	}
	slices.SortFunc(rules, compareRules)
	return rules
}
