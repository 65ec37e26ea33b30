package steer

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/weir-proxy/weir/pkg/config/model"
)

// Bounds of a Policy, those of struct weir_policy.
const (
	MaxPolicyTests   = 128
	MaxPolicyEngines = 8
)

// Policy is what the network filters rbac in front of a TCP proxy decide, in the form that the kernel evaluates: tests of addresses
// and ports, each of which leads to a later one or to an answer. It is not written once it is compiled.
type Policy struct {
	// Engines are asked in their order; the first one that denies and is enforced decides.
	Engines []PolicyEngine
	// Tests of all engines, one engine's after the other's.
	Tests []PolicyTest
	// NeedsSource tells that some test is about the source, which is not known before the kernel has chosen a route.
	NeedsSource bool
}

// PolicyEngine is one set of rules.
type PolicyEngine struct {
	// Stat is where its results are counted: Stat + "allowed" and Stat + "denied", which begin with "shadow_" for shadow rules.
	Stat   string
	Action model.RBACAction
	// Shadow rules are counted, and decide nothing.
	Shadow bool
	// Entry is the first of its tests.
	Entry int
	// Policies are the names of the configured policies, which Match answers count.
	Policies []string
}

// PolicyTest holds when the address is in Prefix and the destination port from First to Last.
type PolicyTest struct {
	// Source tells that Prefix is about the source, rather than the destination.
	Source bool
	// Prefix matches addresses of its own family; the invalid one matches all.
	Prefix      netip.Prefix
	First, Last uint16
	// Yes and No are where to go: the number of a later test, NoMatch, or Match and the number of a policy.
	Yes, No int
}

// Answers of an engine, beside the numbers of tests.
const (
	// Match is the answer that the first policy matches; those that follow are for the next ones.
	Match = 1 << 14
	// NoMatch is the answer that none does.
	NoMatch = 1<<15 - 1
)

// PolicyVerdict is what a Policy says about a connection.
type PolicyVerdict struct {
	Allowed bool
	// Engine that denied it, and the name of the policy that matched there, if one did; -1 and "" when it is allowed.
	Engine int
	Policy string
}

// CompilePolicy makes one policy of filters that follow each other. Without filters that evaluate anything it is nil. The string
// says what only user space can decide; the policy is nil then.
func CompilePolicy(filters []*model.NetworkRBAC) (*Policy, string) {
	c := policyCompiler{out: &Policy{}}
	for i, f := range filters {
		if kept := rbacField(f); kept != "" {
			return nil, fmt.Sprintf("rbac filter %d: %s needs user space", i+1, kept)
		}
		stat := f.StatPrefix + ".rbac."
		shadow := stat
		if f.ShadowStatPrefix != "" {
			shadow += f.ShadowStatPrefix + "."
		}
		for _, e := range []struct {
			rules *model.RBAC
			PolicyEngine
		}{{f.ShadowRules, PolicyEngine{Stat: shadow, Shadow: true}}, {f.Rules, PolicyEngine{Stat: stat}}} {
			if e.rules == nil {
				continue
			}
			if kept := c.engine(e.rules, e.PolicyEngine); kept != "" {
				return nil, fmt.Sprintf("rbac filter %d: %s", i+1, kept)
			}
		}
	}
	switch {
	case len(c.out.Engines) == 0:
		return nil, ""
	case len(c.out.Engines) > MaxPolicyEngines:
		return nil, fmt.Sprintf("rbac: %d sets of rules are more than the kernel's %d", len(c.out.Engines), MaxPolicyEngines)
	case len(c.out.Tests) > MaxPolicyTests:
		return nil, fmt.Sprintf("rbac: %d tests are more than the kernel's %d", len(c.out.Tests), MaxPolicyTests)
	}
	return c.out, ""
}

// Same tells whether two policies decide alike and count in the same places; both may be nil.
func (p *Policy) Same(other *Policy) bool {
	if p == nil || other == nil {
		return p == other
	}
	return slices.Equal(p.Tests, other.Tests) && slices.EqualFunc(p.Engines, other.Engines, func(a, b PolicyEngine) bool {
		return a.Stat == b.Stat && a.Action == b.Action && a.Shadow == b.Shadow && a.Entry == b.Entry && slices.Equal(a.Policies, b.Policies)
	})
}

// rbacField is a field of a filter that the kernel does not carry out.
func rbacField(f *model.NetworkRBAC) string {
	switch {
	case f.HasMatcher:
		return "matcher"
	case f.HasShadowMatcher:
		return "shadow_matcher"
	case f.Continuous:
		return "enforcement_type CONTINUOUS"
	case f.DelayDeny > 0:
		return "delay_deny"
	}
	return ""
}

// policyCompiler collects tests. Where a test leads to is a label until the engine's tests are complete: the position of one is
// not known before those in front of it are there.
type policyCompiler struct {
	out    *Policy
	labels []int // where each label is
}

// Labels of tests under way are negative.
func (c *policyCompiler) label() int {
	c.labels = append(c.labels, -1)
	return -len(c.labels)
}

func (c *policyCompiler) place(label int) { c.labels[-label-1] = len(c.out.Tests) }

