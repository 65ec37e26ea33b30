package steer

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/weir-proxy/weir/pkg/config/model"
)

// Notice tells of a part of the configuration that has no effect on what is captured, and why.
type Notice struct {
	// Resource is the listener's name, or "interception".
	Resource string
	// Field is the path of the field inside the resource.
	Field string
	// Reason in words.
	Reason string
}

// String joins the three.
func (n Notice) String() string { return fmt.Sprintf("%s: %s: %s", n.Resource, n.Field, n.Reason) }

// Rules for the same target come from several places; the lower rank wins.
const (
	rankListener = iota // a listener's own address
	rankInclude         // Interception.Include
	rankLocal           // loopback and the like, left alone by what follows
	rankWildcard        // a listener's any-address
	rankCompat          // the IPv4 half of an [::] listener
	rankCatchAll        // use_original_dst
)

var (
	// every holds the two prefixes that cover all addresses.
	every = [...]netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}
	// local are the destinations that catch-alls leave alone; see the package comment.
	local = [...]netip.Prefix{
		netip.MustParsePrefix("0.0.0.0/32"), netip.MustParsePrefix("127.0.0.0/8"),
		netip.MustParsePrefix("::/128"), netip.MustParsePrefix("::1/128"), netip.MustParsePrefix("fe80::/10"),
	}
)

type compiler struct {
	rules   map[target]ranked
	notices []Notice
	config  model.Interception
}

type ranked struct {
	Rule
	rank int
}

// Compile derives the plan from a snapshot. The notices name what could not be captured and why; they are not errors. The
// result depends on the snapshot's content alone, never on map order. A nil snapshot captures nothing.
func Compile(snap *model.Snapshot) (*Plan, []Notice) {
	if snap == nil {
		return &Plan{}, nil
	}
	c := compiler{rules: make(map[target]ranked)}
	if snap.Interception != nil {
		c.config = *snap.Interception
	}
	catchAll := ""
	for name, listener := range snap.Listeners.Sorted() {
		c.listener(name, listener)
		catchAll = c.chooseCatchAll(catchAll, name, listener)
	}
	c.catchAll(catchAll)
	c.includes(catchAll)
	plan := &Plan{
		Rules:      c.sorted(),
		Excludes:   c.excludes(),
		Cgroups:    slices.Clone(c.config.Cgroups),
		FailClosed: c.config.FailClosed,
		Disabled:   c.config.Disabled,
	}
	if len(plan.Cgroups) == 0 && len(plan.Rules) > 0 {
		plan.Cgroups = []string{DefaultCgroup}
	}
	return plan, c.notices
}

func (c *compiler) notice(resource, field, format string, args ...any) {
	c.notices = append(c.notices, Notice{resource, field, fmt.Sprintf(format, args...)})
}

// add keeps the rule of the lower rank; of the same rank, the first.
func (c *compiler) add(rank int, rule Rule) {
	rule.Prefix = rule.Prefix.Masked()
	before, found := c.rules[rule.target()]
	if found && before.rank <= rank {
		if rank == rankListener && before.rank == rank {
			c.notice(rule.Listener, "address", "%s port %d is already captured for listener %q",
				rule.Prefix, rule.Port, before.Listener)
		}
		return
	}
	c.rules[rule.target()] = ranked{rule, rank}
}

func (c *compiler) listener(name string, l *model.Listener) {
	if l.BindToPort {
		return
	}
	if l.Pipe != "" {
		c.notice(name, "address.pipe", "a unix socket with bind_to_port false cannot be captured")
	}
	if l.Pipe == "" || l.Address.IsValid() {
		c.address(name, l, "address", l.Address)
	}
	for i, addr := range l.AdditionalAddresses {
		c.address(name, l, fmt.Sprintf("additional_addresses[%d]", i), addr)
	}
}

func (c *compiler) address(name string, l *model.Listener, field string, addr netip.AddrPort) {
	if !addr.IsValid() || addr.Port() == 0 {
		c.notice(name, field, "%q with bind_to_port false has no port to capture", addr)
		return
	}
	ip := addr.Addr().Unmap().WithZone("")
	rule := Rule{Port: addr.Port(), Action: Redirect, Listener: name}
	if !ip.IsUnspecified() {
		rule.Prefix, rule.Origin = netip.PrefixFrom(ip, ip.BitLen()), "address of listener "+name
		c.add(rankListener, rule)
		return
	}
	rule.Origin = "any-address of listener " + name
	if ip.Is4() {
		c.wildcard(rankWildcard, every[0], rule)
		return
	}
	c.wildcard(rankWildcard, every[1], rule)
	if l.IPv4Compat {
		c.wildcard(rankCompat, every[0], rule)
	}
}

