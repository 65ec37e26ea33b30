package intercept

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-proxy/weir/pkg/kernel/sock"
	"github.com/weir-proxy/weir/pkg/kernel/steer"
)

const testProxyCgroup = 4711

// decisionPlan has rules of every kind.
func decisionPlan() *steer.Plan {
	rule := func(prefix string, port uint16, action steer.Action, listener string) steer.Rule {
		return steer.Rule{Prefix: netip.MustParsePrefix(prefix), Port: port, Action: action, Listener: listener}
	}
	return &steer.Plan{
		Rules: []steer.Rule{
			rule("0.0.0.0/0", 0, steer.Redirect, "rest"),
			rule("127.0.0.0/8", 0, steer.Pass, ""),
			rule("10.0.0.0/8", 80, steer.Redirect, "wide"),
			rule("10.1.0.0/16", 80, steer.Redirect, "narrow"),
			rule("10.1.2.3/32", 0, steer.Redirect, "any-port"),
			rule("2001:db8::/32", 443, steer.Redirect, "six"),
			rule("fe80::/10", 443, steer.Pass, ""),
		},
		Excludes: []steer.Rule{
			rule("10.9.0.0/16", 80, steer.Pass, ""),
			rule("2001:db8:9::/48", 0, steer.Pass, ""),
			rule("::/0", 22, steer.Pass, ""),
		},
	}
}

func TestDecision(t *testing.T) {
	i, capture4, capture6 := newDecider(t)
	if err := i.Apply(decisionPlan()); err != nil {
		t.Fatal(err)
	}
	redirect := func(listener string, target netip.AddrPort) Explanation {
		return Explanation{Action: ActionRedirect, Reason: ReasonCaptured, Listener: listener, Target: target}
	}
	pass := func(reason Reason) Explanation { return Explanation{Reason: reason} }
	tests := []struct {
		name string
		q    Query
		dst  string
		want Explanation
	}{
		{"any address, any port", Query{}, "203.0.113.1:9", redirect("rest", capture4)},
		{"prefix with port", Query{}, "10.7.0.1:80", redirect("wide", capture4)},
		{"prefix with port, port differs", Query{}, "10.7.0.1:81", redirect("rest", capture4)},
		{"longer prefix", Query{}, "10.1.0.1:80", redirect("narrow", capture4)},
		{"port goes before prefix length", Query{}, "10.1.2.3:80", redirect("narrow", capture4)},
		{"host, any port", Query{}, "10.1.2.3:8080", redirect("any-port", capture4)},
		{"mapped is IPv4", Query{}, "[::ffff:10.1.0.1]:80", redirect("narrow", capture4)},
		{"pass rule", Query{}, "127.0.0.1:80", pass(ReasonPassRule)},
		{"IPv6", Query{}, "[2001:db8::1]:443", redirect("six", capture6)},
		{"IPv6, port differs", Query{}, "[2001:db8::1]:80", pass(ReasonNoRule)},
		{"IPv6, another prefix", Query{}, "[2001:db9::1]:443", pass(ReasonNoRule)},
		{"IPv6, pass rule", Query{}, "[fe80::1]:443", pass(ReasonPassRule)},
		{"excluded with port", Query{}, "10.9.1.1:80", pass(ReasonExcluded)},
		{"excluded with port, port differs", Query{}, "10.9.1.1:81", redirect("rest", capture4)},
		{"excluded on any port", Query{}, "[2001:db8:9::1]:443", pass(ReasonExcluded)},
		{"excluded, all of IPv6", Query{}, "[2001:db8::1]:22", pass(ReasonExcluded)},
		{"exclusion of all IPv6 is not one of IPv4", Query{}, "203.0.113.1:22", redirect("rest", capture4)},
		{"proxy's mark", Query{Mark: testMark}, "10.1.0.1:80", pass(ReasonProxyMark)},
		{"another mark", Query{Mark: testMark + 1}, "10.1.0.1:80", redirect("narrow", capture4)},
		{"proxy's cgroup", Query{Cgroup: testProxyCgroup}, "10.1.0.1:80", pass(ReasonProxyCgroup)},
		{"another cgroup", Query{Cgroup: 1}, "10.1.0.1:80", redirect("narrow", capture4)},
		{"capture socket", Query{}, capture4.String(), pass(ReasonCaptureSocket)},
		{"capture socket, IPv6", Query{}, capture6.String(), pass(ReasonCaptureSocket)},
		{"not TCP", Query{Protocol: steer.UDP}, "10.1.0.1:80", pass(ReasonNotTCP)},
		{"another namespace", Query{Netns: 1 << 40}, "10.1.0.1:80", pass(ReasonOtherNetns)},
		{"bound to a device", Query{Device: 1}, "10.1.0.1:80", pass(ReasonBoundDevice)},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			test.q.Dst = netip.MustParseAddrPort(test.dst)
			got, err := i.Explain(test.q)
			if err != nil {
				t.Fatal(err)
			}
			if got.Rule != nil && test.want.Listener != "" && got.Rule.Listener != test.want.Listener {
				t.Errorf("rule %+v, want one of listener %q", *got.Rule, test.want.Listener)
			}
			if hasRule := got.Rule != nil; hasRule != decidedByRule(got.Reason) {
				t.Errorf("reason %s with rule %v", got.Reason, got.Rule)
			}
			test.want.Generation = got.Generation
			if test.want.Listener == "" {
				got.Listener = ""
			}
			got.Rule = nil
			if diff := cmp.Diff(test.want, got, cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" {
				t.Errorf("decision (-want +got):\n%s", diff)
			}
		})
	}
	t.Run("counters are not touched", func(t *testing.T) {
		counters, err := i.Counters()
		if err != nil {
			t.Fatal(err)
		}
		if len(counters) != int(reasonCount)-1 || counters["captured"] != 0 || counters["no_rule"] != 0 {
			t.Errorf("counters %v", counters)
		}
	})
}

