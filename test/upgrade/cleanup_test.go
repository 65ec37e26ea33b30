package upgrade

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weir-proxy/weir/test/harness"
)

// TestCleanup stops a weir whose fail policy is to hold without it, and has weirctl cleanup end that.
func TestCleanup(t *testing.T) {
	r := newRig(t)
	state := filepath.Join(r.fs, "weir", "0")
	cleanup := func(want string, options ...string) {
		t.Helper()
		args := append([]string{harness.Binary("weirctl"), "cleanup", "--bpf-fs", r.fs}, options...)
		got := r.host.App().Run(args...)
		if got.Status != 0 || got.Err != "" || !strings.Contains(got.Out, state+": "+want) {
			t.Errorf("status %d, it said %q %q, want %q", got.Status, got.Out, got.Err, want)
		}
	}
	connect := func() harness.Connected {
		return r.host.App().In(r.group).Connect(harness.Connect{To: real, Send: "!", HalfClose: true})
	}
	weir := r.start("ALWAYS", "fail_policy: CLOSED", false)
	if got := connect(); got.Received != "weir!" {
		t.Errorf("with weir: %+v", got)
	}
	cleanup(fmt.Sprintf("kept: the weir with pid %d owns it\n", weir.Pid()))
	if got := connect(); got.Received != "weir!" {
		t.Errorf("after a cleanup while weir runs: %+v", got)
	}
	if status := weir.Stop(); status != 0 {
		t.Errorf("weir ended with status %d", status)
	}
	cleanup("would be removed: ", "--dry-run")
	if got := connect(); !strings.Contains(got.Failed, "ECONNREFUSED") {
		t.Errorf("without weir: %+v, want it refused", got)
	}
	cleanup("removed: ")
	if got := connect(); got.Received != "direct!" {
		t.Errorf("after the cleanup: %+v", got)
	}
	if got := r.host.App().Run(harness.Binary("weirctl"), "cleanup", "--bpf-fs", r.fs); strings.Contains(got.Out, state) || got.Status != 0 {
		t.Errorf("once more: status %d, %q", got.Status, got.Out)
	}
}
