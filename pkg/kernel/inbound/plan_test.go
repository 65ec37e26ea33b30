package inbound

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/weir-proxy/weir/pkg/config/model"
)

func snapshot(i *model.Interception, listeners ...*model.Listener) *model.Snapshot {
	snap := &model.Snapshot{Interception: i}
	for _, l := range listeners {
		snap.Listeners = snap.Listeners.With(l.Name, l)
	}
	return snap
}

func inboundListener(name, addr string) *model.Listener {
	return &model.Listener{
		Resource: model.Resource{Name: name}, Address: netip.MustParseAddrPort(addr), TrafficDirection: model.TrafficInbound,
	}
}

func TestCompile(t *testing.T) {
	virtual := inboundListener("virtual", "0.0.0.0:15006")
	virtual.UseOriginalDst, virtual.BindToPort = true, true
	unbound := inboundListener("unbound", "0.0.0.0:15006")
	unbound.UseOriginalDst = true
	outbound := inboundListener("outbound", "10.0.0.1:80")
	outbound.TrafficDirection = model.TrafficOutbound
	bound := inboundListener("bound", "10.0.0.1:80")
	bound.BindToPort = true
	both := inboundListener("both", "[::]:80")
	both.IPv4Compat = true
	ssh := []model.CaptureRange{{Prefix: netip.MustParsePrefix("0.0.0.0/0"), Ports: []uint16{22, 2222}}}
	rule := func(prefix string, port uint16, listener string) Rule {
		return Rule{Prefix: netip.MustParsePrefix(prefix), Port: port, Listener: listener}
	}
	for _, tc := range []struct {
		name           string
		snap           *model.Snapshot
		rules, exclude []Rule
	}{
		{"nothing", snapshot(nil), nil, nil},
		{"virtual inbound", snapshot(nil, virtual), []Rule{rule("0.0.0.0/0", 0, "virtual"), rule("::/0", 0, "virtual")}, nil},
		{
			"virtual inbound without a socket", snapshot(nil, unbound),
			[]Rule{rule("0.0.0.0/0", 0, "unbound"), rule("0.0.0.0/0", 15006, "unbound"), rule("::/0", 0, "unbound")},
			nil,
		},
		{"outbound and ordinary", snapshot(nil, outbound, bound), nil, nil},
		{
			"exact and any", snapshot(nil, inboundListener("exact", "10.0.0.1:80"), inboundListener("any", "0.0.0.0:81"), inboundListener("six", "[::]:82")),
			[]Rule{rule("0.0.0.0/0", 81, "any"), rule("10.0.0.1/32", 80, "exact"), rule("::/0", 82, "six")},
			nil,
		},
		{"both families", snapshot(nil, both), []Rule{rule("0.0.0.0/0", 80, "both"), rule("::/0", 80, "both")}, nil},
		{
			"include and exclude", snapshot(&model.Interception{Inbound: model.Inbound{
				Include: []model.CaptureRange{{Prefix: netip.MustParsePrefix("10.0.0.0/8"), Ports: []uint16{80}}}, Exclude: ssh,
			}}, virtual),
			[]Rule{rule("10.0.0.0/8", 80, "virtual")},
			[]Rule{rule("0.0.0.0/0", 22, ""), rule("0.0.0.0/0", 2222, "")},
		},
		{"off", snapshot(&model.Interception{Inbound: model.Inbound{Off: true}}, virtual), nil, nil},
		{"disabled", snapshot(&model.Interception{Disabled: true}, virtual), nil, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			plan := Compile(tc.snap)
			if diff := cmp.Diff(tc.rules, plan.Rules, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }), cmpopts.IgnoreFields(Rule{}, "Origin")); diff != "" {
				t.Errorf("rules (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tc.exclude, plan.Excludes, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }), cmpopts.IgnoreFields(Rule{}, "Origin")); diff != "" {
				t.Errorf("exclusions (-want +got):\n%s", diff)
			}
			if plan.Empty() != (len(tc.rules) == 0) || len(plan.Cgroups) == 0 {
				t.Errorf("empty %t, cgroups %q", plan.Empty(), plan.Cgroups)
			}
		})
	}
}