func decidedByRule(reason Reason) bool {
	switch reason {
	case ReasonExcluded, ReasonPassRule, ReasonCaptured, ReasonOtherNetns, ReasonBoundDevice, ReasonNotListening,
		ReasonOffloaded, ReasonOffloadUnfit, ReasonNoEndpoint, ReasonServiceFull:
		return true
	}
	return false
}

// newDecider is an interceptor that is attached nowhere, with listening capture sockets.
func newDecider(t testing.TB) (i *Interceptor, capture4, capture6 netip.AddrPort) {
	t.Helper()
	i, err := New(Options{ProxyMark: testMark, ProxyCgroup: testProxyCgroup})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := i.Close(); err != nil {
			t.Error(err)
		}
	})
	capture4, capture6 = direct(t, "127.0.0.1:0"), direct(t, "[::1]:0")
	if err := i.SetCapture(0, capture4, capture6); err != nil {
		t.Fatal(err)
	}
	return i, capture4, capture6
}

func TestDecisionBeforeAndAfterPlans(t *testing.T) {
	i, _, _ := newDecider(t)
	dst := netip.MustParseAddrPort("10.1.0.1:80")
	check := func(name string, plan *steer.Plan, want Reason) {
		t.Run(name, func(t *testing.T) {
			if plan != nil {
				if err := i.Apply(plan); err != nil {
					t.Fatal(err)
				}
			}
			got, err := i.Explain(Query{Dst: dst})
			if err != nil || got.Reason != want {
				t.Errorf("reason %s (%v), want %s", got.Reason, err, want)
			}
		})
	}
	disabled := decisionPlan()
	disabled.Disabled = true
	check("before the first plan", nil, ReasonDisabled)
	check("with rules", decisionPlan(), ReasonCaptured)
	check("disabled", disabled, ReasonDisabled)
	check("enabled again", decisionPlan(), ReasonCaptured)
	check("empty", &steer.Plan{}, ReasonDisabled)
}

