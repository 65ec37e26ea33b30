package e2e

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/weir-proxy/weir/pkg/kernel/kerneltest"
	"github.com/weir-proxy/weir/test/harness"
)

// pinning captures connections, datagrams and what comes in, and is to be obeyed by those who are captured without weir, too.
func pinning(fs string) string {
	return fmt.Sprintf("life_cycle: {persistence: UNTIL_STOPPED, bpf_fs: %q}, fail_policy: CLOSED, inbound: {}, %s", fs, userSpace)
}

const askOnce = `
import errno, socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(5)
try:
    s.sendto(b"?", (sys.argv[1], 53)); print(s.recv(99).decode())
except OSError as e:
    print(errno.errorcode.get(e.errno) or type(e).__name__)
`

// TestCleanupOfEverythingPinned kills a weir whose fail policy holds for connections, datagrams and what comes in. The doctor tells of the
// state of each, and the cleanup ends that of each: everything goes where it would go without weir.
//
// It is not parallel, since the cleanup removes empty default cgroups of the machine, too.
func TestCleanupOfEverythingPinned(t *testing.T) {
	harness.NeedInterception(t)
	near, far, group, fs := harness.NewHost(t), harness.NewHost(t), harness.NewCgroup(t), kerneltest.BPFFS(t)
	harness.Link(near, far, houseNet)
	far.TCPBackend(farAddr+":7000", harness.Greets("direct"))
	udpBackendAt(t, far, farAddr+":53", "direct ")
	proxied := near.TCPBackend("127.0.0.1:0", harness.Greets("weir"))
	h := &house{t: t, near: near, far: far, group: group}
	h.serve(true, "0.0.0.0", "8080")
	weir := near.StartWeir(harness.WeirOptions{
		Config: harness.Bootstrap{
			Listeners: []string{
				harness.Listener{Name: "out", Address: farAddr + ":7000", Virtual: true, Chains: []string{harness.Chain(harness.TCP("proxied"))}}.YAML(),
				udpListener("datagrams", farAddr+":53", true, "cluster: datagrams"), virtualInbound(""),
			},
			Clusters: []string{
				harness.Cluster("proxied", harness.To(proxied.Addr)), harness.OriginalDstCluster("inbound"),
				harness.Cluster("datagrams", harness.To(udpBackend(t, near, "weir "))),
			},
		}.YAML(),
		Capture: []*harness.Cgroup{group}, Interception: pinning(fs), Flags: []string{"--base-id=78"},
	})
	all := func(when, stream, datagram, coming string) {
		t.Helper()
		app := near.App().In(group)
		if got := app.Connect(harness.Connect{To: farAddr + ":7000", HalfClose: true}); got.Received+got.Failed != stream {
			t.Errorf("%s: a connection: %+v, want %q", when, got, stream)
		}
		if got := app.Python(askOnce, farAddr); strings.TrimSpace(got.Out) != datagram {
			t.Errorf("%s: a datagram: %+v, want %q", when, got, datagram)
		}
		got, through, err := answer(t, far, nearAddr+":8080")
		if err != nil && errors.Is(err, syscall.ECONNREFUSED) {
			got = "ECONNREFUSED"
		}
		if text := strings.TrimSpace(got + " " + through); text != coming {
			t.Errorf("%s: what comes in: %q (%v), want %q", when, text, err, coming)
		}
	}
	weirctl := func(verb string, options ...string) string {
		t.Helper()
		got := near.App().Run(append([]string{harness.Binary("weirctl"), verb, "--bpf-fs", fs}, options...)...)
		if got.Status != 0 || got.Err != "" {
			t.Errorf("%s: %+v", verb, got)
		}
		return got.Out
	}
	all("with weir", "weir", "weir ?", fmt.Sprintf("app %s %s %s:8080 %s", nearAddr, nearAddr, nearAddr, farAddr))
	states := []string{filepath.Join(fs, "weir", "78"), filepath.Join(fs, "weir", "78_udp"), filepath.Join(fs, "weir", "78_inbound")}
	for _, dir := range states {
		wantContains(t, "the doctor beside weir", weirctl("doctor"), fmt.Sprintf("%s\n    the weir with pid %d owns ", dir, weir.Pid()))
		wantContains(t, "a cleanup beside weir", weirctl("cleanup", "--dry-run"), fmt.Sprintf("%s: kept: the weir with pid %d owns it", dir, weir.Pid()))
	}

	weir.Kill()
	all("killed", "ECONNREFUSED", "ECONNREFUSED", "ECONNREFUSED")
	seen, said := weirctl("doctor"), weirctl("cleanup")
	for _, dir := range states {
		wantContains(t, "the doctor", seen, dir+"\n    left behind: ", "`weirctl cleanup --bpf-fs "+fs+"` removes them", "    on "+group.Name+"\n")
		wantContains(t, "the cleanup", said, dir+": removed: ")
	}
	all("cleaned up", "direct", "direct ?", fmt.Sprintf("app %s %s", farAddr, nearAddr))
	if left := weirctl("doctor"); strings.Contains(left, fs) {
		t.Errorf("afterwards the doctor says\n%s", left)
	}
}
