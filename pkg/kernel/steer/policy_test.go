package steer

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-proxy/weir/pkg/config/model"
)

func dest(prefix string) model.RBACRule {
	return model.RBACRule{Kind: model.RBACDestinationIP, Prefix: netip.MustParsePrefix(prefix)}
}

func source(prefix string) model.RBACRule {
	return model.RBACRule{Kind: model.RBACDirectRemoteIP, Prefix: netip.MustParsePrefix(prefix)}
}

func ports(start, end uint32) model.RBACRule {
	return model.RBACRule{Kind: model.RBACDestinationPort, Start: start, End: end}
}

func of(kind model.RBACKind, rules ...model.RBACRule) model.RBACRule {
	return model.RBACRule{Kind: kind, Rules: rules}
}

var anything = []model.RBACRule{{Kind: model.RBACAny}}

func policy(name string, permissions, principals []model.RBACRule) model.RBACPolicy {
	return model.RBACPolicy{Name: name, Permissions: permissions, Principals: principals}
}

func TestCompilePolicy(t *testing.T) {
	type rules = []model.RBACRule
	for _, c := range []struct {
		name     string
		filter   model.NetworkRBAC
		want     string
		kept     string
		noSource bool
	}{
		{name: "nothing to evaluate"},
		{
			name: "deny a prefix", noSource: true,
			filter: model.NetworkRBAC{StatPrefix: "tcp", Rules: &model.RBAC{Action: model.RBACDeny, Policies: []model.RBACPolicy{
				policy("a", rules{dest("10.0.0.0/8")}, anything),
			}}},
			want: "DENY tcp.rbac. shadow=false\n  0: destination 10.0.0.0/8 -> match a, else no match\n",
		},
		{
			name: "no policies", noSource: true,
			filter: model.NetworkRBAC{StatPrefix: "tcp", Rules: &model.RBAC{}},
			want:   "ALLOW tcp.rbac. shadow=false\n  0: any -> no match, else no match\n",
		},
		{
			name: "what never matches is left out", noSource: true,
			filter: model.NetworkRBAC{StatPrefix: "tcp", Rules: &model.RBAC{Policies: []model.RBACPolicy{
				policy("a", rules{ports(5, 5)}, anything), policy("b", anything, anything), policy("c", rules{ports(1, 2)}, anything),
			}}},
			want: "ALLOW tcp.rbac. shadow=false\n  0: any -> match b, else match b\n",
		},
		{
			name: "and, or, not",
			filter: model.NetworkRBAC{StatPrefix: "tcp", Rules: &model.RBAC{Policies: []model.RBACPolicy{
				policy("a", rules{of(model.RBACAnd, dest("10.0.0.0/8"), ports(80, 81)), dest("fd00::/16")},
					rules{of(model.RBACNot, of(model.RBACOr, source("1.0.0.0/8"), source("2.0.0.0/8")))}),
				policy("b", rules{ports(443, 445)}, anything),
			}}},
			want: `ALLOW tcp.rbac. shadow=false
  0: destination 10.0.0.0/8 port 80-80 -> 2, else 1
  1: destination fd00::/16 -> 2, else 4
  2: source 1.0.0.0/8 -> 4, else 3
  3: source 2.0.0.0/8 -> 4, else match a
  4: port 443-444 -> match b, else no match
`,
		},
		{
			name: "shadow rules go first", noSource: true,
			filter: model.NetworkRBAC{
				StatPrefix: "tcp", ShadowStatPrefix: "dry",
				ShadowRules: &model.RBAC{Action: model.RBACLog, Policies: []model.RBACPolicy{policy("a", rules{ports(1, 2)}, anything)}},
				Rules:       &model.RBAC{Policies: []model.RBACPolicy{policy("b", rules{ports(3, 4)}, anything)}},
			},
			want: "LOG tcp.rbac.dry. shadow=true\n  0: port 1-1 -> match a, else no match\n" +
				"ALLOW tcp.rbac. shadow=false\n  1: port 3-3 -> match b, else no match\n",
		},
		{name: "a matcher", filter: model.NetworkRBAC{HasMatcher: true}, kept: "rbac filter 1: matcher needs user space"},
		{name: "a shadow matcher", filter: model.NetworkRBAC{HasShadowMatcher: true}, kept: "rbac filter 1: shadow_matcher needs user space"},
		{name: "continuous", filter: model.NetworkRBAC{Continuous: true}, kept: "rbac filter 1: enforcement_type CONTINUOUS needs user space"},
		{name: "a delay", filter: model.NetworkRBAC{DelayDeny: 1}, kept: "rbac filter 1: delay_deny needs user space"},
		{
			name: "a server name",
			filter: model.NetworkRBAC{Rules: &model.RBAC{Policies: []model.RBACPolicy{
				policy("a", rules{of(model.RBACNot, model.RBACRule{Kind: model.RBACServerName})}, anything),
			}}},
			kept: `rbac filter 1: policies["a"].permissions[0]: requested_server_name needs user space`,
		},
		{
			name: "too many tests",
			filter: model.NetworkRBAC{Rules: &model.RBAC{Policies: []model.RBACPolicy{
				policy("a", scattered(MaxPolicyTests+1), anything),
			}}},
			kept: "rbac filter 1: rules take more than the kernel's 128 tests",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, kept := CompilePolicy([]*model.NetworkRBAC{&c.filter})
			if kept != c.kept {
				t.Fatalf("kept by %q, want %q", kept, c.kept)
			}
			if c.want == "" {
				if p != nil {
					t.Fatalf("policy\n%s", p)
				}
				return
			}
			if diff := cmp.Diff(c.want, p.String()); diff != "" {
				t.Error(diff)
			}
			if p.NeedsSource == c.noSource {
				t.Errorf("needs the source: %t", p.NeedsSource)
			}
		})
	}
}

