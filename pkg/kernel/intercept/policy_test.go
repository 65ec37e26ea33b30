package intercept

import (
	"bytes"
	_ "embed"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/kernel/kerneltest"
	"github.com/weir-proxy/weir/pkg/kernel/program"
	"github.com/weir-proxy/weir/pkg/kernel/steer"
	"github.com/weir-proxy/weir/pkg/kernel/wirepolicy"
	"github.com/weir-proxy/weir/pkg/proxy/matcher"
	"github.com/weir-proxy/weir/pkg/proxy/rbac"
	"github.com/weir-proxy/weir/pkg/proxy/streaminfo"
)

// policyCode is bpf/policy.bpf.c: the evaluation alone.
//
//go:embed policy_bpfel.o
var policyCode []byte

func policySpec(t testing.TB) *ebpf.CollectionSpec {
	t.Helper()
	spec, err := ebpf.LoadCollectionSpecFromReader(bytes.NewReader(policyCode))
	if err != nil {
		t.Fatal(err)
	}
	return spec
}

func TestPolicyStructsMatchTheObject(t *testing.T) {
	kerneltest.Structs(t, policySpec(t), map[string]reflect.Type{
		"policy_test": reflect.TypeFor[wirePolicyTest](), "policy_engine": reflect.TypeFor[wirePolicyEngine](),
		"weir_policy": reflect.TypeFor[wirePolicy](), "policy_query": reflect.TypeFor[wirePolicyQuery](),
		"policy_run": reflect.TypeFor[wirePolicyRun](),
	})
}

// evaluator runs policies in the kernel.
type evaluator struct {
	run      *ebpf.Program
	policies *ebpf.Map
}

func newEvaluator(t testing.TB) *evaluator {
	t.Helper()
	c, err := ebpf.NewCollection(policySpec(t))
	if err != nil {
		t.Fatal(program.Refusal(err))
	}
	t.Cleanup(c.Close)
	return &evaluator{c.Programs["weir_policy_run"], c.Maps["weir_policies"]}
}

func (e *evaluator) put(t testing.TB, id uint32, p *steer.Policy) {
	t.Helper()
	w, err := wirepolicy.Of(p)
	if err != nil {
		t.Fatalf("%v\n%s", err, p)
	}
	if err := e.policies.Put(&id, w); err != nil {
		t.Fatal(err)
	}
}

func (e *evaluator) evaluate(t testing.TB, id uint32, p *steer.Policy, src, dst netip.AddrPort) steer.PolicyVerdict {
	t.Helper()
	data := policyRunOf(t, id, src, dst)
	out := make([]byte, len(data))
	code, err := e.run.Run(&ebpf.RunOptions{Data: data, DataOut: out})
	if err != nil || code != 0 {
		t.Fatalf("run: %d, %v", int32(code), err)
	}
	var run wirePolicyRun
	if _, err := binary.Decode(out, binary.NativeEndian, &run); err != nil {
		t.Fatal(err)
	}
	return policyVerdictOf(p, run.Verdict)
}

// wirePolicyRun is struct policy_run.
type wirePolicyRun struct {
	Ethernet  [14]byte
	Reserved  [2]byte
	Policy    uint32
	Query     wirePolicyQuery
	Verdict   uint32
	Reserved2 uint32
}

