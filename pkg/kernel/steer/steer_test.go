package steer

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/test/golden"
)

func snapshot(interception *model.Interception, listeners ...*model.Listener) *model.Snapshot {
	snap := &model.Snapshot{Interception: interception}
	for _, l := range listeners {
		snap.Listeners = snap.Listeners.With(l.Name, l)
	}
	return snap
}

// virtual is a listener with bind_to_port false.
func virtual(name string, addrs ...string) *model.Listener {
	l := &model.Listener{Resource: model.Resource{Name: name}}
	for n, addr := range addrs {
		if n == 0 {
			l.Address = netip.MustParseAddrPort(addr)
		} else {
			l.AdditionalAddresses = append(l.AdditionalAddresses, netip.MustParseAddrPort(addr))
		}
	}
	return l
}

func inbound(l *model.Listener) *model.Listener {
	l.TrafficDirection = model.TrafficInbound
	return l
}

func catchAll(name, addr string, direction model.TrafficDirection) *model.Listener {
	l := virtual(name, addr)
	l.BindToPort, l.UseOriginalDst, l.TrafficDirection = true, true, direction
	return l
}

func ranges(prefix string, ports ...uint16) model.CaptureRange {
	r := model.CaptureRange{Ports: ports}
	if prefix != "" {
		r.Prefix = netip.MustParsePrefix(prefix)
	}
	return r
}

func cases() map[string]*model.Snapshot {
	compat := virtual("six", "[::]:80")
	compat.IPv4Compat = true
	bound := virtual("bound", "10.0.0.1:80")
	bound.BindToPort = true
	pipe := virtual("pipe")
	pipe.Pipe = "/run/x.sock"
	outbound := catchAll("outbound", "0.0.0.0:15001", model.TrafficOutbound)
	return map[string]*model.Snapshot{
		"nil":              nil,
		"empty":            snapshot(nil),
		"bound_only":       snapshot(nil, bound),
		"exact":            snapshot(nil, virtual("shop", "10.99.0.1:80", "[fd00:99::1]:80"), bound),
		"mapped_address":   snapshot(nil, virtual("shop", "[::ffff:10.99.0.1]:80")),
		"any_address":      snapshot(nil, virtual("all", "0.0.0.0:80"), virtual("one", "10.0.0.1:80"), virtual("local", "127.0.0.1:80")),
		"any_address_ipv6": snapshot(nil, virtual("six", "[::]:80")),
		"ipv4_compat":      snapshot(nil, compat),
		"ipv4_compat_yields": snapshot(nil, compat,
			virtual("z-four", "0.0.0.0:80")),
		"use_original_dst": snapshot(nil, outbound, virtual("web", "0.0.0.0:80")),
		"inbound_is_no_catch_all": snapshot(nil,
			catchAll("inbound", "0.0.0.0:15006", model.TrafficInbound)),
		"inbound_by_address_is_not_for_what_leaves": snapshot(nil,
			inbound(virtual("in", "0.0.0.0:8080", "10.0.0.5:9090")), inbound(virtual("in6", "[::]:8080"))),
		"inbound_beside_outbound": snapshot(nil, outbound, virtual("web", "0.0.0.0:80"),
			catchAll("virtualInbound", "0.0.0.0:15006", model.TrafficInbound), inbound(virtual("in", "0.0.0.0:80", "10.0.0.5:9090"))),
		"unspecified_direction_and_two": snapshot(nil,
			catchAll("b", "0.0.0.0:15001", model.TrafficUnspecified), catchAll("c", "0.0.0.0:15002", model.TrafficOutbound)),
		"unusable": snapshot(nil, pipe, virtual("no-port", "10.0.0.1:0"), virtual("no-address"),
			virtual("twin-a", "10.0.0.1:80"), virtual("twin-b", "10.0.0.1:80")),
		"include_exclude": snapshot(&model.Interception{
			Cgroups: []string{"system.slice/*.service"},
			Include: []model.CaptureRange{
				ranges("10.0.0.0/8"), ranges("2001:db8::/32", 443, 8443), ranges("10.0.0.1/32", 80),
				{Prefix: netip.PrefixFrom(netip.MustParseAddr("::ffff:192.0.2.7"), 128), Ports: []uint16{0, 99}},
			},
			Exclude:    []model.CaptureRange{ranges("", 22), ranges("10.1.0.0/16"), ranges("10.1.0.0/16")},
			FailClosed: true,
		}, virtual("shop", "10.0.0.1:80")),
		"include_loopback": snapshot(&model.Interception{
			Include: []model.CaptureRange{ranges("127.0.0.5/32"), ranges("127.0.0.6/32", 80, 81)},
		}, outbound, virtual("web", "0.0.0.0:80")),
		"include_everything": snapshot(&model.Interception{Include: []model.CaptureRange{ranges("")}}),
		"disabled":           snapshot(&model.Interception{Disabled: true}, outbound),
	}
}

