package faults

import (
	"fmt"
	"strings"
	"testing"

	"github.com/weir-proxy/weir/pkg/kernel/pin"
	"github.com/weir-proxy/weir/test/harness"
)

// comeLoop connects again and again, and says how many connections did not reach weir.
const comeLoop = `
import socket, sys, time
bad, count, end = 0, 0, time.monotonic() + float(sys.argv[1])
while time.monotonic() < end:
    for port in sys.argv[2:]:
        count += 1
        try:
            with socket.create_connection(("192.0.2.1", int(port)), 5) as s:
                text = b""
                s.shutdown(socket.SHUT_WR)
                while part := s.recv(99): text += part
            if text != b"weir": raise OSError("got %s" % text)
        except OSError as e: bad += 1; print(port, repr(e), file=sys.stderr)
print(bad, "of", count)
`

// TestInboundUpgradeUnderTraffic replaces weir three times while connections come in for a captured application that listened before the
// first weir, and for one that came later: none goes past weir, and none fails.
func TestInboundUpgradeUnderTraffic(t *testing.T) {
	for _, persistence := range []string{"PROCESS", "UNTIL_STOPPED", "ALWAYS"} {
		t.Run(persistence, func(t *testing.T) {
			t.Parallel()
			r, far := newInboundRig(t, persistence, "CLOSED")
			greet(t, r.host, r.host.App().In(r.group), 8080)
			weir := r.start(true)
			greet(t, r.host, r.host.App().In(r.group), 8081)
			clients := far.App().Start("python3", "-I", "-c", comeLoop, "8", "8080", "8081")
			for epoch := 1; epoch <= 3; epoch++ {
				next := r.startNext(epoch)
				if status := weir.Wait(); status != 0 {
					t.Errorf("epoch %d: the weir before ended with status %d", epoch, status)
				}
				weir = next
				weir.AwaitStat("listener.0.0.0.0_15006.downstream_cx_total", func(n int) bool { return n > 20 })
			}
			if got := clients.Wait(); !strings.HasPrefix(got.Out, "0 of ") || len(got.Out) < len("0 of 100\n") {
				t.Errorf("%+v\n%s", got, weir.Log())
			}
			weir.Stop()
			discard(t, r, persistence == "ALWAYS")
		})
	}
}

// discard removes the state of all kinds that nobody owns, of which there must be some or none.
func discard(t *testing.T, r *rig, some bool) {
	t.Helper()
	states, err := pin.List(r.fs)
	if err != nil || len(states) > 0 != some {
		t.Errorf("pinned: %+v (%v), want some: %t", states, err, some)
	}
	for _, s := range states {
		if s.Owned {
			t.Errorf("%s is owned", s.Dir)
		}
		if err := pin.Discard(s); err != nil {
			t.Error(err)
		}
	}
}

// TestAlwaysAfterStop stops weir in order: what is pinned for good holds the fail policy for datagrams and for what comes in, the next
// weir takes over, and cleanup ends it.
func TestAlwaysAfterStop(t *testing.T) {
	for policy, without := range map[string]struct{ coming, datagrams string }{
		"CLOSED": {"ECONNREFUSED", "ECONNREFUSED"}, "OPEN": {"application", "direct"},
	} {
		t.Run("inbound "+policy, func(t *testing.T) {
			t.Parallel()
			r, far := newInboundRig(t, "ALWAYS", policy)
			greet(t, r.host, r.host.App().In(r.group), 8080)
			greet(t, r.host, r.host.App().In(r.other), 8090)
			look := func(when, want string) {
				t.Helper()
				wantComing(t, when, far, map[int]string{8080: want, 8090: "application"})
			}
			for range 2 {
				weir := r.start(true)
				look("with weir", "weir")
				weir.Stop()
				look("stopped", without.coming)
			}
			discard(t, r, true)
			look("cleaned up", "application")
		})
		t.Run("datagrams "+policy, func(t *testing.T) {
			t.Parallel()
			r := newUDPRig(t, "ALWAYS", policy)
			app := r.host.App().In(r.group)
			for range 2 {
				weir := r.start(true)
				wantDatagrams(t, "with weir", app, "weir")
				weir.Stop()
				wantDatagrams(t, "stopped", app, without.datagrams)
				wantDatagrams(t, "stopped, beside it", r.host.App().In(r.other), "direct")
			}
			discard(t, r, true)
			wantDatagrams(t, "cleaned up", app, "direct")
		})
	}
}

// TestInboundRulesLost has more rules than there is room for: at the start there are none, and what comes in for captured applications
// obeys the fail policy.
func TestInboundRulesLost(t *testing.T) {
	var ports []string
	for port := range 2000 {
		ports = append(ports, fmt.Sprint(20000+port))
	}
	excludes := fmt.Sprintf(", inbound: {exclude: [{prefix: 198.51.0.0/24, ports: &ports [%s]}", strings.Join(ports, ", "))
	for n := 1; n < 40; n++ {
		excludes += fmt.Sprintf(", {prefix: 198.51.%d.0/24, ports: *ports}", n)
	}
	excludes += "]}"
	for policy, outcome := range map[string]string{"CLOSED": "ECONNREFUSED", "OPEN": "application"} {
		t.Run(policy, func(t *testing.T) {
			t.Parallel()
			r, far := newInboundRig(t, "PROCESS", policy)
			r.conf += "admin: {address: " + harness.Address(harness.AdminAddr) + "}\n"
			greet(t, r.host, r.host.App().In(r.group), 8080)
			greet(t, r.host, r.host.App().In(r.other), 8090)
			weir := r.startBare(fmt.Sprintf("cgroups: [%s], fail_policy: %s", r.group.Name, policy)+excludes, nil, true)
			wantComing(t, "without room", far, map[int]string{8080: outcome, 8090: "application"})
			lost := r.host.App().Curl("http://" + harness.AdminAddr + "/stats?filter=weir.inbound.rules_lost").Out
			if counted := lost != "" && lost != "weir.inbound.rules_lost: 0\n"; counted != (policy == "CLOSED") {
				t.Errorf("counted %q", lost)
			}
			want(t, "the log", weir.Log(), "(at most 65536 rules fit)")
			if took := weir.CPU(); took > 2e9 {
				t.Errorf("refusing the rules took %s", took)
			}
		})
	}
}
