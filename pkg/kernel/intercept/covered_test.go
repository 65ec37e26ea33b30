package intercept

import (
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/weir-proxy/weir/pkg/kernel/steer"
)

// TestCovered checks that the kernel finds a rule for whatever the rule covers, however short its prefix is, also right after another rule
// with the same bit has gone, and that nothing is left of rules that have gone.
func TestCovered(t *testing.T) {
	i, capture4, _ := newDecider(t)
	rule := func(prefix string, port uint16) steer.Rule {
		return steer.Rule{Prefix: netip.MustParsePrefix(prefix), Port: port, Action: steer.Redirect, Listener: "shop"}
	}
	rules := []steer.Rule{
		rule("0.0.0.0/0", 443), rule("128.0.0.0/1", 0), rule("10.0.0.0/7", 80), rule("10.1.0.0/16", 80), rule("10.1.2.3/32", 80),
		rule("192.0.2.0/24", 0), rule("::/0", 8443), rule("fc00::/7", 0), rule("fe80::/10", 0), rule("2001:db8::1/128", 80),
	}
	before := len(i.rules.covered.users)
	random := rand.New(rand.NewPCG(3, 4))
	for range 40 {
		plan := &steer.Plan{}
		for _, r := range rules {
			if random.IntN(2) == 0 {
				plan.Rules = append(plan.Rules, r)
			}
		}
		i.mustApply(t, plan)
		for _, r := range rules {
			for range 4 {
				dst := within(random, r)
				compare(t, i, plan, dst)
			}
		}
		if v, err := i.run(Query{Dst: capture4}); err != nil || len(plan.Rules) > 0 && Reason(v.Reason) != ReasonCaptureSocket {
			t.Fatalf("the capture socket: %s, %v", Reason(v.Reason), err)
		}
	}
	i.mustApply(t, &steer.Plan{})
	if n := len(i.rules.covered.users); n != before {
		t.Errorf("%d bits are in use, %d before there were rules", n, before)
	}
	if err := i.ClearCapture(0); err != nil {
		t.Fatal(err)
	}
	for at := range i.objects.Covered.MaxEntries() {
		var word uint64
		if err := i.objects.Covered.Lookup(at, &word); err != nil || word != 0 {
			t.Fatalf("word %d is %#x, %v", at, word, err)
		}
	}
}

// within draws a destination that a rule is for.
func within(random *rand.Rand, r steer.Rule) netip.AddrPort {
	addr := r.Prefix.Addr().AsSlice()
	for bit := r.Prefix.Bits(); bit < 8*len(addr); bit++ {
		addr[bit/8] |= byte(random.IntN(2)) << (7 - bit%8)
	}
	port := r.Port
	if port == 0 {
		port = uint16(1 + random.IntN(65535))
	}
	ip, _ := netip.AddrFromSlice(addr)
	return netip.AddrPortFrom(ip, port)
}

// compare looks up whether a rule covers a destination the slow way.
func compare(t *testing.T, i *Interceptor, plan *steer.Plan, dst netip.AddrPort) {
	t.Helper()
	if len(plan.Rules) == 0 || dst.Addr().Is4In6() {
		return
	}
	v, err := i.run(Query{Dst: dst})
	if err != nil {
		t.Fatal(err)
	}
	want := ReasonNoRule
	for _, r := range plan.Rules {
		if r.Prefix.Contains(dst.Addr()) && (r.Port == 0 || r.Port == dst.Port()) {
			want = ReasonCaptured
		}
	}
	if got := Reason(v.Reason); got != want {
		t.Errorf("%s: %s, want %s with %v", dst, got, want, plan.Rules)
	}
}
