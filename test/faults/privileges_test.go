package faults

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/weir-proxy/weir/test/harness"
)

// privilegesOf gives the capability sets of a process, without the inheritable one, which must be the same in all of its threads.
func privilegesOf(t *testing.T, pid int) string {
	t.Helper()
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err != nil || len(tasks) == 0 {
		t.Fatalf("threads of %d: %v (%v)", pid, tasks, err)
	}
	var all []string
	for _, task := range tasks {
		text, err := os.ReadFile(task)
		if err != nil {
			continue // it has ended
		}
		var out []string
		for line := range strings.Lines(string(text)) {
			if strings.HasPrefix(line, "Cap") || strings.HasPrefix(line, "NoNewPrivs") {
				out = append(out, strings.Join(strings.Fields(line), " "))
			}
		}
		if all = append(all, strings.Join(out, " ")); all[len(all)-1] != all[0] {
			t.Errorf("threads of %d differ: %q and %q", pid, all[0], all[len(all)-1])
		}
	}
	return all[0]
}

// capabilityNumbers of those that weir keeps.
var capabilityNumbers = map[string]uint{
	"dac_override": 1, "dac_read_search": 2, "net_bind_service": 10, "net_admin": 12, "net_raw": 13, "sys_ptrace": 19, "sys_admin": 21, "sys_resource": 24,
	"perfmon": 38, "bpf": 39,
}

// wantPrivileges checks that a process has these capabilities, as far as this one has them, and no way to others.
func wantPrivileges(t *testing.T, pid int, names ...string) {
	t.Helper()
	var own uint64
	if _, err := fmt.Sscanf(strings.Fields(privilegesOf(t, os.Getpid()))[3], "%x", &own); err != nil {
		t.Fatal(err)
	}
	var kept uint64
	for _, n := range names {
		kept |= 1 << capabilityNumbers[n]
	}
	kept &= own
	want := fmt.Sprintf("CapInh: %016x CapPrm: %016x CapEff: %016x CapBnd: %016x CapAmb: %016x NoNewPrivs: 1", 0, kept, kept, kept, 0)
	if got := privilegesOf(t, pid); got != want {
		t.Errorf("privileges of weir\n%s, want\n%s", got, want)
	}
}

// TestPrivileges looks at what a weir that serves has left, by its configuration.
func TestPrivileges(t *testing.T) {
	if harness.Raced() {
		t.Skip("a binary with the race detector has cgo, and keeps its privileges")
	}
	always := []string{"dac_override", "dac_read_search", "net_bind_service", "net_admin", "sys_resource"}
	captures := slices.Concat(always, []string{"perfmon", "bpf", "net_raw"})
	for _, tt := range []struct {
		name, fields string
		want         []string
	}{
		{"everything", "", slices.Concat(captures, []string{"sys_admin", "sys_ptrace"})},
		{"own namespace", "namespaces: {own_only: true}", captures},
		{"own namespace with pins", "namespaces: {own_only: true}, life_cycle: {persistence: UNTIL_STOPPED, bpf_fs: %q}", captures},
		{"ordinary proxy", "disabled: true", always},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, "PROCESS", "OPEN")
			fields := fmt.Sprintf("cgroups: [%s]", r.group.Name)
			if tt.fields != "" {
				fields += ", " + strings.ReplaceAll(tt.fields, "%q", fmt.Sprintf("%q", r.fs))
			}
			weir := r.startBare(fields, nil, true)
			wantPrivileges(t, weir.Pid(), tt.want...)
			want(t, "the log", weir.Log(), "dropped what is not needed any more")
		})
	}
	t.Run("all", func(t *testing.T) {
		r := newRig(t, "PROCESS", "OPEN")
		weir := r.startBare("life_cycle: {privileges: ALL}", nil, true)
		if got, own := privilegesOf(t, weir.Pid()), privilegesOf(t, os.Getpid()); got != own {
			t.Errorf("privileges of weir\n%s, want\n%s", got, own)
		}
	})
}