func TestFailedUpdateKeepsTheOldRules(t *testing.T) {
	i, _, _ := newDecider(t)
	if err := i.Apply(decisionPlan()); err != nil {
		t.Fatal(err)
	}
	before := i.applied.generation
	bad := decisionPlan()
	bad.Rules = append(bad.Rules, steer.Rule{Prefix: netip.PrefixFrom(netip.MustParseAddr("10.0.0.0"), -1)})
	if err := i.Apply(bad); err == nil {
		t.Fatal("a rule with an impossible prefix was accepted")
	}
	got, err := i.Explain(Query{Dst: netip.MustParseAddrPort("10.7.0.1:80")})
	if err != nil || got.Listener != "wide" || got.Generation != before {
		t.Errorf("decision %+v (%v), want that of generation %d", got, err, before)
	}
	if err := i.Apply(decisionPlan()); err != nil {
		t.Errorf("Apply after a failure: %v", err)
	}
}

func TestSetCaptureRefuses(t *testing.T) {
	i, capture4, _ := newDecider(t)
	for _, addrs := range [][]netip.AddrPort{
		{{}},
		{netip.MustParseAddrPort("127.0.0.1:0")},
		{netip.MustParseAddrPort("0.0.0.0:1")},
		{capture4, netip.MustParseAddrPort("127.0.0.1:1")},
	} {
		if err := i.SetCapture(0, addrs...); err == nil {
			t.Errorf("SetCapture(%v) succeeded", addrs)
		}
	}
}

func TestOriginalDst(t *testing.T) {
	i, _, server := newDecider(t)
	if err := i.Apply(decisionPlan()); err != nil {
		t.Fatal(err)
	}
	netns, err := sock.NetnsCookie()
	if err != nil {
		t.Fatal(err)
	}
	clientAddr := netip.MustParseAddrPort("[::1]:4000")
	pair := wirePair{Netns: netns}
	pair.Client, pair.ClientPort = wireOf(clientAddr)
	pair.Server, pair.ServerPort = wireOf(server)
	put := func() {
		flow := wireFlow{Epoch: i.numbers.epoch, Listener: i.rules.names.used["any-port"].id, Rule: 2, Cookie: 3, Cgroup: 4, PID: 5, UID: 6}
		flow.Addr, flow.Port = wireOf(netip.MustParseAddrPort("10.1.2.3:80"))
		if err := i.objects.Handoff.Put(&pair, &flow); err != nil {
			t.Fatal(err)
		}
	}
	put()
	want := Flow{Dst: netip.MustParseAddrPort("10.1.2.3:80"), Listener: "any-port", Rule: 2, Cookie: 3, Cgroup: 4, PID: 5, UID: 6}
	if got, ok := i.OriginalDst(0, clientAddr, server); !ok || got != want {
		t.Errorf("got %+v (%t), want %+v", got, ok, want)
	}
	if got, ok := i.OriginalDst(0, clientAddr, server); ok {
		t.Errorf("asked again: %+v, want nothing", got)
	}
	t.Run("after one update", func(t *testing.T) {
		put()
		i.mustApply(t, &steer.Plan{Rules: decisionPlan().Rules[:1]})
		if got, _ := i.OriginalDst(0, clientAddr, server); got.Listener != "any-port" {
			t.Errorf("listener %q, want the one it was captured for", got.Listener)
		}
		i.mustApply(t, decisionPlan())
	})
	t.Run("allocations", func(t *testing.T) {
		put()
		if n := testing.AllocsPerRun(100, func() { i.OriginalDst(0, clientAddr, server) }); n > 4 {
			t.Errorf("%v allocations, want 3, or 4 under the race detector", n)
		}
	})
}

func (i *Interceptor) mustApply(t *testing.T, plan *steer.Plan) {
	t.Helper()
	if err := i.Apply(plan); err != nil {
		t.Fatal(err)
	}
}

