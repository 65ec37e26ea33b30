package intercept

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/weir-proxy/weir/pkg/kernel/steer"
)

// TestEachStepIsOldOrNew changes random plans into others, and after each single step asks the kernel about every destination:
// it must have its old rule or its new one, and never the old one again after the new one.
func TestEachStepIsOldOrNew(t *testing.T) {
	i, _, _ := newDecider(t)
	random := rand.New(rand.NewPCG(1, 2))
	before := randomPlan(random)
	i.mustApply(t, before)
	for round := range 60 {
		after := randomPlan(random)
		old, changed := decisions(t, i), make(map[netip.AddrPort]bool)
		change := steer.Diff(before, after)
		steps := i.rules.edits(&change)
		var seen []map[netip.AddrPort]string
		for _, step := range steps {
			if _, err := i.rules.edit(step); err != nil {
				t.Fatal(err)
			}
			seen = append(seen, decisions(t, i))
		}
		i.applied.plan = after
		final := decisions(t, i)
		for n, now := range seen {
			for dst, got := range now {
				switch {
				case got == final[dst]:
					changed[dst] = got != old[dst]
				case got != old[dst] || changed[dst]:
					t.Fatalf("round %d, step %d of %d (%+v): %s goes to %q, before %q, afterwards %q",
						round, n, len(steps), steps[n], dst, got, old[dst], final[dst])
				}
			}
		}
		compareWithModel(t, after, final)
		before = after
	}
	if n := len(i.rules.capture.has) + len(i.rules.exclude.has); n != len(before.Rules)+len(before.Excludes) {
		t.Errorf("%d entries, %d rules", n, len(before.Rules)+len(before.Excludes))
	}
}

// universe is small, so that rules cover each other in every way.
func universe() (all []netip.AddrPort) {
	for host := range 8 {
		for _, port := range []uint16{80, 81} {
			all = append(all, netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(host)}), port))
		}
	}
	return all
}

func randomPlan(random *rand.Rand) *steer.Plan {
	plan := &steer.Plan{}
	taken := make(map[string]bool)
	one := func() steer.Rule {
		addr := netip.AddrFrom4([4]byte{10, 0, 0, byte(random.IntN(8))})
		return steer.Rule{
			Prefix: netip.PrefixFrom(addr, 29+random.IntN(4)).Masked(), Port: []uint16{0, 0, 80, 81}[random.IntN(4)],
		}
	}
	for range random.IntN(14) {
		r := one()
		r.Action, r.Listener = steer.Redirect, fmt.Sprint("l", random.IntN(4))
		if key := fmt.Sprint("rule", r.Prefix, r.Port); !taken[key] {
			taken[key] = true
			plan.Rules = append(plan.Rules, r)
		}
	}
	for range random.IntN(3) {
		r := one()
		if key := fmt.Sprint("exclude", r.Prefix, r.Port); !taken[key] {
			taken[key] = true
			plan.Excludes = append(plan.Excludes, r)
		}
	}
	return plan
}

// decisions asks about every destination, with the settings of a plan that has everything.
func decisions(t *testing.T, i *Interceptor) map[netip.AddrPort]string {
	t.Helper()
	control := i.inForce
	control.Flags |= flagEnabled | flagHasExcludes
	if err := i.swapControl(control); err != nil {
		t.Fatal(err)
	}
	out := make(map[netip.AddrPort]string)
	for _, dst := range universe() {
		v, err := i.run(Query{Dst: dst})
		if err != nil {
			t.Fatal(err)
		}
		out[dst] = "-"
		if v.Action == uint32(ActionRedirect) {
			out[dst] = i.rules.names.name(v.Listener)
		}
	}
	return out
}

// compareWithModel looks rules up the slow way.
func compareWithModel(t *testing.T, plan *steer.Plan, got map[netip.AddrPort]string) {
	t.Helper()
	covers := func(r steer.Rule, dst netip.AddrPort) bool {
		return r.Prefix.Contains(dst.Addr()) && (r.Port == 0 || r.Port == dst.Port())
	}
	for dst, have := range got {
		want, best := "-", steer.Rule{}
		for _, r := range plan.Rules {
			if covers(r, dst) && (best.Listener == "" || moreSpecific(r, best) < 0) {
				want, best = r.Listener, r
			}
		}
		for _, r := range plan.Excludes {
			if covers(r, dst) {
				want = "-"
			}
		}
		if have != want {
			t.Errorf("%s goes to %q, want %q", dst, have, want)
		}
	}
}

// TestUpdateTold has the caller say what differs, and be wrong about what was there before.
func TestUpdateTold(t *testing.T) {
	i, _, _ := newDecider(t)
	one, two := decisionPlan(), decisionPlan()
	two.Rules[2].Listener = "wider"
	i.mustApply(t, one)
	if err := i.Update(one, two, steer.Diff(one, two)); err != nil {
		t.Fatal(err)
	}
	dst := netip.MustParseAddrPort("10.7.0.1:80")
	check := func(want string) {
		t.Helper()
		if x, err := i.Explain(Query{Dst: dst}); err != nil || x.Listener != want || x.Rule == nil || x.Rule.Listener != want {
			t.Errorf("%+v (%v), want listener %s", x, err, want)
		}
	}
	check("wider")
	if err := i.Update(two, two, steer.Change{}); err != nil {
		t.Fatal(err)
	}
	check("wider")
	if err := i.Update(one, one, steer.Change{}); err != nil {
		t.Fatal(err)
	}
	check("wide")
}

// TestRulesFull fills the map, and finds the rules of before in force and a later plan accepted.
func TestRulesFull(t *testing.T) {
	i, _, _ := newDecider(t)
	plan := decisionPlan()
	plan.Rules[2].Action, plan.Rules[2].Service = steer.Offload, "shop"
	i.mustApply(t, plan)
	i.applyServices(t, offloaded("shop", steer.RoundRobin, netip.MustParseAddrPort("198.51.100.1:1")))
	large := &steer.Plan{Rules: []steer.Rule{plan.Rules[0]}}
	for n := range 262_200 {
		addr := netip.AddrFrom4([4]byte{11, byte(n >> 16), byte(n >> 8), byte(n)})
		large.Rules = append(large.Rules, steer.Rule{Prefix: netip.PrefixFrom(addr, 32), Port: 80, Action: steer.Redirect, Listener: "x"})
	}
	var full *FullError
	last := i.rules.nextID
	if err := i.Apply(large); !errors.As(err, &full) || full.Map != "weir_capture" {
		t.Fatalf("error %v, want one that names weir_capture", err)
	}
	if i.rules.nextID != last {
		t.Errorf("%d rules were written, and taken back", i.rules.nextID-last)
	}
	x, err := i.Explain(Query{Dst: netip.MustParseAddrPort("10.7.0.1:80")})
	if err != nil || x.Reason != ReasonOffloaded || x.Service != "shop" || len(i.rules.capture.has) != len(plan.Rules) {
		t.Errorf("%+v (%v) with %d rules, want what was before", x, err, len(i.rules.capture.has))
	}
	i.mustApply(t, &steer.Plan{Rules: large.Rules[:100]})
}
