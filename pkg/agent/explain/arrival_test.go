package explain_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/weir-proxy/weir/pkg/agent/explain"
	"github.com/weir-proxy/weir/pkg/kernel/inbound"
)

// arrivals is what the kernel holds of one network namespace, with cookie 9.
type arrivals struct{ status inbound.Status }

func (a *arrivals) Status() (inbound.Status, error) { return a.status, nil }

func TestArrival(t *testing.T) {
	b := newBed(t)
	place := func(addr string, captured, foreign int) inbound.Place {
		return inbound.Place{Addr: netip.MustParseAddrPort(addr), Captured: captured, Foreign: foreign}
	}
	k := &arrivals{inbound.Status{
		Generation: 4,
		Plan: &inbound.Plan{
			Rules: []inbound.Rule{
				{Prefix: netip.MustParsePrefix("0.0.0.0/0"), Listener: "everything", Origin: "listener everything"},
				{Prefix: netip.MustParsePrefix("::/0"), Port: 80, Listener: "everything", Origin: "listener everything"},
			},
			Excludes: []inbound.Rule{{Prefix: netip.MustParsePrefix("0.0.0.0/0"), Port: 22, Origin: "inbound.exclude[0]"}},
		},
		Namespaces: []inbound.NamespaceStatus{{
			Cookie: 9, Sinks: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:40001")},
			Places: []inbound.Place{
				place("0.0.0.0:80", 1, 0), place("192.0.2.8:80", 0, 1), place("0.0.0.0:22", 1, 0), place("0.0.0.0:81", 1, 1),
				place("[::]:80", 1, 0), place("[::]:81", 1, 0), place("192.0.2.9:82", 1, 0),
			},
		}},
	}}
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
		{"another address", "dst=192.0.2.1:82", ""},
		{"its address", "dst=192.0.2.9:82", "captured: "},
		{"a foreign socket is nearer", "dst=192.0.2.8:80", ""},
		{"a foreign socket beside it", "dst=192.0.2.1:81", "foreign: "},
		{"excluded", "dst=192.0.2.1:22", "excluded: "},
		{"loopback", "dst=127.0.0.1:80", "loopback: "},
		{"no rule", "dst=[fd00::1]:81", "no_rule: "},
		{"no socket of the family", "dst=[fd00::1]:80", "no_socket: "},
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
			if tt.says == "foreign: " && (a.Outcome != explain.OutcomeNotSeen || !strings.Contains(a.Verdict, "where it arrives, a process that is not captured")) {
				t.Errorf("outcome %s, verdict %q", a.Outcome, a.Verdict)
			}
		})
	}
}
