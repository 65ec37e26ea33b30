package intercept

import (
	"errors"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/kernel/steer"
	"github.com/weir-proxy/weir/pkg/kernel/wirepolicy"
)

// denies is a policy that denies a prefix, with a shadow rule that would deny port 80.
func denies(t *testing.T, prefix string) *steer.Policy {
	t.Helper()
	rule := func(r model.RBACRule) *model.RBAC {
		return &model.RBAC{Action: model.RBACDeny, Policies: []model.RBACPolicy{{
			Name: "p", Permissions: []model.RBACRule{r}, Principals: []model.RBACRule{{Kind: model.RBACAny}},
		}}}
	}
	p, kept := steer.CompilePolicy([]*model.NetworkRBAC{{
		StatPrefix:  "tcp",
		Rules:       rule(model.RBACRule{Kind: model.RBACDestinationIP, Prefix: netip.MustParsePrefix(prefix)}),
		ShadowRules: rule(model.RBACRule{Kind: model.RBACDestinationPort, Start: 80, End: 81}),
	}})
	if p == nil {
		t.Fatal(kept)
	}
	return p
}

func TestPolicyAtConnect(t *testing.T) {
	b := newBench(t)
	b.apply(t, b.offloadPlan("192.0.2.80/32", "2001:db8::80/128"))
	shop := func(p *steer.Policy) {
		t.Helper()
		s := offloaded("shop", steer.RoundRobin, greeter(t, "127.0.0.1:0", "hello"))
		s.Policy = p
		b.applyServices(t, s)
	}
	check := func(req request, allowed bool) {
		t.Helper()
		want := answer{Greeting: "hello"}
		if !allowed {
			want = answer{Errno: int(unix.ECONNREFUSED)}
		}
		if ans := client(t, b.dir, req); ans.Greeting != want.Greeting || ans.Errno != want.Errno {
			t.Errorf("%+v: %+v, want allowed: %t", req, ans, allowed)
		}
		reason := ReasonOffloaded
		if !allowed {
			reason = ReasonPolicyDenied
		}
		if x, err := b.Explain(Query{Dst: netip.MustParseAddrPort(req.Addr)}); err != nil || x.Reason != reason {
			t.Errorf("explained as %s (%v), want %s", x.Reason, err, reason)
		} else if (x.Policy == "tcp.rbac.denied: policy p matches") == allowed {
			t.Errorf("explained by policy %q", x.Policy)
		}
	}
	shop(denies(t, "192.0.2.0/24"))
	check(request{Addr: nowhere4}, false)
	check(request{Addr: nowhere4, Mapped: true}, false)
	check(request{Addr: nowhere6}, true)
	want := []PolicyStats{
		{Stat: "tcp.rbac.", Allowed: 1, Denied: 2},
		{Stat: "tcp.rbac.", Shadow: true, Denied: 3},
	}
	if diff := cmp.Diff(want, b.serviceStats(t).Policies); diff != "" {
		t.Error(diff)
	}
	shop(denies(t, "192.0.2.0/24")) // the same: nothing changes, also not where it counts
	check(request{Addr: nowhere4}, false)
	shop(denies(t, "2001:db8::/64"))
	check(request{Addr: nowhere4}, true)
	check(request{Addr: nowhere6}, false)
	if got := b.serviceStats(t); got.Denied != 4 || got.Policies[0].Denied != 4 || got.Policies[0].Allowed != 2 {
		t.Errorf("counters %+v: those of the earlier policy are to be in them", got)
	}
	shop(nil)
	check(request{Addr: nowhere6}, true)
	b.mu.Lock()
	err := b.services.settle()
	b.mu.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	var id uint32
	var w wirePolicy
	if b.objects.Policies.Iterate().Next(&id, &w) {
		t.Errorf("policy %d is left in the kernel", id)
	}
	if got := b.serviceStats(t); got.Policies[0].Denied != 4 {
		t.Errorf("counters %+v are lost with the policy", got.Policies)
	}
	if got := b.count(t, ReasonPolicyDenied); got != 4 {
		t.Errorf("counter policy_denied is %d", got)
	}
}

func TestConnectionLimitFilter(t *testing.T) {
	b := newBench(t)
	b.apply(t, b.offloadPlan("192.0.2.80/32"))
	s := offloaded("shop", steer.RoundRobin, crowd(t, "127.0.0.1:0", "hello"))
	s.ConnectionLimit = 4
	b.applyServices(t, s)
	p := startClients(t, b.dir, burst{Addr: nowhere4, Times: 30, Threads: 10, Hold: true})
	if p.Greetings["hello"] != 4 || p.Errnos[int(unix.ECONNREFUSED)] != 26 {
		t.Fatalf("%+v, want 4 connections and 26 refusals", p.tally)
	}
	if got := b.serviceStats(t); got.Active != 4 || got.Limited != 26 || got.Overflow != 0 {
		t.Errorf("counters %+v", got)
	}
	if x, err := b.Explain(Query{Dst: netip.MustParseAddrPort(nowhere4)}); err != nil || x.Reason != ReasonConnectionLimit {
		t.Errorf("explained as %s (%v)", x.Reason, err)
	}
	p.stop()
	b.idle(t)
	if ans := client(t, b.dir, request{Addr: nowhere4}); ans.Greeting != "hello" {
		t.Errorf("%+v: no room although all have ended", ans)
	}
}

func TestPolicyOfSourcesIsRefused(t *testing.T) {
	b := newBench(t)
	s := offloaded("shop", steer.RoundRobin)
	s.Policy = denies(t, "10.0.0.0/8")
	s.Policy.NeedsSource = true
	if err := b.ApplyServices([]*steer.Service{s}, nil); err == nil {
		t.Error("a policy about sources was taken for connect()")
	}
}

// TestPoliciesFull has a service that there is no room for stay what it was.
func TestPoliciesFull(t *testing.T) {
	b := newBench(t)
	b.apply(t, b.offloadPlan("192.0.2.80/32"))
	s := offloaded("shop", steer.RoundRobin, greeter(t, "127.0.0.1:0", "hello"))
	b.applyServices(t, s)
	w, err := wirepolicy.Of(denies(t, "192.0.2.0/24"))
	if err != nil {
		t.Fatal(err)
	}
	for id := uint32(1 << 20); err == nil; id++ {
		err = b.objects.Policies.Put(&id, w)
	}
	next := *s
	next.Policy = denies(t, "192.0.2.0/24")
	var noRoom *FullError
	if err := b.ApplyServices([]*steer.Service{&next}, nil); !errors.As(err, &noRoom) || noRoom.Map != "weir_policies" {
		t.Fatalf("error %v, want one about weir_policies", err)
	}
	if ans := client(t, b.dir, request{Addr: nowhere4}); ans.Greeting != "hello" {
		t.Errorf("%+v: the service is not what it was", ans)
	}
	freed := uint32(1 << 20)
	if err := b.objects.Policies.Delete(&freed); err != nil {
		t.Fatal(err)
	}
	b.applyServices(t, &next)
	if ans := client(t, b.dir, request{Addr: nowhere4}); ans.Errno != int(unix.ECONNREFUSED) {
		t.Errorf("%+v: not denied", ans)
	}
}
