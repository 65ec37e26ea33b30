package inbound

import (
	"net/netip"
	"testing"
)

// A server is captured whether it listened before or begins later, on whatever address, and is let go when it ends.
func TestListeners(t *testing.T) {
	for _, tc := range []struct {
		name, network, listen string
		captured              []string // addresses that the proxy gets
		refused               []string
	}{
		{"exact IPv4", "tcp4", ip4 + ":0", []string{ip4}, []string{ip6}},
		{"any IPv4", "tcp4", "0.0.0.0:0", []string{ip4}, []string{ip6}},
		{"exact IPv6", "tcp6", "[" + ip6 + "]:0", []string{ip6}, []string{ip4}},
		{"any IPv6 alone", "tcp6", "[::]:0", []string{ip6}, []string{ip4}},
		{"both families", "tcp", "[::]:0", []string{ip6, ip4}, nil},
	} {
		check := func(t *testing.T, b *bench, addr string) {
			t.Helper()
			for _, ip := range tc.captured {
				b.expect(t, on(ip, addr), "weir")
			}
			for _, ip := range tc.refused {
				b.expect(t, on(ip, addr), "ECONNREFUSED")
			}
		}
		t.Run(tc.name+" before", func(t *testing.T) {
			b := newBench(t)
			server := b.app(t, b.dir)
			addr := server.listen(tc.network, tc.listen)
			b.start(t, everywhere())
			check(t, b, addr)
		})
		t.Run(tc.name+" later", func(t *testing.T) {
			b := newBench(t)
			b.start(t, everywhere())
			server := b.app(t, b.dir)
			addr := server.listen(tc.network, tc.listen)
			if tc.name == "both families" {
				must(t, b.Await())
				must(t, b.Look())
			}
			check(t, b, addr)
			server.close(addr)
			for _, ip := range append(tc.captured, tc.refused...) {
				b.expect(t, on(ip, addr), "ECONNREFUSED")
			}
		})
	}
}

// What a server that listened before leaves behind is found by looking.
func TestServerOfBeforeEnds(t *testing.T) {
	b := newBench(t)
	server := b.app(t, b.dir)
	addr := server.listen("tcp4", ip4+":0")
	b.start(t, everywhere())
	b.expect(t, addr, "weir")
	server.close(addr)
	for range 2 {
		must(t, b.Look())
	}
	b.expect(t, addr, "ECONNREFUSED")
}

func TestOthersAreLeftAlone(t *testing.T) {
	b := newBench(t)
	foreign := b.app(t, "")
	addr := foreign.listen("tcp", "[::]:0")
	server := b.app(t, b.dir)
	server.listen("tcp4", ip4+":0")
	b.start(t, everywhere())
	b.expect(t, on(ip4, addr), "app")
	b.expect(t, on(ip6, addr), "app")
}

// A port that a process outside shares is nobody's alone: it is left to the kernel.
func TestSharedPort(t *testing.T) {
	b := newBench(t)
	server, foreign := b.app(t, b.dir), b.app(t, "")
	addr := server.listen("tcp4+share", "0.0.0.0:0")
	b.start(t, everywhere())
	b.expect(t, on(ip4, addr), "weir")
	exact := foreign.listen("tcp4+share", on(ip4, addr))
	must(t, b.Look())
	b.expect(t, exact, "app")
	foreign.close(exact)
	for range 2 {
		must(t, b.Look())
	}
	b.expect(t, exact, "weir")
}

// A group of sockets is captured until the last one ends.
func TestReusePortGroup(t *testing.T) {
	b := newBench(t)
	b.start(t, everywhere())
	one, two := b.app(t, b.dir), b.app(t, b.dir)
	addr := one.listen("tcp4+share", ip4+":0")
	two.listen("tcp4+share", addr)
	one.close(addr)
	b.expect(t, addr, "weir")
	two.close(addr)
	b.expect(t, addr, "ECONNREFUSED")
}

func TestRules(t *testing.T) {
	b := newBench(t)
	server := b.app(t, b.dir)
	one, two, three := server.listen("tcp4", "0.0.0.0:0"), server.listen("tcp4", "0.0.0.0:0"), server.listen("tcp4", "0.0.0.0:0")
	port := func(addr string) uint16 { return netip.MustParseAddrPort(addr).Port() }
	all := netip.MustParsePrefix("0.0.0.0/0")
	plan := &Plan{
		Rules:    []Rule{{Prefix: all, Port: port(one)}, {Prefix: all, Port: port(two)}},
		Excludes: []Rule{{Prefix: netip.MustParsePrefix(ip4 + "/32"), Port: port(two)}},
	}
	b.start(t, plan)
	b.expect(t, on(ip4, one), "weir")
	b.expect(t, on("127.0.0.1", one), "app")
	b.expect(t, on(ip4, two), "app")
	b.expect(t, on(ip4, three), "app")
	loopback := *plan
	loopback.Loopback = true
	must(t, b.Apply(&loopback))
	b.expect(t, on("127.0.0.1", one), "weir")
	must(t, b.Apply(&Plan{Rules: []Rule{{Prefix: all, Port: port(three)}}}))
	b.expect(t, on(ip4, one), "app")
	b.expect(t, on(ip4, three), "weir")
	must(t, b.Apply(nil))
	b.expect(t, on(ip4, three), "app")
	counters, err := b.Counters()
	must(t, err)
	for _, reason := range []Reason{ReasonCaptured, ReasonNoRule, ReasonExcluded, ReasonLoopback, ReasonDisabled} {
		if counters[reason.String()] == 0 {
			t.Errorf("%s was not counted: %v", reason, counters)
		}
	}
}

func TestFailPolicy(t *testing.T) {
	for name, closed := range map[string]bool{"open": false, "closed": true} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			server, foreign := b.app(t, b.dir), b.app(t, "")
			addr, other := server.listen("tcp4", ip4+":0"), foreign.listen("tcp4", ip4+":0")
			plan := everywhere()
			plan.FailClosed = closed
			b.start(t, plan)
			b.expect(t, addr, "weir")
			b.sinks[0].Close()
			want := map[bool]string{false: "app", true: "ECONNREFUSED"}[closed]
			b.expect(t, addr, want)
			b.expect(t, other, "app")
			must(t, b.DropNamespace(b.Cookie()))
			b.expect(t, addr, "app")
		})
	}
}

// TestRefusedPlan keeps to the cgroups of the plan in force when another one is refused. Where none is in force, those of the refused one
// are captured, for its fail policy.
func TestRefusedPlan(t *testing.T) {
	i := newBench(t)
	plan := func(cgroup, prefix string) *Plan {
		return &Plan{Cgroups: []string{cgroup}, FailClosed: true, Rules: []Rule{{Prefix: netip.MustParsePrefix(prefix), Port: 80}}}
	}
	for _, step := range []struct {
		cgroup, prefix, want string
		refused              bool
	}{
		{"one", "192.0.2.1/24", "one", true}, // it is not masked
		{"two", "192.0.2.1/24", "two", true},
		{"three", "192.0.2.0/24", "three", false},
		{"four", "192.0.2.1/24", "three", true},
		{"five", "192.0.3.0/24", "five", false},
	} {
		err := i.Apply(plan(step.cgroup, step.prefix))
		if got := i.Cgroups(); (err != nil) != step.refused || len(got) != 1 || got[0] != step.want {
			t.Errorf("plan for %s: %v, captured are %q, want %s", step.cgroup, err, got, step.want)
		}
	}
	must(t, i.Apply(nil))
	if got := i.Cgroups(); len(got) > 0 {
		t.Errorf("without a plan %q are captured", got)
	}
}