func (c *policyCompiler) engine(rules *model.RBAC, e PolicyEngine) (kept string) {
	e.Action, e.Entry = rules.Action, len(c.out.Tests)
	c.labels = c.labels[:0]
	var ask []condition
	for i := range rules.Policies {
		p := &rules.Policies[i]
		both, kept := policyCondition(p)
		if kept != "" {
			return kept
		}
		e.Policies = append(e.Policies, p.Name)
		ask = append(ask, both)
	}
	asked := worthAsking(ask)
	for n, i := range asked {
		next := NoMatch
		if last := n == len(asked)-1; !last {
			next = c.label()
		}
		c.emit(&ask[i], Match+i, next)
		if next < 0 {
			c.place(next)
		}
		if len(c.out.Tests) > MaxPolicyTests {
			return fmt.Sprintf("rules take more than the kernel's %d tests", MaxPolicyTests)
		}
	}
	if len(asked) == 0 {
		c.test(PolicyTest{Last: 65535}, NoMatch, NoMatch)
	}
	for i := e.Entry; i < len(c.out.Tests); i++ {
		t := &c.out.Tests[i]
		t.Yes, t.No = c.resolve(t.Yes), c.resolve(t.No)
	}
	c.out.Engines = append(c.out.Engines, e)
	return ""
}

// worthAsking are the positions of the conditions that may match first.
func worthAsking(list []condition) (out []int) {
	for i := range list {
		if list[i].kind != never {
			out = append(out, i)
		}
		if list[i].kind == always {
			break
		}
	}
	return out
}

func (c *policyCompiler) resolve(to int) int {
	if to < 0 {
		return c.labels[-to-1]
	}
	return to
}

func (c *policyCompiler) test(t PolicyTest, yes, no int) {
	t.Yes, t.No = yes, no
	c.out.NeedsSource = c.out.NeedsSource || t.Source
	c.out.Tests = append(c.out.Tests, t)
}

// emit writes the tests of a condition other than never.
func (c *policyCompiler) emit(k *condition, yes, no int) {
	switch k.kind {
	case always:
		c.test(PolicyTest{Last: 65535}, yes, yes)
	case single:
		c.test(k.test, yes, no)
	case negation:
		c.emit(&k.parts[0], no, yes)
	case all, some:
		for i := range k.parts {
			if len(c.out.Tests) > MaxPolicyTests {
				return
			}
			if i == len(k.parts)-1 {
				c.emit(&k.parts[i], yes, no)
				return
			}
			next := c.label()
			if k.kind == all {
				c.emit(&k.parts[i], next, no)
			} else {
				c.emit(&k.parts[i], yes, next)
			}
			c.place(next)
		}
	}
}

// Evaluate is what the kernel does with the policy.
func (p *Policy) Evaluate(src, dst netip.AddrPort) PolicyVerdict {
	src, dst = netip.AddrPortFrom(src.Addr().Unmap().WithZone(""), src.Port()), netip.AddrPortFrom(dst.Addr().Unmap().WithZone(""), dst.Port())
	for n := range p.Engines {
		e := &p.Engines[n]
		at := e.Entry
		for at < len(p.Tests) {
			if p.Tests[at].holds(src.Addr(), dst) {
				at = p.Tests[at].Yes
			} else {
				at = p.Tests[at].No
			}
		}
		matched := at != NoMatch
		if !e.Shadow && (e.Action == model.RBACAllow && !matched || e.Action == model.RBACDeny && matched) {
			v := PolicyVerdict{Engine: n}
			if matched {
				v.Policy = e.Policies[at-Match]
			}
			return v
		}
	}
	return PolicyVerdict{Allowed: true, Engine: -1}
}

func (t *PolicyTest) holds(src netip.Addr, dst netip.AddrPort) bool {
	addr := dst.Addr()
	if t.Source {
		addr = src
	}
	return (!t.Prefix.IsValid() || t.Prefix.Contains(addr)) && t.First <= dst.Port() && dst.Port() <= t.Last
}

// String lists the tests for people and golden files.
func (p *Policy) String() string {
	var b strings.Builder
	for n := range p.Engines {
		e := &p.Engines[n]
		fmt.Fprintf(&b, "%s %s shadow=%t\n", [...]string{"ALLOW", "DENY", "LOG"}[e.Action], e.Stat, e.Shadow)
		end := len(p.Tests)
		if n+1 < len(p.Engines) {
			end = p.Engines[n+1].Entry
		}
		for i := e.Entry; i < end; i++ {
			t := &p.Tests[i]
			fmt.Fprintf(&b, "  %d: %s -> %s, else %s\n", i, t, e.answer(t.Yes), e.answer(t.No))
		}
	}
	return b.String()
}

// String describes the test alone.
func (t *PolicyTest) String() string {
	var parts []string
	if t.Prefix.IsValid() {
		parts = append(parts, map[bool]string{true: "source ", false: "destination "}[t.Source]+t.Prefix.String())
	}
	if t.First > 0 || t.Last < 65535 {
		parts = append(parts, fmt.Sprintf("port %d-%d", t.First, t.Last))
	}
	if len(parts) == 0 {
		return "any"
	}
	return strings.Join(parts, " ")
}

func (e *PolicyEngine) answer(to int) string {
	switch {
	case to == NoMatch:
		return "no match"
	case to >= Match:
		return "match " + e.Policies[to-Match]
	}
	return fmt.Sprint(to)
}
