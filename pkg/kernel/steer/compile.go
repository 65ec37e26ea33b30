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
	rankBound           // the same of a listener that is bound to its port
	rankBoundCompat
	rankCatchAll // use_original_dst
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

// notice keeps a notice for the end of the step.
func (c *Compiler) notice(resource, field, format string, args ...any) {
	c.notices = append(c.notices, Notice{resource, field, fmt.Sprintf(format, args...)})
}

// order puts those of listeners, by name, before those of catch-alls, and those before all others.
func (n Notice) order() int {
	switch {
	case n.Resource == "interception":
		return 2
	case n.Field == "use_original_dst":
		return 1
	}
	return 0
}

// contribution is the candidates of one owner.
type contribution struct {
	*Compiler
	owner owner
	seq   int
}

// add enters a candidate; of the same rank and owner, the first is the best.
func (c *contribution) add(rank int, rule Rule) {
	rule.Prefix = rule.Prefix.Masked()
	to := rule.target()
	p := c.places[to]
	if p == nil {
		p = &place{}
		c.places[to] = p
	}
	c.seq++
	k := candidate{rule, rank, c.owner, c.seq}
	at, _ := slices.BinarySearchFunc(p.candidates, k, compareCandidates)
	p.candidates = slices.Insert(p.candidates, at, k)
	c.parts[c.owner] = append(c.parts[c.owner], to)
	c.dirty[to] = struct{}{}
}

func (c contribution) listener(name string, l *model.Listener) {
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

func (c *contribution) address(name string, l *model.Listener, field string, addr netip.AddrPort) {
	if !addr.IsValid() || addr.Port() == 0 {
		c.notice(name, field, "%q with bind_to_port false has no port to capture", addr)
		return
	}
	rule := Rule{Port: addr.Port(), Action: Redirect, Listener: name}
	if l.UDP != nil {
		rule.Protocol = UDP
	}
	addressRules(c, l, addr.Addr(), rule, addressRanks{rankListener, rankWildcard, rankCompat})
}

// collector takes rules with their ranks, of which the lower wins for the same target.
type collector interface {
	add(rank int, r Rule)
	// wildcard adds the rule for a whole family, and what it leaves alone.
	wildcard(rank int, whole netip.Prefix, r Rule)
}

// addressRanks are those of the rules of a listener's own address, of its any-address, and of the IPv4 half of the any-address of IPv6.
type addressRanks struct{ own, every, compat int }

// addressRules collects the rules of a listener at an address; rule has what they have in common.
func addressRules(to collector, l *model.Listener, at netip.Addr, rule Rule, ranks addressRanks) {
	at = at.Unmap().WithZone("")
	if !at.IsUnspecified() {
		rule.Prefix, rule.Origin = netip.PrefixFrom(at, at.BitLen()), "address of listener "+rule.Listener
		to.add(ranks.own, rule)
		return
	}
	rule.Origin = "any-address of listener " + rule.Listener
	if at.Is4() {
		to.wildcard(ranks.every, every[0], rule)
		return
	}
	to.wildcard(ranks.every, every[1], rule)
	if l.IPv4Compat {
		to.wildcard(ranks.compat, every[0], rule)
	}
}

// wildcard adds the rule for a whole family, and what it leaves alone. Included ranges inside that are captured after all, so
// they are repeated for the port: a rule for the port would otherwise hide them.
func (c *contribution) wildcard(rank int, whole netip.Prefix, rule Rule) {
	rule.Prefix = whole
	c.add(rank, rule)
	for _, prefix := range local {
		if !sameFamily(prefix, whole) {
			continue
		}
		c.add(rankLocal, Rule{Prefix: prefix, Port: rule.Port, Protocol: rule.Protocol, Origin: "local address, left alone"})
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

// catchAll has a listener take what no other one does.
func (c *contribution) catchAll(name string) {
	for _, whole := range every {
		c.wildcard(rankCatchAll, whole, Rule{
			Action: Redirect, Listener: name, Origin: "use_original_dst of listener " + name,
		})
	}
}

// hidden has a listener that is bound to any address take connections to its ports: it is found for them before the catch-all
// is, which only shows when the catch-all leaves connections to the kernel.
func (c *contribution) hidden(name string, l *model.Listener) {
	for _, addr := range anyPorts(l) {
		rule := Rule{Port: addr.Port(), Action: Redirect, Listener: name, Origin: "any-address of listener " + name}
		if addr.Addr().Is4() {
			c.wildcard(rankBound, every[0], rule)
			continue
		}
		c.wildcard(rankBound, every[1], rule)
		if l.IPv4Compat {
			c.wildcard(rankBoundCompat, every[0], rule)
		}
	}
}

// anyPorts are the addresses of a listener that stand for all addresses, with their ports.
func anyPorts(l *model.Listener) []netip.AddrPort {
	var out []netip.AddrPort
	if l.UDP != nil {
		return nil
	}
	for _, a := range append([]netip.AddrPort{l.Address}, l.AdditionalAddresses...) {
		if a.IsValid() && a.Port() != 0 && a.Addr().Unmap().IsUnspecified() {
			out = append(out, netip.AddrPortFrom(a.Addr().Unmap(), a.Port()))
		}
	}
	return out
}

func (c contribution) includes(catchAll string) {
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

func (c *Compiler) excludes() []Rule {
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
func (c *Compiler) ranges(field string, ranges []model.CaptureRange, yield func(Rule)) {
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