func policyRunOf(t testing.TB, id uint32, src, dst netip.AddrPort) []byte {
	t.Helper()
	run := wirePolicyRun{Policy: id}
	run.Query.Destination, run.Query.Port = wireOf(dst)
	run.Query.Source, _ = wireOf(src)
	data, err := binary.Append(nil, binary.NativeEndian, &run)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// policyAllowed is POLICY_ALLOWED.
const policyAllowed = 1<<32 - 1

// policyVerdictOf says who decided, as steer.Policy.Evaluate does.
func policyVerdictOf(p *steer.Policy, v uint32) steer.PolicyVerdict {
	if v == policyAllowed {
		return steer.PolicyVerdict{Allowed: true, Engine: -1}
	}
	var out steer.PolicyVerdict
	for n := range p.Engines {
		if p.Engines[n].Entry <= int(v>>16) {
			out.Engine = n
		}
	}
	answer := int(v & 0xffff)
	if n := answer - steer.Match; answer != steer.NoMatch && n >= 0 && n < len(p.Engines[out.Engine].Policies) {
		out.Policy = p.Engines[out.Engine].Policies[n]
	}
	return out
}

// random makes rules and connections that often meet.
type random struct{ *rand.Rand }

func (r random) addr() netip.Addr {
	low := byte(r.IntN(4))
	switch r.IntN(4) {
	case 0:
		return netip.AddrFrom4([4]byte{10, byte(r.IntN(2)), 0, low})
	case 1:
		return netip.AddrFrom4([4]byte{byte(r.IntN(256)), 0, 0, low})
	case 2:
		return netip.AddrFrom16([16]byte{15: low})
	}
	return netip.AddrFrom16([16]byte{0: 0xfd, 7: byte(r.IntN(2)), 15: low})
}

func (r random) prefix() netip.Prefix {
	a := r.addr()
	bits := []int{0, 1, 7, 8, 9, 16, 24, 30, 31, 32, 33, 64, 96, 104, 127, 128}
	p, err := a.Prefix(bits[r.IntN(len(bits))] % (a.BitLen() + 1))
	if err != nil {
		panic(err)
	}
	return p
}

func (r random) port() uint16 { return []uint16{0, 1, 79, 80, 81, 443, 8080, 65535}[r.IntN(8)] }

func (r random) rule(depth int, principal bool) model.RBACRule {
	if depth > 0 && r.IntN(3) == 0 {
		out := model.RBACRule{Kind: []model.RBACKind{model.RBACAnd, model.RBACOr, model.RBACNot}[r.IntN(3)]}
		n := 1
		if out.Kind != model.RBACNot {
			n = 1 + r.IntN(3)
		}
		for range n {
			out.Rules = append(out.Rules, r.rule(depth-1, principal))
		}
		return out
	}
	if r.IntN(8) == 0 {
		return model.RBACRule{Kind: model.RBACAny}
	}
	if principal {
		return model.RBACRule{Kind: []model.RBACKind{model.RBACDirectRemoteIP, model.RBACRemoteIP, model.RBACSourceIP}[r.IntN(3)], Prefix: r.prefix()}
	}
	if r.IntN(2) == 0 {
		return model.RBACRule{Kind: model.RBACDestinationIP, Prefix: r.prefix()}
	}
	start := uint32(r.port())
	return model.RBACRule{Kind: model.RBACDestinationPort, Start: start, End: start + 1 + uint32(r.IntN(2)*1000)}
}

func (r random) rules() *model.RBAC {
	out := &model.RBAC{Action: model.RBACAction(r.IntN(3))}
	for i := range r.IntN(4) {
		p := model.RBACPolicy{Name: fmt.Sprint("p", i)}
		for range 1 + r.IntN(2) {
			p.Permissions = append(p.Permissions, r.rule(2, false))
		}
		for range 1 + r.IntN(2) {
			p.Principals = append(p.Principals, r.rule(2, true))
		}
		out.Policies = append(out.Policies, p)
	}
	return out
}

func (r random) filters() []*model.NetworkRBAC {
	var out []*model.NetworkRBAC
	for i := range 1 + r.IntN(2) {
		f := &model.NetworkRBAC{StatPrefix: fmt.Sprint("f", i), Rules: r.rules()}
		if r.IntN(2) == 0 {
			f.ShadowRules = r.rules()
		}
		out = append(out, f)
	}
	return out
}

// counts are what the filters' statistics come to.
type counts map[string][2]uint64

// user is what the network filters do, by the engine that they use.
func user(filters []*model.NetworkRBAC, src, dst netip.AddrPort, into counts) steer.PolicyVerdict {
	info := streaminfo.Info{Conn: &streaminfo.Connection{Local: dst, Remote: src, DirectRemote: src}}
	engine := -1
	for _, f := range filters {
		for _, rules := range []*model.RBAC{f.ShadowRules, f.Rules} {
			if rules == nil {
				continue
			}
			engine++
			res := rbac.New(rules).Evaluate(&matcher.Data{Info: &info})
			name, at := fmt.Sprint(engine), 0
			if !res.Allowed {
				at = 1
			}
			c := into[name]
			c[at]++
			into[name] = c
			if rules == f.Rules && !res.Allowed {
				return steer.PolicyVerdict{Engine: engine, Policy: res.Policy}
			}
		}
	}
	return steer.PolicyVerdict{Allowed: true, Engine: -1}
}

// TestPolicyDifferential lets user space, the compiled policy in Go and the compiled policy in the kernel decide about the same
// random connections by the same random rules, and wants the same verdicts and counts of all three.
func TestPolicyDifferential(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := random{rand.New(rand.NewPCG(seed, 1))}
	e := newEvaluator(t)
	allowed, denied, kept := 0, 0, 0
	for id := uint32(1); id <= 300; id++ {
		filters := r.filters()
		p, reason := steer.CompilePolicy(filters)
		if p == nil {
			kept++
			if reason == "" {
				t.Fatal("no policy, and no reason")
			}
			continue
		}
		e.put(t, id, p)
		want := counts{}
		for range 40 {
			src, dst := netip.AddrPortFrom(r.addr(), 1), netip.AddrPortFrom(r.addr(), r.port())
			expected := user(filters, src, dst, want)
			if got := p.Evaluate(src, dst); got != expected {
				t.Fatalf("%s -> %s: compiled %+v, user space %+v\n%s", src, dst, got, expected, p)
			}
			if src.Addr().Is4() && r.IntN(2) == 0 {
				src = netip.AddrPortFrom(netip.AddrFrom16(src.Addr().As16()), src.Port()) // mapped: the kernel has one form for both
			}
			if got := e.evaluate(t, id, p, src, dst); got != expected {
				t.Fatalf("%s -> %s: kernel %+v, user space %+v\n%s", src, dst, got, expected, p)
			}
			if expected.Allowed {
				allowed++
			} else {
				denied++
			}
		}
		var w wirePolicy
		if err := e.policies.Lookup(&id, &w); err != nil {
			t.Fatal(err)
		}
		for n := range p.Engines {
			if got := [2]uint64{w.Engine[n].Allowed, w.Engine[n].Denied}; got != want[fmt.Sprint(n)] {
				t.Errorf("engine %d counted %v in the kernel, %v in user space", n, got, want[fmt.Sprint(n)])
			}
		}
		if err := e.policies.Delete(&id); err != nil {
			t.Fatal(err)
		}
	}
	if allowed < 1000 || denied < 1000 || kept > 100 {
		t.Errorf("%d allowed, %d denied, %d policies kept in user space: the cases show little", allowed, denied, kept)
	}
}

func TestPolicyOfRefuses(t *testing.T) {
	engine := []steer.PolicyEngine{{}}
	for name, p := range map[string]*steer.Policy{
		"nothing":          {},
		"no tests":         {Engines: engine},
		"a loop":           {Engines: engine, Tests: []steer.PolicyTest{{Yes: 0, No: steer.NoMatch}}},
		"out of the tests": {Engines: engine, Tests: []steer.PolicyTest{{Yes: 1, No: steer.NoMatch}}},
		"too many tests":   {Engines: engine, Tests: make([]steer.PolicyTest, steer.MaxPolicyTests+1)},
	} {
		if _, err := wirepolicy.Of(p); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func BenchmarkPolicy(b *testing.B) {
	e := newEvaluator(b)
	rules := &model.RBAC{Action: model.RBACDeny}
	for i := range 32 {
		rules.Policies = append(rules.Policies, model.RBACPolicy{
			Name:        fmt.Sprintf("%02d", i),
			Permissions: []model.RBACRule{{Kind: model.RBACDestinationIP, Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i), 0, 0}), 16)}},
			Principals:  []model.RBACRule{{Kind: model.RBACAny}},
		})
	}
	p, kept := steer.CompilePolicy([]*model.NetworkRBAC{{StatPrefix: "b", Rules: rules}})
	if p == nil {
		b.Fatal(kept)
	}
	e.put(b, 1, p)
	data := policyRunOf(b, 1, netip.MustParseAddrPort("1.2.3.4:1"), netip.MustParseAddrPort("1.2.3.4:80"))
	_, each, err := e.run.Benchmark(data, 10_000, nil)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(each.Nanoseconds()), "ns/evaluation")
}
