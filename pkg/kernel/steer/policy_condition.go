package steer

import (
	"fmt"
	"net/netip"

	"github.com/weir-proxy/weir/pkg/config/model"
)

// condition is a permission, a principal or a policy without what never changes an answer: parts of all and some are neither
// always nor never, and there are at least two of them.
type condition struct {
	kind  conditionKind
	parts []condition
	test  PolicyTest
}

type conditionKind uint8

const (
	always conditionKind = iota
	never
	single
	negation
	all
	some
)

// policyCondition is what a policy asks. kept names what only user space can answer.
func policyCondition(p *model.RBACPolicy) (c condition, kept string) {
	var both [2]condition
	for i, side := range []struct {
		name  string
		rules []model.RBACRule
	}{{"permissions", p.Permissions}, {"principals", p.Principals}} {
		var parts []condition
		for j := range side.rules {
			part, kept := ruleCondition(&side.rules[j])
			if kept != "" {
				return c, fmt.Sprintf("policies[%q].%s[%d]: %s needs user space", p.Name, side.name, j, kept)
			}
			parts = append(parts, part)
		}
		both[i] = joined(some, parts)
	}
	return joined(all, both[:]), ""
}

// ruleCondition is what a permission or principal asks.
func ruleCondition(r *model.RBACRule) (c condition, kept string) {
	switch r.Kind {
	case model.RBACAny:
		return condition{kind: always}, ""
	case model.RBACAnd, model.RBACOr, model.RBACNot:
		var parts []condition
		for i := range r.Rules {
			part, kept := ruleCondition(&r.Rules[i])
			if kept != "" {
				return c, kept
			}
			parts = append(parts, part)
		}
		switch r.Kind {
		case model.RBACAnd:
			return joined(all, parts), ""
		case model.RBACOr:
			return joined(some, parts), ""
		}
		return negated(parts[0]), ""
	case model.RBACDestinationIP:
		return condition{kind: single, test: PolicyTest{Prefix: r.Prefix, Last: 65535}}, ""
	case model.RBACSourceIP, model.RBACRemoteIP, model.RBACDirectRemoteIP:
		return condition{kind: single, test: PolicyTest{Source: true, Prefix: r.Prefix, Last: 65535}}, ""
	case model.RBACDestinationPort:
		return portCondition(r.Start, r.End), ""
	}
	return c, ruleName(r.Kind)
}

func portCondition(start, end uint32) condition {
	end = min(end, 65536)
	switch {
	case start >= end:
		return condition{kind: never}
	case start == 0 && end == 65536:
		return condition{kind: always}
	}
	return condition{kind: single, test: PolicyTest{First: uint16(start), Last: uint16(end - 1)}}
}

func ruleName(k model.RBACKind) string {
	switch k {
	case model.RBACServerName:
		return "requested_server_name"
	case model.RBACAuthenticated:
		return "authenticated"
	case model.RBACMetadata:
		return "metadata"
	case model.RBACFilterState:
		return "filter_state"
	case model.RBACHeader:
		return "header"
	}
	return "url_path"
}

func negated(c condition) condition {
	switch c.kind {
	case always:
		return condition{kind: never}
	case never:
		return condition{kind: always}
	case negation:
		return c.parts[0]
	}
	return condition{kind: negation, parts: []condition{c}}
}

// joined is the conjunction or disjunction of conditions.
func joined(kind conditionKind, parts []condition) condition {
	neutral, decisive := always, never
	if kind == some {
		neutral, decisive = never, always
	}
	var left []condition
	for _, p := range parts {
		switch p.kind {
		case neutral:
		case decisive:
			return condition{kind: decisive}
		case kind:
			left = append(left, p.parts...)
		default:
			left = append(left, p)
		}
	}
	switch len(left) {
	case 0:
		return condition{kind: neutral}
	case 1:
		return left[0]
	}
	if kind == all {
		left = merged(left)
	}
	if len(left) == 1 {
		return left[0]
	}
	return condition{kind: kind, parts: left}
}

// merged puts a prefix of the destination and a range of ports that both have to hold into one test.
func merged(parts []condition) []condition {
	prefix, port := -1, -1
	for i := range parts {
		if t := &parts[i].test; parts[i].kind == single && t.Prefix.IsValid() && !t.Source && t.First == 0 && t.Last == 65535 {
			prefix = i
		} else if parts[i].kind == single && t.Prefix == (netip.Prefix{}) {
			port = i
		}
	}
	if prefix < 0 || port < 0 {
		return parts
	}
	out := make([]condition, 0, len(parts)-1)
	for i, p := range parts {
		switch i {
		case prefix:
			p.test.First, p.test.Last = parts[port].test.First, parts[port].test.Last
		case port:
			continue
		}
		out = append(out, p)
	}
	return out
}