// TestCompile compares the plans with golden files.
func TestCompile(t *testing.T) {
	for name, snap := range cases() {
		t.Run(name, func(t *testing.T) {
			plan, notices := Compile(snap)
			got := render(plan, notices)
			golden.Check(t, "testdata/"+name+".golden", got)
			again, _ := Compile(snap)
			if change := Diff(plan, again); !change.Empty() {
				t.Errorf("compiled again, the plan differs: %+v", change)
			}
		})
	}
}

func render(plan *Plan, notices []Notice) string {
	var b strings.Builder
	fmt.Fprintf(&b, "cgroups %q fail_closed %t disabled %t\n", plan.Cgroups, plan.FailClosed, plan.Disabled)
	for _, r := range plan.Rules {
		fmt.Fprintf(&b, "%-8s %-20s port %-5d listener %q (%s)%s\n", r.Action, r.Prefix, r.Port, r.Listener, r.Origin, more(r))
	}
	for _, r := range plan.Excludes {
		fmt.Fprintf(&b, "%-8s %-20s port %-5d (%s)\n", "exclude", r.Prefix, r.Port, r.Origin)
	}
	for _, n := range notices {
		fmt.Fprintf(&b, "notice   %s\n", n)
	}
	return b.String()
}

// more is what only some rules have.
func more(r Rule) string {
	switch {
	case r.Service != "":
		return ", service " + r.Service
	case r.Kept != "" && !strings.HasPrefix(r.Kept, "filter_chains: "): // most tests are about capturing alone
		return ", kept by " + r.Kept
	}
	return ""
}

func TestDiff(t *testing.T) {
	rule := func(prefix string, listener string) Rule {
		return Rule{Prefix: netip.MustParsePrefix(prefix), Port: 80, Action: Redirect, Listener: listener}
	}
	a, b, b2, c := rule("10.0.0.1/32", "a"), rule("10.0.0.2/32", "b"), rule("10.0.0.2/32", "other"), rule("10.0.0.3/32", "c")
	tests := []struct {
		name     string
		from, to *Plan
		want     Change
	}{
		{"nothing", nil, nil, Change{}},
		{"same", &Plan{Rules: []Rule{a}}, &Plan{Rules: []Rule{a}}, Change{}},
		{"first plan", nil, &Plan{Rules: []Rule{a}, Cgroups: []string{"x"}}, Change{Added: []Rule{a}, Cgroups: true}},
		{
			"all kinds", &Plan{Rules: []Rule{a, b}, Excludes: []Rule{a}}, &Plan{Rules: []Rule{b2, c}, Excludes: []Rule{c}},
			Change{
				Added: []Rule{c}, Removed: []Rule{a}, Altered: []Rule{b2},
				AddedExcludes: []Rule{c}, RemovedExcludes: []Rule{a},
			},
		},
		{"policy", &Plan{}, &Plan{FailClosed: true}, Change{Policy: true}},
		{"disabled", &Plan{}, &Plan{Disabled: true}, Change{Policy: true}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := Diff(test.from, test.to)
			if diff := cmp.Diff(test.want, got, cmp.Comparer(func(a, b Rule) bool { return a == b })); diff != "" {
				t.Errorf("change (-want +got):\n%s", diff)
			}
			if got.Empty() != (test.name == "nothing" || test.name == "same") {
				t.Errorf("empty: %t", got.Empty())
			}
		})
	}
}

func BenchmarkCompile(b *testing.B) {
	snap := snapshot(nil, catchAll("outbound", "0.0.0.0:15001", model.TrafficOutbound))
	for n := range 10000 {
		l := virtual(fmt.Sprintf("l%d", n), fmt.Sprintf("10.%d.%d.1:80", n/256, n%256))
		snap.Listeners = snap.Listeners.With(l.Name, l)
	}
	for b.Loop() {
		Compile(snap)
	}
}
