package inbound

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/kernel/events"
	"github.com/weir-proxy/weir/pkg/kernel/steer"
)

// newTellingBench is a bench whose programs tell through a ring.
func newTellingBench(t *testing.T) (*bench, *events.Listener, <-chan *events.Event) {
	t.Helper()
	ring, err := events.New()
	must(t, err)
	told := make(chan *events.Event, 1000)
	l, err := ring.Listen(func(e *events.Event) { told <- e })
	must(t, err)
	t.Cleanup(func() {
		if err := errors.Join(l.Close(), ring.Close()); err != nil {
			t.Error(err)
		}
	})
	b := newBench(t)
	must(t, b.Inbound.Close())
	b.Inbound, err = New(Options{Hierarchy: b.hierarchy, Ring: ring})
	must(t, err)
	t.Cleanup(func() { must(t, b.Inbound.Close()) })
	return b, l, told
}

func next(t *testing.T, told <-chan *events.Event) *events.Event {
	t.Helper()
	select {
	case e := <-told:
		return e
	case <-time.After(10 * time.Second):
		t.Fatal("nothing is told")
		return nil
	}
}

// TestEventsAgreeWithExplain is told of connections that come in, each of which is explained with the same words. Programs of two
// namespaces have one switch.
func TestEventsAgreeWithExplain(t *testing.T) {
	for _, closed := range []bool{false, true} {
		t.Run(fmt.Sprintf("closed %t", closed), func(t *testing.T) {
			b, l, told := newTellingBench(t)
			server, foreign := b.app(t, b.dir), b.app(t, "")
			taken, free, left, denied := server.listen("tcp4", "0.0.0.0:0"), server.listen("tcp4", "0.0.0.0:0"), server.listen("tcp4", "0.0.0.0:0"), server.listen("tcp4", "0.0.0.0:0")
			six, other := server.listen("tcp6", "["+ip6+"]:0"), foreign.listen("tcp4", ip4+":0")
			port := func(addr string) uint16 { return netip.MustParseAddrPort(addr).Port() }
			four := netip.MustParsePrefix("0.0.0.0/0")
			plan := &Plan{
				FailClosed: closed,
				Rules: []Rule{
					{Prefix: four, Port: port(taken), Listener: "taken"},
					{Prefix: four, Port: port(left), Listener: "left"},
					{Prefix: netip.MustParsePrefix("::/0"), Listener: "six"},
					{Prefix: four, Port: port(denied), Listener: "denied", Policy: nobody(t)},
				},
				Excludes: []Rule{{Prefix: netip.MustParsePrefix(ip4 + "/32"), Port: port(left)}},
			}
			b.start(t, plan)
			second := newHost(t)
			must(t, b.AddNamespace(second.Namespace))
			compare := func(h host, addr, want string) {
				t.Helper()
				at := netip.MustParseAddrPort(addr)
				must(t, l.Want(events.Everything()))
				h.dial(addr)
				e := next(t, told)
				must(t, l.Want(events.Wanted{}))
				x, err := b.Explain(h.Cookie(), e.Src, at)
				must(t, err)
				if got := fmt.Sprintf("%s %s %s", e.Verdict, e.Reason, e.Listener); got != want || e.Reason != x.Reason.String() || e.Verdict != events.Verdict(x.Action) || x.Rule != nil && e.Listener != x.Rule.Listener {
					t.Errorf("%s: told %q, want %q, explained %+v", addr, got, want, x)
				}
				if e.Kind != events.Arrival || !e.Inbound || e.Protocol != events.TCP || e.Dst != at || e.Netns != h.Cookie() || e.Src.Addr() != at.Addr() || e.Src.Port() == 0 || e.PID != 0 || e.Cgroup != 0 || time.Since(e.At).Abs() > time.Minute {
					t.Errorf("event %+v", e)
				}
			}
			compare(b.host, on(ip4, taken), "redirect captured taken")
			compare(b.host, six, "redirect captured six")
			compare(b.host, on(ip4, free), "pass no_rule ")
			compare(b.host, on(ip4, left), "pass excluded ")
			compare(b.host, on(ip4, denied), "refuse policy_denied denied")
			compare(b.host, on("127.0.0.1", taken), "pass loopback ")
			compare(b.host, other, "pass not_captured ")
			compare(second, on(ip4, taken), "pass not_captured ")
			b.sinks[0].Close()
			compare(b.host, on(ip4, taken), map[bool]string{false: "pass no_socket taken", true: "refuse no_socket taken"}[closed])
			if l.Lost() > 0 || len(told) > 0 {
				t.Errorf("%d are lost, %d are told too", l.Lost(), len(told))
			}
		})
	}
}

// nobody is a policy that denies everything.
func nobody(t *testing.T) *steer.Policy {
	t.Helper()
	anything := []model.RBACRule{{Kind: model.RBACAny}}
	p, kept := steer.CompilePolicy([]*model.NetworkRBAC{{StatPrefix: "nobody", Rules: &model.RBAC{
		Action: model.RBACDeny, Policies: []model.RBACPolicy{{Name: "all", Permissions: anything, Principals: anything}},
	}}})
	if p == nil {
		t.Fatal(kept)
	}
	return p
}
