package steer

import (
	"cmp"
	"net/netip"
	"slices"
)

// DefaultCgroup is the cgroup whose processes are captured when none is configured: the one that weirctl exec uses.
const DefaultCgroup = "weir.exec"

// Action says what a rule does with a connection.
type Action uint8

// Actions, in the numbers of the kernel side (enum weir_action), which has more of them.
const (
	// Pass leaves the connection alone.
	Pass Action = iota
	// Redirect gives it to weir.
	Redirect
	// Refuse makes the attempt fail. Only rules of datagrams do.
	Refuse
	// Offload sends it to an endpoint of the rule's service, past weir.
	Offload
)

// String returns "pass", "redirect", "refuse" or "offload".
func (a Action) String() string {
	switch a {
	case Redirect:
		return "redirect"
	case Refuse:
		return "refuse"
	case Offload:
		return "offload"
	}
	return "pass"
}

// Protocol is the transport protocol that a rule is for.
type Protocol uint8

// Protocols; the zero value is TCP.
const (
	TCP Protocol = iota
	UDP
)

// String returns "tcp" or "udp".
func (p Protocol) String() string {
	if p == UDP {
		return "udp"
	}
	return "tcp"
}

// Rule says what happens to connections to a set of addresses on one port.
type Rule struct {
	// Prefix of the destination, masked; IPv4 prefixes are IPv4, never mapped.
	Prefix netip.Prefix
	// Port of the destination; 0 is any. A rule for the port is preferred to one for any port, then the longer prefix wins.
	Port uint16
	// Protocol of the connection.
	Protocol Protocol
	// Action for the connection.
	Action Action
	// Listener that the rule was made for; empty for passed connections, and where only the original destination decides.
	Listener string
	// Service that an offloaded connection goes to.
	Service string
	// Kept says what keeps the connections of a redirecting rule in user space; empty for other actions, and where only the
	// original destination decides.
	Kept string
	// Origin says which part of the configuration the rule comes from, for people.
	Origin string
}

// Plan is everything that the kernel needs to know. The zero value captures nothing.
type Plan struct {
	// Rules by protocol, port, family and prefix; at most one for each.
	Rules []Rule
	// Excludes are looked up first; whatever they cover is passed. Their Action is Pass.
	Excludes []Rule
	// Cgroups are paths or globs below the cgroup v2 root.
	Cgroups []string
	// FailClosed refuses what should be captured while it cannot be, instead of passing it.
	FailClosed bool
	// Disabled passes everything.
	Disabled bool
}

// Numbered is the rule with a number, the first with 1, among those of the plan or its exclusions; nil for a number that there is none of.
func (p *Plan) Numbered(number uint32, excluded bool) *Rule {
	rules := p.Rules
	if excluded {
		rules = p.Excludes
	}
	if number == 0 || int(number) > len(rules) {
		return nil
	}
	return &rules[number-1]
}

// target is what a rule is about; a plan has one rule for each.
type target struct {
	prefix   netip.Prefix
	port     uint16
	protocol Protocol
}

func (r Rule) target() target { return target{r.Prefix, r.Port, r.Protocol} }

// compareRules orders by protocol, port, then family, address and prefix length.
func compareRules(a, b Rule) int {
	return cmp.Or(
		cmp.Compare(a.Protocol, b.Protocol),
		cmp.Compare(a.Port, b.Port),
		a.Prefix.Addr().Compare(b.Prefix.Addr()),
		cmp.Compare(a.Prefix.Bits(), b.Prefix.Bits()),
	)
}

// Listeners returns the names that the rules mention, sorted, each once.
func (p *Plan) Listeners() []string {
	var names []string
	for _, rule := range p.Rules {
		if rule.Listener != "" {
			names = append(names, rule.Listener)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// Change is the difference between two plans.
type Change struct {
	// Added and Removed are rules whose target is in one plan only; Altered is the new form of rules with the same target.
	Added, Removed, Altered []Rule
	// AddedExcludes and RemovedExcludes are the same for the exclusions.
	AddedExcludes, RemovedExcludes []Rule
	// Cgroups and Policy tell whether the cgroup patterns, or FailClosed or Disabled, differ.
	Cgroups, Policy bool
}

// Empty reports that the plans are the same.
func (c Change) Empty() bool { return !c.Cgroups && !c.Policy && !c.Rules() }

// Rules reports that rules or exclusions differ.
func (c Change) Rules() bool {
	return len(c.Added)+len(c.Removed)+len(c.Altered)+len(c.AddedExcludes)+len(c.RemovedExcludes) > 0
}

// Diff returns what changes from one plan to the next, in the plans' order. A nil plan is an empty one.
func Diff(from, to *Plan) Change {
	from, to = cmp.Or(from, &Plan{}), cmp.Or(to, &Plan{})
	var c Change
	c.Added, c.Removed, c.Altered = diffRules(from.Rules, to.Rules)
	c.AddedExcludes, c.RemovedExcludes, _ = diffRules(from.Excludes, to.Excludes)
	c.Cgroups = !slices.Equal(from.Cgroups, to.Cgroups)
	c.Policy = from.FailClosed != to.FailClosed || from.Disabled != to.Disabled
	return c
}

// Common returns the plan to without the rules and exclusions whose target from has not.
func Common(from, to *Plan) *Plan {
	out := *to
	out.Rules, out.Excludes = commonRules(from.Rules, to.Rules), commonRules(from.Excludes, to.Excludes)
	return &out
}

func commonRules(from, to []Rule) []Rule {
	old := make(map[target]struct{}, len(from))
	for _, rule := range from {
		old[rule.target()] = struct{}{}
	}
	var both []Rule
	for _, rule := range to {
		if _, found := old[rule.target()]; found {
			both = append(both, rule)
		}
	}
	return both
}

func diffRules(from, to []Rule) (added, removed, altered []Rule) {
	old := make(map[target]Rule, len(from))
	for _, rule := range from {
		old[rule.target()] = rule
	}
	for _, rule := range to {
		before, found := old[rule.target()]
		switch {
		case !found:
			added = append(added, rule)
		case before != rule:
			altered = append(altered, rule)
		}
		delete(old, rule.target())
	}
	for _, rule := range from {
		if _, gone := old[rule.target()]; gone {
			removed = append(removed, rule)
		}
	}
	return added, removed, altered
}
