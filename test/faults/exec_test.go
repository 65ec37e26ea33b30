package faults

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/weir-proxy/weir/pkg/kernel/pin"
	"github.com/weir-proxy/weir/test/harness"
)

// TestExecBesideADaemon runs a command with a private weir whose configuration is that of the daemon, pinned state included. The daemon
// keeps its state, can be upgraded afterwards, and nothing of the private weir stays.
func TestExecBesideADaemon(t *testing.T) {
	r := newRig(t, "ALWAYS", "CLOSED")
	daemon := func(flags ...string) *harness.Weir {
		return r.host.StartWeir(harness.WeirOptions{Config: r.conf, Capture: []*harness.Cgroup{r.group}, Interception: r.interception, Flags: flags})
	}
	first := daemon()
	file := filepath.Join(harness.Dir(t), "bootstrap.yaml")
	harness.WriteFile(t, file, r.conf+`bootstrap_extensions: [{name: weir.interception, typed_config: {"@type": `+
		"type.googleapis.com/weir.interception.v1.Interception, "+r.interception+"}}]\n")
	got := r.host.App().Run(harness.Binary("weirctl"), "exec", "-c", file, "--", "python3", "-I", "-c",
		`import socket; print(socket.create_connection(("10.99.0.2", 80)).recv(16).decode())`)
	if got.Status != 0 || got.Out != "weir\n" {
		t.Errorf("status %d, %q, %q", got.Status, got.Out, got.Err)
	}
	states, err := pin.List(r.fs)
	if err != nil || len(states) != 1 || states[0].Instance != "0" || len(states[0].Owners) != 1 || states[0].Owners[0] != first.Pid() {
		t.Errorf("state %+v (%v), want that of the daemon", states, err)
	}
	if left, err := filepath.Glob(filepath.Join(os.TempDir(), "weirctl-exec-*", "bpf")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %q (%v)", left, err)
	}
	if greetings := r.greetings(); greetings != [2]string{"weir!", "direct!"} {
		t.Errorf("greetings %q", greetings)
	}
	second := daemon("--restart-epoch", "1", "--parent-shutdown-time-s", "1")
	first.Wait()
	second.Stop()
	if states, err = pin.List(r.fs); err != nil || len(states) != 1 {
		t.Fatalf("state %+v (%v)", states, err)
	}
	if err := pin.Discard(states[0]); err != nil {
		t.Error(err)
	}
}
