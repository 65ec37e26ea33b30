package faults

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/weir-proxy/weir/pkg/kernel/pin"
	"github.com/weir-proxy/weir/test/harness"
)

// without starts weir without capabilities, in setpriv's names.
func without(capabilities ...string) []string {
	var minus []string
	for _, c := range capabilities {
		minus = append(minus, "-"+c)
	}
	return []string{"setpriv", "--bounding-set", strings.Join(minus, ","), "--inh-caps", strings.Join(minus, ","), "--"}
}

// want fails unless the text has all parts.
func want(t *testing.T, what, text string, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if !strings.Contains(text, p) {
			t.Errorf("%s does not say %q:\n%s", what, p, text)
		}
	}
}

// greeting is what a captured application, and then one that is not, gets at the real address.
func (r *rig) greetings() [2]string {
	r.t.Helper()
	var out [2]string
	for n, app := range []harness.App{r.host.App().In(r.group), r.host.App().In(r.other)} {
		got := app.Connect(harness.Connect{To: real, Send: "!", HalfClose: true})
		out[n] = got.Received + got.Failed
	}
	return out
}

// TestHostRefuses starts weir where something is missing. When interception is required, weir ends with status 1 and says what is
// missing; otherwise it serves, and says the same.
func TestHostRefuses(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name  string
		under []string
		// bpfFS is life_cycle.bpf_fs, with persistence; empty for none.
		bpfFS string
		says  []string
		// off is what a captured application gets when interception is not required.
		off string
	}{
		{"no CAP_BPF", without("bpf", "sys_admin"), "", []string{"needs CAP_BPF or CAP_SYS_ADMIN (not among the process's effective capabilities)"}, "direct!"},
		{"no CAP_NET_ADMIN", without("net_admin", "net_raw", "sys_admin"), "", []string{"needs CAP_NET_ADMIN (not among the process's effective capabilities)"}, "direct!"},
		{"no CAP_PERFMON", without("perfmon", "sys_admin"), "", []string{"needs CAP_PERFMON or CAP_SYS_ADMIN (not among the process's effective capabilities)"}, "direct!"},
		{"bpffs in a file", nil, file + "/bpf", []string{"open pinned state: ", file, "not a directory"}, "weir!"},
		{"bpffs cannot be mounted", without("sys_admin"), filepath.Join(t.TempDir(), "bpf"), []string{"open pinned state: mount BPF file system at ", "operation not permitted"}, "weir!"},
	} {
		for _, required := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s required %t", tt.name, required), func(t *testing.T) {
				r := newRig(t, "PROCESS", "OPEN")
				fields := fmt.Sprintf("cgroups: [%s], required: %t, namespaces: {own_only: true}", r.group.Name, required)
				if tt.bpfFS != "" {
					fields += fmt.Sprintf(", life_cycle: {persistence: ALWAYS, bpf_fs: %q}", tt.bpfFS)
				}
				weir := r.startBare(fields, tt.under, !required)
				if required {
					if status := weir.Wait(); status != 1 {
						t.Errorf("status %d, want 1", status)
					}
				} else if got := r.greetings(); got != [2]string{tt.off, "direct!"} {
					t.Errorf("greetings %q, want %q and direct!", got, tt.off)
				}
				want(t, "the log", weir.Log(), tt.says...)
			})
		}
	}
}

// TestPinsOfAnother starts weir on what other versions, and mistakes, may have pinned. It says so, removes it and captures.
func TestPinsOfAnother(t *testing.T) {
	r := newRig(t, "UNTIL_STOPPED", "CLOSED")
	if _, err := pin.Mount(r.fs); err != nil {
		t.Fatal(err)
	}
	m, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 4, MaxEntries: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	state := filepath.Join(r.fs, "weir", "77")
	for _, name := range []string{"0123456789ab/map_weir_flows", "0123456789ab/link_1_CGroupInet4Connect", "new_1/map_weir_flows"} {
		path := filepath.Join(state, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		clone, err := m.Clone()
		if err != nil {
			t.Fatal(err)
		}
		if err := clone.Pin(path); err != nil {
			t.Fatal(err)
		}
		clone.Close()
	}
	weir := r.start(true)
	if got := r.greetings(); got != [2]string{"weir!", "direct!"} {
		t.Errorf("greetings %q", got)
	}
	want(t, "the log", weir.Log(), "link_1_CGroupInet4Connect is not used", "removed pinned state of another version: "+state+"/0123456789ab", state+"/new_1")
	if states, err := pin.List(r.fs); err != nil || len(states) != 1 || len(states[0].Versions) != 1 {
		t.Errorf("state %+v (%v), want one version", states, err)
	}
}

// tooManyPorts are more exclusions than there is room for.
func tooManyPorts() string {
	var ports strings.Builder
	for p := 1; p < 65536; p++ {
		fmt.Fprintf(&ports, "%d,", p)
	}
	var ranges []string
	for n := range 5 {
		ranges = append(ranges, fmt.Sprintf("{prefix: 192.0.2.%d, ports: [%s]}", n, strings.TrimSuffix(ports.String(), ",")))
	}
	return strings.Join(ranges, ",")
}

// TestMapIsFull asks for more rules than there is room for: weir says which map is full, and what has no rules is left to the fail
// policy rather than to half of them.
func TestMapIsFull(t *testing.T) {
	for _, tt := range []struct{ policy, connections, datagrams string }{{"OPEN", "direct!", "direct"}, {"CLOSED", "ECONNREFUSED", "ECONNREFUSED"}} {
		t.Run(tt.policy, func(t *testing.T) {
			r := newUDPRig(t, "PROCESS", tt.policy)
			fields := fmt.Sprintf("cgroups: [%s], fail_policy: %s, exclude: [%s]", r.group.Name, tt.policy, tooManyPorts())
			weir := r.startBare(fields, nil, true)
			want(t, "the log", weir.Log(), "weir_exclude", "262144")
			if got := r.greetings(); got != [2]string{tt.connections, "direct!"} {
				t.Errorf("greetings %q", got)
			}
			wantDatagrams(t, "without rules", r.host.App().In(r.group), tt.datagrams)
			wantDatagrams(t, "beside it", r.host.App().In(r.other), "direct")
			weir.Stop()
			if got := r.greetings(); got != [2]string{"direct!", "direct!"} {
				t.Errorf("afterwards: greetings %q", got)
			}
		})
	}
}

// TestMapIsFullAndRequired ends weir with status 1 when the rules do not fit.
func TestMapIsFullAndRequired(t *testing.T) {
	r := newRig(t, "PROCESS", "CLOSED")
	weir := r.startBare(fmt.Sprintf("required: true, cgroups: [%s], fail_policy: CLOSED, exclude: [%s]", r.group.Name, tooManyPorts()), nil, false)
	if status := weir.Wait(); status != 1 {
		t.Errorf("status %d, want 1", status)
	}
	want(t, "the log", weir.Log(), "weir_exclude", "262144")
}
