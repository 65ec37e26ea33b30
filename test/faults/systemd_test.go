package faults

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weir-proxy/weir/pkg/kernel/cgroup"
	"github.com/weir-proxy/weir/pkg/kernel/pin"
	"github.com/weir-proxy/weir/test/harness"
)

// unitFile is the example.
const unitFile = "../../examples/systemd/weir.service"

// TestUnit has systemd's own tools read the unit: nothing in it is unknown, and what it leaves exposed is little.
func TestUnit(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("there is no systemd-analyze here")
	}
	text, err := os.ReadFile(unitFile)
	if err != nil {
		t.Fatal(err)
	}
	// The program is looked for where the unit says.
	unit := filepath.Join(t.TempDir(), "weir.service")
	harness.WriteFile(t, unit, strings.ReplaceAll(string(text), "/usr/local/bin/weir", harness.Binary("weir")))
	out, err := exec.CommandContext(t.Context(), analyze, "verify", "--man=no", "--recursive-errors=no", unit).CombinedOutput()
	if err != nil || strings.Contains(string(out), "weir.service") {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
	// 0 is nothing exposed, 100 everything; a unit that says nothing has 96.
	out, err = exec.CommandContext(t.Context(), analyze, "security", "--offline=true", "--threshold=45", "--no-pager", unit).CombinedOutput()
	if err != nil {
		t.Errorf("systemd-analyze security: %v\n%s", err, out)
	}
}

// setting gives the value of a line of the unit.
func setting(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(unitFile)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(text), "\n"+name+"=")
	if !found {
		t.Fatalf("the unit has no %s", name)
	}
	value, _, _ := strings.Cut(rest, "\n")
	return value
}

// TestUnderRestrictions runs weir with the unit's capabilities, without a way to new privileges, on a read-only host: it captures,
// also from another namespace, is upgraded, and leaves nothing.
func TestUnderRestrictions(t *testing.T) {
	r := newRig(t, "UNTIL_STOPPED", "CLOSED")
	r.interception += ", namespaces: {upstream: HOST}"
	h, err := cgroup.Find()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pin.Mount(r.fs); err != nil {
		t.Fatal(err)
	}
	bounding := "-all"
	for name := range strings.FieldsSeq(setting(t, "CapabilityBoundingSet")) {
		bounding += ",+" + strings.ToLower(strings.TrimPrefix(name, "CAP_"))
	}
	script := `mount --make-rprivate / && for m in / /sys "$0"; do mount -o remount,bind,ro "$m" || exit 1; done
		! touch /tmp/weir-must-not-write 2>/dev/null && exec setpriv --bounding-set "$1" --inh-caps -all --no-new-privs -- "${@:2}"`
	r.under = []string{"unshare", "--mount", "bash", "-c", script, h.Root(), bounding}
	look := func() {
		t.Helper()
		if got := r.greetings(); got != [2]string{"weir!", "direct!"} {
			t.Errorf("greetings %q", got)
		}
		harness.Eventually(t, "another namespace is served", func() bool { // a process has to be there first, for weir to notice
			got := r.remote.App().In(r.group).Connect(harness.Connect{To: real, Send: "!", HalfClose: true})
			if got.Received != "weir!" && got.Failed != "ECONNREFUSED" {
				t.Fatalf("in another namespace: %+v", got)
			}
			return got.Received == "weir!"
		})
	}
	first := r.start(true)
	look()
	second := r.startNext(1)
	if status := first.Wait(); status != 0 {
		t.Errorf("the first weir ended with status %d", status)
	}
	look()
	second.Kill()
	if got := r.greetings(); got != [2]string{"ECONNREFUSED", "direct!"} {
		t.Errorf("after SIGKILL: %q", got)
	}
	third := r.start(true)
	look()
	third.Stop()
	if states, err := pin.List(r.fs); err != nil || len(states) > 0 {
		t.Errorf("left %+v (%v)", states, err)
	}
}
