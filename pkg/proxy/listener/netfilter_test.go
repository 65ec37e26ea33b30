package listener

import (
	"os"
	"os/exec"
	goruntime "runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/weir-proxy/weir/pkg/config/model"
)

// enterNamespace moves the test's goroutine to a thread in a network namespace of its own, which ends with the test.
func enterNamespace(t *testing.T, commands ...string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root for a network namespace")
	}
	goruntime.LockOSThread() // never unlocked: the thread ends with the goroutine, and the namespace with it
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Skipf("make a network namespace: %v", err)
	}
	for _, c := range commands {
		args := strings.Fields(c)
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Skipf("%s: %v: %s", c, err, out)
		}
	}
}

// TestNetfilterRedirect takes the original destination from the kernel's connection tracking.
func TestNetfilterRedirect(t *testing.T) {
	enterNamespace(t, "ip link set lo up",
		"ip route add local 10.0.0.0/8 dev lo", "ip -6 route add local fd00::/8 dev lo",
		"nft add table inet t", "nft add chain inet t out { type nat hook output priority -100 ; }",
		"nft add rule inet t out ip daddr 10.0.0.0/8 tcp dport 80-99 redirect to :15001",
		"nft add rule inet t out ip6 daddr fd00::/8 tcp dport 80-99 redirect to :15001")
	b := newBed(t, nil)
	out := bound("outbound", "[::]:15001", plainChain("outbound", model.FilterChainMatch{}))
	out.UseOriginalDst, out.IPv4Compat = true, true
	target := bound("target", "10.0.0.1:80", plainChain("target", model.FilterChainMatch{}))
	target.BindToPort = false
	target6 := bound("target6", "[fd00::1]:80", plainChain("target6", model.FilterChainMatch{}))
	target6.BindToPort = false
	b.mustApply(out, target, target6)
	for addr, want := range map[string]string{
		"10.0.0.1:80":     "target target 10.0.0.1:80",
		"10.0.0.9:81":     "outbound outbound 10.0.0.9:81",
		"[fd00::1]:80":    "target6 target6 [fd00::1]:80",
		"[fd00::2]:82":    "outbound outbound [fd00::2]:82",
		"127.0.0.1:15001": "outbound outbound 127.0.0.1:15001",
	} {
		if got := line(t, dial(t, addr)); got != want {
			t.Errorf("%s: got %q, want %q", addr, got, want)
		}
	}
}