// scattered are n rules that cannot be one.
func scattered(n int) (out []model.RBACRule) {
	for i := range n {
		out = append(out, ports(uint32(2*i), uint32(2*i+1)))
	}
	return out
}

func TestManyEngines(t *testing.T) {
	var filters []*model.NetworkRBAC
	for range MaxPolicyEngines + 1 {
		filters = append(filters, &model.NetworkRBAC{Rules: &model.RBAC{}})
	}
	if p, _ := CompilePolicy(filters[1:]); p == nil || len(p.Engines) != MaxPolicyEngines {
		t.Errorf("policy %v", p)
	}
	if _, kept := CompilePolicy(filters); kept != "rbac: 9 sets of rules are more than the kernel's 8" {
		t.Errorf("kept by %q", kept)
	}
}

func TestEvaluateDoesNotAllocate(t *testing.T) {
	p, _ := CompilePolicy([]*model.NetworkRBAC{{Rules: &model.RBAC{Action: model.RBACDeny, Policies: []model.RBACPolicy{
		policy("a", scattered(50), []model.RBACRule{source("10.0.0.0/8")}),
	}}}})
	src, dst := netip.MustParseAddrPort("[::ffff:10.0.0.1]:1"), netip.MustParseAddrPort("10.0.0.2:98")
	if n := testing.AllocsPerRun(100, func() {
		if p.Evaluate(src, dst).Allowed {
			t.Fatal("allowed")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// answers evaluates a rule as it reads.
func answers(r *model.RBACRule, src, dst netip.AddrPort) bool {
	switch r.Kind {
	case model.RBACAny:
		return true
	case model.RBACAnd:
		for i := range r.Rules {
			if !answers(&r.Rules[i], src, dst) {
				return false
			}
		}
		return true
	case model.RBACOr:
		for i := range r.Rules {
			if answers(&r.Rules[i], src, dst) {
				return true
			}
		}
		return false
	case model.RBACNot:
		return !answers(&r.Rules[0], src, dst)
	case model.RBACDestinationIP:
		return r.Prefix.Contains(dst.Addr())
	case model.RBACDirectRemoteIP:
		return r.Prefix.Contains(src.Addr())
	}
	return r.Start <= uint32(dst.Port()) && uint32(dst.Port()) < r.End
}

// parser makes rules of bytes.
type parser struct{ left []byte }

func (p *parser) next() byte {
	if len(p.left) == 0 {
		return 0
	}
	b := p.left[0]
	p.left = p.left[1:]
	return b
}

func (p *parser) addr() netip.Addr {
	if b := p.next(); b%2 == 0 {
		return netip.AddrFrom4([4]byte{10, b, 0, p.next()})
	}
	return netip.AddrFrom16([16]byte{0: p.next(), 15: p.next()})
}

func (p *parser) rule(depth int) model.RBACRule {
	kind := model.RBACKind(p.next() % 8)
	switch {
	case depth > 0 && kind == model.RBACNot:
		return of(kind, p.rule(depth-1))
	case depth > 0 && (kind == model.RBACAnd || kind == model.RBACOr):
		r := of(kind)
		for range p.next() % 4 {
			r.Rules = append(r.Rules, p.rule(depth-1))
		}
		return r
	case kind == model.RBACDestinationIP || kind == model.RBACDirectRemoteIP:
		a := p.addr()
		prefix, _ := a.Prefix(int(p.next()) % (a.BitLen() + 1))
		return model.RBACRule{Kind: kind, Prefix: prefix}
	case kind == model.RBACDestinationPort:
		start := uint32(p.next()) << 8
		return ports(start, start+uint32(p.next()))
	}
	return model.RBACRule{Kind: model.RBACAny}
}

func FuzzCompilePolicy(f *testing.F) {
	f.Add([]byte{1, 2, 1, 2, 4, 10, 1, 8, 5, 0, 80, 2, 3, 1, 6, 1, 2, 3, 4, 5, 6, 7})
	f.Add([]byte{0, 0})
	f.Add([]byte(strings.Repeat("\x02\x03\x01\x05", 60)))
	f.Fuzz(func(t *testing.T, data []byte) {
		p := &parser{data}
		rules := &model.RBAC{Action: model.RBACAction(p.next() % 3)}
		for i := range p.next() % 4 {
			one := model.RBACPolicy{Name: fmt.Sprint(i)}
			for range p.next() % 4 {
				one.Permissions = append(one.Permissions, p.rule(4))
			}
			for range p.next() % 4 {
				one.Principals = append(one.Principals, p.rule(4))
			}
			rules.Policies = append(rules.Policies, one)
		}
		compiled, kept := CompilePolicy([]*model.NetworkRBAC{{Rules: rules}})
		if (compiled == nil) == (kept == "") {
			t.Fatalf("policy %v, kept by %q", compiled, kept)
		}
		if compiled == nil {
			return
		}
		for range 8 {
			src, dst := netip.AddrPortFrom(p.addr(), 1), netip.AddrPortFrom(p.addr(), uint16(p.next())<<8)
			matched := ""
			for i := range rules.Policies {
				one := &rules.Policies[i]
				if matched == "" && someAnswer(one.Permissions, src, dst) && someAnswer(one.Principals, src, dst) {
					matched = one.Name
				}
			}
			want := PolicyVerdict{Allowed: true, Engine: -1}
			if rules.Action == model.RBACAllow && matched == "" || rules.Action == model.RBACDeny && matched != "" {
				want = PolicyVerdict{Policy: matched}
			}
			if got := compiled.Evaluate(src, dst); got != want {
				t.Fatalf("%s -> %s: %+v, want %+v\n%s", src, dst, got, want, compiled)
			}
		}
	})
}

func someAnswer(rules []model.RBACRule, src, dst netip.AddrPort) bool {
	r := of(model.RBACOr, rules...)
	return answers(&r, src, dst)
}
