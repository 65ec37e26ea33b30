package explain_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/weir-proxy/weir/pkg/agent/explain"
	"github.com/weir-proxy/weir/pkg/kernel/inbound"
	"github.com/weir-proxy/weir/pkg/kernel/steer"
)

// arrivals is what the kernel decides in one network namespace, with cookie 9, by the destination.
type arrivals map[string]inbound.Explanation

func (a arrivals) Explain(netns uint64, _, server netip.AddrPort) (inbound.Explanation, error) {
	if x, ok := a[server.String()]; ok && netns == 9 {
		return x, nil
	}
	return inbound.Explanation{Reason: inbound.ReasonNotCaptured}, nil
}

func TestArrival(t *testing.T) {
	b := newBed(t)
	rule := &inbound.Rule{Prefix: netip.MustParsePrefix("0.0.0.0/0"), Listener: "everything", Origin: "listener everything"}
	k := arrivals{
		"192.0.2.1:80":  {Reason: inbound.ReasonCaptured, Action: steer.Redirect, Rule: rule, Generation: 4},
		"192.0.2.1:81":  {Reason: inbound.ReasonForeign},
		"192.0.2.1:22":  {Reason: inbound.ReasonExcluded, Rule: &inbound.Rule{Port: 22, Origin: "inbound.exclude[0]"}},
		"127.0.0.1:80":  {Reason: inbound.ReasonLoopback},
		"[fd00::1]:81":  {Reason: inbound.ReasonNoRule},
		"[fd00::1]:80":  {Reason: inbound.ReasonNoSocket, Rule: rule},
		"192.0.2.1:443": {Reason: inbound.ReasonNoSocket, Rule: rule, Action: steer.Refuse},
		"192.0.2.1:444": {Reason: inbound.ReasonPolicyDenied, Action: steer.Refuse, Rule: rule},
	}
	b.kernel.plan.Rules = nil
	b.opt.Arrivals = &explain.Arrivals{
		Kernel: func() explain.ArrivalKernel { return k },
		Home: func(addr netip.Addr, _ string) (uint64, string, bool) {
			return 9, "net:[1]", addr != netip.MustParseAddr("198.51.100.1")
		},
	}
	b.opt.Source = func(string) (explain.Caller, error) {
		return explain.Caller{Remote: true, Text: "somebody", Addr: netip.MustParseAddr("198.51.100.1")}, nil
	}
	e := explain.New(b.opt)
	tests := []struct{ name, query, says string }{
		{"captured", "dst=192.0.2.1:80", "captured: "},
		{"from elsewhere", "dst=192.0.2.1:80&from=198.51.100.1", "captured: "},
		{"nobody listens", "dst=192.0.2.1:83", ""},
		{"a foreign socket beside it", "dst=192.0.2.1:81", "foreign: "},
		{"excluded", "dst=192.0.2.1:22", "excluded: "},
		{"loopback", "dst=127.0.0.1:80", "loopback: "},
		{"no rule", "dst=[fd00::1]:81", "no_rule: "},
		{"no socket of the family", "dst=[fd00::1]:80", "no_socket: "},
		{"closed without a socket", "dst=192.0.2.1:443", "no_socket: "},
		{"denied", "dst=192.0.2.1:444", "policy_denied: "},
		{"not here", "dst=198.51.100.1:80", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := ask(t, e, tt.query)
			reason := ""
			for _, s := range a.Steps {
				if s.Name == "arrival" {
					reason = s.Details[0].Value
				}
			}
			if reason == "" && tt.says != "" || !strings.HasPrefix(reason, tt.says) || tt.says == "" && reason != "" {
				t.Errorf("reason %q, want %q\n%s", reason, tt.says, a.Text())
			}
			if captured := tt.says == "captured: "; captured != strings.HasPrefix(a.Verdict, "weir takes this connection where it arrives") {
				t.Errorf("verdict %q", a.Verdict)
			}
			if refused := tt.name == "denied" || strings.HasPrefix(tt.name, "closed"); refused != (a.Outcome == explain.OutcomeRefused) {
				t.Errorf("outcome %s", a.Outcome)
			}
			if tt.says == "foreign: " && (a.Outcome != explain.OutcomeNotSeen || !strings.Contains(a.Verdict, "where it arrives, a process that is not captured")) {
				t.Errorf("outcome %s, verdict %q", a.Outcome, a.Verdict)
			}
		})
	}
}