// wildcard adds the rule for a whole family, and what it leaves alone. Included ranges inside that are captured after all, so
// they are repeated for the port: a rule for the port would otherwise hide them.
func (c *compiler) wildcard(rank int, whole netip.Prefix, rule Rule) {
	rule.Prefix = whole
	c.add(rank, rule)
	for _, prefix := range local {
		if !sameFamily(prefix, whole) {
			continue
		}
		c.add(rankLocal, Rule{Prefix: prefix, Port: rule.Port, Origin: "local address, left alone"})
		for i, r := range c.config.Include {
			if r.Prefix.IsValid() && within(unmapped(r.Prefix), prefix) &&
				(len(r.Ports) == 0 || slices.Contains(r.Ports, rule.Port)) {
				inside := rule
				inside.Prefix, inside.Origin = unmapped(r.Prefix), fmt.Sprintf("include[%d] of interception", i)
				c.add(rankInclude, inside)
			}
		}
	}
}

// chooseCatchAll settles which listener takes what no other one does: the first by name.
func (c *compiler) chooseCatchAll(chosen, name string, l *model.Listener) string {
	if !l.UseOriginalDst || l.TrafficDirection == model.TrafficInbound {
		return chosen
	}
	if chosen != "" {
		c.notice(name, "use_original_dst", "listener %q already takes what no other listener does", chosen)
		return chosen
	}
	return name
}

func (c *compiler) catchAll(name string) {
	if name == "" {
		return
	}
	for _, whole := range every {
		c.wildcard(rankCatchAll, whole, Rule{
			Action: Redirect, Listener: name, Origin: "use_original_dst of listener " + name,
		})
	}
}

func (c *compiler) includes(catchAll string) {
	c.ranges("include", c.config.Include, func(rule Rule) {
		rule.Action, rule.Listener = Redirect, catchAll
		c.add(rankInclude, rule)
		for _, prefix := range local {
			if within(prefix, rule.Prefix) {
				c.add(rankLocal, Rule{Prefix: prefix, Port: rule.Port, Origin: "local address, left alone"})
			}
		}
	})
}

func (c *compiler) excludes() []Rule {
	seen := make(map[target]bool)
	var rules []Rule
	c.ranges("exclude", c.config.Exclude, func(rule Rule) {
		if !seen[rule.target()] {
			seen[rule.target()] = true
			rules = append(rules, rule)
		}
	})
	slices.SortFunc(rules, compareRules)
	return rules
}

// ranges calls yield for each prefix and port of the configured ranges. A range without a prefix is for all addresses.
func (c *compiler) ranges(field string, ranges []model.CaptureRange, yield func(Rule)) {
	for i, r := range ranges {
		prefixes := every[:]
		if r.Prefix.IsValid() {
			prefixes = []netip.Prefix{unmapped(r.Prefix)}
		}
		ports := r.Ports
		if len(ports) == 0 {
			ports = []uint16{0}
		} else if slices.Contains(ports, 0) {
			c.notice("interception", fmt.Sprintf("%s[%d].ports", field, i), "port 0 is no port")
		}
		for _, prefix := range prefixes {
			for _, port := range ports {
				if port != 0 || len(r.Ports) == 0 {
					yield(Rule{Prefix: prefix, Port: port, Origin: fmt.Sprintf("%s[%d] of interception", field, i)})
				}
			}
		}
	}
}

func (c *compiler) sorted() []Rule {
	rules := make([]Rule, 0, len(c.rules))
	for _, r := range c.rules {
		rules = append(rules, r.Rule)
	}
	slices.SortFunc(rules, compareRules)
	return rules
}

// unmapped masks the prefix and turns one of mapped addresses (::ffff:10.0.0.0/104) into the IPv4 prefix that it is.
func unmapped(p netip.Prefix) netip.Prefix {
	p = p.Masked()
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		return netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p
}

func sameFamily(a, b netip.Prefix) bool { return a.Addr().Is4() == b.Addr().Is4() }

// within reports whether all of inner is in outer.
func within(inner, outer netip.Prefix) bool {
	return sameFamily(inner, outer) && inner.Bits() >= outer.Bits() && outer.Contains(inner.Addr())
}