// TestLifeWithoutPrivileges has a weir that has dropped its privileges do all that may come later: a listener at a privileged port,
// capture of a listener that comes, a network namespace that comes, another weir that takes over, and an ordered stop.
func TestLifeWithoutPrivileges(t *testing.T) {
	r := newRig(t, "UNTIL_STOPPED", "CLOSED")
	proxied := r.host.TCPBackend("127.0.0.1:0", harness.Greets("late"))
	lds := filepath.Join(harness.Dir(t), "lds.yaml")
	discovered := func(listeners ...string) string {
		text := "version_info: \"" + fmt.Sprint(len(listeners)) + "\"\nresources:\n"
		for _, l := range listeners {
			text += `- {"@type": type.googleapis.com/envoy.config.listener.v3.Listener, ` + strings.TrimPrefix(l, "{") + "\n"
		}
		return text
	}
	harness.WriteFile(t, lds, discovered())
	r.conf = harness.Bootstrap{
		Clusters: []string{harness.Cluster("late", harness.To(proxied.Addr))},
		More:     "dynamic_resources: {lds_config: {path_config_source: {path: " + lds + "}}}",
	}.YAML()
	r.interception += ", namespaces: {upstream: HOST}"
	weir := r.start(true)
	listener := func(name, addr string, virtual bool) string {
		return harness.Listener{Name: name, Address: addr, Virtual: virtual, Chains: []string{harness.Chain(harness.TCP("late"))}}.YAML()
	}
	harness.WriteFile(t, lds, discovered(listener("bound", "127.0.0.1:81", false), listener("real", real, true)))
	reach := func(what string, app harness.App, addr string) {
		t.Helper()
		harness.EventuallyNil(t, what, func() error {
			if got := app.Connect(harness.Connect{To: addr, Send: "!", HalfClose: true}); got.Received != "late!" {
				return fmt.Errorf("%+v", got)
			}
			return nil
		})
	}
	look := func(when string) {
		t.Helper()
		reach(when+": a privileged port", r.host.App(), "127.0.0.1:81")
		reach(when+": capture", r.host.App().In(r.group), real)
		reach(when+": capture in another namespace", r.remote.App().In(r.group), real)
	}
	look("at first")
	next := r.startNext(1)
	if status := weir.Wait(); status != 0 {
		t.Errorf("the weir before ended with status %d", status)
	}
	look("after an upgrade")
	got := r.host.App().Run(harness.Binary("weirctl"), "doctor", "--admin", harness.AdminAddr, "--bpf-fs", r.fs)
	want(t, "weirctl doctor", got.Out, "The daemon's privileges:", "CAP_NET_ADMIN", "no_new_privs")
	if status := next.Stop(); status != 0 {
		t.Errorf("weir ended with status %d\n%s", status, next.Log())
	}
	for _, sign := range []string{"[warning]", "[error]"} {
		if strings.Contains(next.Log(), sign) {
			t.Errorf("the log has %s:\n%s", sign, next.Log())
		}
	}
}

// TestOwnNamespaceShowsItself asks a weir that has dropped CAP_SYS_ADMIN what it does: its own programs are named as before.
func TestOwnNamespaceShowsItself(t *testing.T) {
	r := newRig(t, "PROCESS", "OPEN")
	r.interception += ", namespaces: {own_only: true}"
	weir := r.start(true)
	if got := r.greetings(); got != [2]string{"weir!", "direct!"} {
		t.Errorf("greetings %q", got)
	}
	var page struct {
		Active  bool
		Error   string
		Cgroups []struct {
			Hooks []struct{ Programs []struct{ Name string } }
		}
	}
	weir.JSON("/weir/interception", &page)
	if !page.Active || page.Error != "" || len(page.Cgroups) != 1 || len(page.Cgroups[0].Hooks) != 6 {
		t.Fatalf("%+v", page)
	}
	for _, h := range page.Cgroups[0].Hooks {
		own := func(p struct{ Name string }) bool { return strings.HasPrefix(p.Name, "weir_") }
		if !slices.ContainsFunc(h.Programs, own) {
			t.Errorf("programs %+v", h.Programs)
		}
	}
	for _, sign := range []string{"[warning]", "[error]"} {
		if strings.Contains(weir.Log(), sign) {
			t.Errorf("the log has %s:\n%s", sign, weir.Log())
		}
	}
}
