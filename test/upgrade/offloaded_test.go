package upgrade

import (
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/weir-proxy/weir/test/harness"
)

// TestOffloadedOfTheWeirBefore has a weir see and count, by its gauges, what one before it has offloaded and still lasts, after an upgrade
// and after a crash. No beginning is counted twice, and an end is counted once.
func TestOffloadedOfTheWeirBefore(t *testing.T) {
	for _, upgrade := range []bool{true, false} {
		t.Run(map[bool]string{true: "upgrade", false: "crash"}[upgrade], func(t *testing.T) {
			r := newRig(t)
			start := func(flags ...string) *harness.Weir {
				return r.host.StartWeir(harness.WeirOptions{
					Config: r.conf, Capture: []*harness.Cgroup{r.group}, Flags: flags,
					Interception: fmt.Sprintf("life_cycle: {persistence: UNTIL_STOPPED, bpf_fs: %q}", r.fs),
				})
			}
			gauges := func(weir *harness.Weir, want int) {
				t.Helper()
				for _, name := range []string{"cluster.backend.upstream_cx_active", "cluster.backend.upstream_rq_active", "listener.10.99.0.1_80.downstream_cx_active"} {
					weir.AwaitStat(name, func(n int) bool { return n == want })
				}
			}
			hold := func() *harness.Process {
				return r.host.App().In(r.group).Start("python3", "-I", "-c", `
import socket
s = socket.create_connection(("10.99.0.1", 80))
s.recv(1)
s.recv(10000)
while s.recv(1): pass
`)
			}
			first := start()
			held := hold()
			gauges(first, 1)
			var second *harness.Weir
			if upgrade {
				second = start("--restart-epoch", "1", "--parent-shutdown-time-s", "1")
				first.Wait()
			} else {
				first.Kill()
				second = start()
			}
			gauges(second, 1)
			begun := 0
			if upgrade {
				begun = 1 // totals go on
			}
			if n := second.Stat("cluster.backend.upstream_cx_total"); n != begun {
				t.Errorf("%d connections were begun, want %d", n, begun)
			}
			page := second.Page("/weir/connections?format=json")
			for _, want := range []string{`"offloaded"`, `"10.99.0.1:80"`, `"backend"`, `"virtual"`} {
				if !strings.Contains(page, want) {
					t.Errorf("no %s in\n%s", want, page)
				}
			}
			if page := second.Page("/clusters"); !strings.Contains(page, "::cx_active::1\n") {
				t.Errorf("/clusters does not count it:\n%s", page)
			}
			own := hold()
			gauges(second, 2)
			held.Signal(syscall.SIGKILL)
			gauges(second, 1)
			own.Signal(syscall.SIGKILL)
			gauges(second, 0)
			if n := second.Stat("cluster.backend.upstream_cx_total"); n != begun+1 {
				t.Errorf("%d connections were begun, want %d", n, begun+1)
			}
		})
	}
}
