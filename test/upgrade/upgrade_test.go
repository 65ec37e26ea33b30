package upgrade

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/weir-proxy/weir/pkg/kernel/pin"
	"github.com/weir-proxy/weir/test/harness"
)

// TestUpgradeUnderTraffic replaces weir five times while connections are made to a captured address, to a bound listener, and from
// the application to it. None may fail, and one that was there before goes on until the older weir has to end.
func TestUpgradeUnderTraffic(t *testing.T) {
	for _, persistence := range []string{"PROCESS", "UNTIL_STOPPED", "ALWAYS"} {
		t.Run(persistence, func(t *testing.T) {
			r := newRig(t)
			weir := r.start(persistence, "fail_policy: CLOSED", false)
			clients := r.load(virtual, real, virtual, bound)
			outside := r.dialer(bound, "weir")
			for epoch := 1; epoch <= 5; epoch++ {
				held := r.host.MustDial(bound)
				next := r.start(persistence, "fail_policy: CLOSED", false, "--restart-epoch", strconv.Itoa(epoch), "--parent-shutdown-time-s", "1")
				if _, err := held.Write([]byte("x")); err != nil {
					t.Errorf("epoch %d: a connection of the weir before: %v", epoch, err)
				}
				held.Close()
				if status := weir.Wait(); status != 0 {
					t.Errorf("epoch %d: the weir before ended with status %d", epoch, status)
				}
				weir = next
				weir.AwaitStat("listener.10.99.0.1_80.downstream_cx_total", func(n int) bool { return n > 20 })
			}
			seen := clients.end()
			for what, n := range seen {
				if !strings.HasSuffix(what, " weir!") {
					t.Errorf("%d connections: %s", n, what)
				}
			}
			if n := seen[virtual+" weir!"]; n < 100 {
				t.Errorf("%d captured connections are no load: %v", n, seen)
			}
			if ok, failed := outside.end(); failed > 0 || ok < 100 {
				t.Errorf("%d connections to the bound listener failed, %d did not; first: %v", failed, ok, outside.first.Load())
			}
			t.Logf("saw %v", seen)
			weir.Stop()
			if persistence == "ALWAYS" {
				// Nobody is there, and the policy holds until cleanup.
				if got := r.host.App().In(r.group).Connect(harness.Connect{To: real}); !strings.Contains(got.Failed, "ECONNREFUSED") {
					t.Errorf("without weir: %+v, want it refused", got)
				}
				cleanup(t, r)
			}
			// The kernel frees links that were pinned a moment after their last reference is gone.
			harness.EventuallyNil(t, "connections are left alone", func() error {
				if got := r.host.App().In(r.group).Connect(harness.Connect{To: real, Send: "!", HalfClose: true}); got.Received != "direct!" {
					return fmt.Errorf("%+v, want it direct", got)
				}
				return nil
			})
		})
	}
}

// cleanup removes the pinned state that nobody owns.
func cleanup(t *testing.T, r *rig) {
	t.Helper()
	states, err := pin.List(r.fs)
	if err != nil || len(states) != 1 || states[0].Owned {
		t.Fatalf("state left behind: %+v (%v), want one that nobody owns", states, err)
	}
	if err := pin.Discard(states[0]); err != nil {
		t.Error(err)
	}
}