// TestReadersAndClose has the proxy ask while the interceptor goes away.
func TestReadersAndClose(t *testing.T) {
	i, _, server := newDecider(t)
	client := netip.MustParseAddrPort("[::1]:4000")
	asking, stop, stopped := make(chan struct{}), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for first := true; ; first = false {
			if _, ok := i.OriginalDst(0, client, server); ok {
				t.Error("an original destination for a connection that nobody made")
			}
			i.Counters()
			if first {
				close(asking)
			}
			select {
			case <-stop:
				return
			default:
			}
		}
	}()
	<-asking
	if err := i.Close(); err != nil {
		t.Error(err)
	}
	close(stop)
	<-stopped
	if _, err := i.Counters(); !errors.Is(err, errClosed) {
		t.Errorf("Counters after Close: %v", err)
	}
	if _, err := i.Explain(Query{Dst: server}); !errors.Is(err, errClosed) {
		t.Errorf("Explain after Close: %v", err)
	}
}

// TestCaptureSocketsOfNamespaces has each namespace answered by its own sockets.
func TestCaptureSocketsOfNamespaces(t *testing.T) {
	i, capture4, _ := newDecider(t)
	i.mustApply(t, decisionPlan())
	const other = 1 << 40
	own, theirs := netip.MustParseAddrPort("10.7.0.1:80"), direct(t, "127.0.0.1:0")
	check := func(when string, netns uint64, want Reason, target netip.AddrPort) {
		t.Helper()
		got, err := i.Explain(Query{Dst: own, Netns: netns})
		if err != nil || got.Reason != want || got.Target != target {
			t.Errorf("%s: %s to %s (%v), want %s to %s", when, got.Reason, got.Target, err, want, target)
		}
	}
	check("own", 0, ReasonCaptured, capture4)
	check("without an entry", other, ReasonOtherNetns, netip.AddrPort{})
	if err := i.SetCapture(other, theirs); err != nil {
		t.Fatal(err)
	}
	check("with an entry", other, ReasonCaptured, theirs)
	check("own, beside it", 0, ReasonCaptured, capture4)
	if status, err := i.Status(); err != nil || len(status.Capture) != 2 {
		t.Errorf("status shows sockets of %v (%v), want two namespaces", status.Capture, err)
	}
	for range 2 {
		if err := i.ClearCapture(other); err != nil {
			t.Error(err)
		}
	}
	check("entry cleared", other, ReasonOtherNetns, netip.AddrPort{})
	if err := i.ClearCapture(0); err != nil {
		t.Error(err)
	}
	check("own cleared", 0, ReasonNoCaptureSocket, netip.AddrPort{})
}

func TestNamespacesFull(t *testing.T) {
	i, capture4, _ := newDecider(t)
	var full *FullError
	for n := range uint64(10_000) {
		err := i.SetCapture(1<<40+n, capture4)
		if errors.As(err, &full) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if full == nil || full.Map != "weir_netns" || full.Capacity != 8192 {
		t.Fatalf("error %+v, want one that names weir_netns", full)
	}
	i.mustApply(t, decisionPlan())
	if got, err := i.Explain(Query{Dst: netip.MustParseAddrPort("10.7.0.1:80")}); err != nil || got.Reason != ReasonCaptured {
		t.Errorf("own namespace: %+v (%v), want it captured as before", got, err)
	}
}

// TestProtocolsAreApart has one destination with a rule for UDP, which is none for TCP.
func TestProtocolsAreApart(t *testing.T) {
	i, _, _ := newDecider(t)
	rule := steer.Rule{Prefix: netip.MustParsePrefix("10.7.0.1/32"), Port: 53, Action: steer.Redirect, Protocol: steer.UDP, Listener: "dns"}
	plan := &steer.Plan{Rules: []steer.Rule{rule}}
	i.mustApply(t, plan)
	dst := netip.MustParseAddrPort("10.7.0.1:53")
	if got, err := i.Explain(Query{Dst: dst}); err != nil || got.Reason != ReasonNoRule {
		t.Errorf("TCP: %+v (%v), want no rule", got, err)
	}
	rule.Protocol, rule.Listener = steer.TCP, "dns-tcp"
	i.mustApply(t, &steer.Plan{Rules: append(plan.Rules, rule)})
	if got, err := i.Explain(Query{Dst: dst}); err != nil || got.Listener != "dns-tcp" {
		t.Errorf("TCP with a rule of its own: %+v (%v)", got, err)
	}
}
