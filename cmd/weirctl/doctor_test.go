package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/weir-proxy/weir/pkg/kernel/intercept"
	"github.com/weir-proxy/weir/pkg/kernel/steer"
)

// doctor runs the command and gives what it printed.
func doctor(t *testing.T, args ...string) string {
	t.Helper()
	var out, errs bytes.Buffer
	if status := run(t.Context(), append([]string{"doctor"}, args...), stdio{nil, &out, &errs}); status != exitOK || errs.Len() > 0 {
		t.Fatalf("status %d, errors %q", status, errs.String())
	}
	return out.String()
}

// TestDoctorShowsPins while they are owned, after that, and when they are gone.
func TestDoctorShowsPins(t *testing.T) {
	k, name, fs := pinning(t)
	at := filepath.Join(fs, "weir", "0")
	want := func(text string, is bool) {
		t.Helper()
		if got := doctor(t, "--bpf-fs", fs); strings.Contains(got, text) != is {
			t.Errorf("it said %q: %t, want %t\n%s", text, !is, is, got)
		}
	}
	want("\n  "+at+"\n    another process owns 6 attached programs on 1 cgroup, 5 maps\n    on "+name+"\n", true)
	if err := k.Close(); err != nil {
		t.Fatal(err)
	}
	want("\n  "+at+"\n    left behind: 6 attached programs on 1 cgroup, 5 maps; `weirctl cleanup --bpf-fs "+fs+"` removes them\n    on "+name+"\n", true)
	var found diagnosis
	if err := json.Unmarshal([]byte(doctor(t, "--json", "--bpf-fs", fs)), &found); err != nil {
		t.Fatal(err)
	}
	pins := found.Kernel.Pins
	if len(pins) != 1 || pins[0].Dir != at || pins[0].Owned || !slices.Equal(pins[0].Cgroups, []string{name}) || pins[0].Versions[0].Links != 6 {
		t.Errorf("pins as JSON: %+v", pins)
	}
	if !slices.Contains(found.Kernel.Captured, name) || !found.Interception || len(found.Checks) < 20 {
		t.Errorf("as JSON: %+v", found)
	}
	var out, errs bytes.Buffer
	if err := (&cleaner{std: stdio{nil, &out, &errs}, places: []string{fs}}).pins(); err != nil {
		t.Fatal(err)
	}
	want(at, false)
	want("  "+name+"\n", false)
}

func TestDoctorPrints(t *testing.T) {
	missing := diagnosis{Checks: []checkResult{
		{Name: "long name", OK: true, Needs: "5.8", Found: "soft 1"},
		{Name: "a", Missing: "why", Consequence: "what"},
		{Name: "b", Optional: true, Missing: "why", Consequence: "what"},
		{Name: "c", OK: true},
	}}
	const verdict = "\nInterception does not work here: what is MISSING above is needed. `weir -c FILE` still works as an ordinary proxy.\n\n" +
		"No cgroup is captured at present.\n"
	forbidden := diagnosis{Checks: []checkResult{
		{Name: "CAP", Missing: "why", Consequence: "what"},
		{Name: "c", OK: true},
		{Name: "map", Unknown: true, Missing: "not known", Consequence: "what"},
		{Name: "program", Unknown: true, Missing: "not known", Consequence: "what"},
	}}
	tests := []struct {
		name    string
		found   diagnosis
		verbose bool
		want    string
	}{
		{
			"forbidden", forbidden, false,
			"1 check passed (--verbose names it)\nMISSING CAP\n          why\n          without it: what\n" +
				"unknown 2 of the kernel's features, which it does not tell of without these capabilities (--verbose names them)\n" + verdict,
		},
		{
			"forbidden, verbose", forbidden, true,
			"MISSING CAP\n          why\n          without it: what\nok      c\n" +
				"unknown map\n          not known\n          without it: what\nunknown program\n          not known\n          without it: what\n" + verdict,
		},
		{
			"missing, verbose", missing, true,
			"ok      long name  Linux 5.8; soft 1\n" +
				"MISSING a\n          why\n          without it: what\n" +
				"absent  b\n          why\n          without it: what\n" +
				"ok      c\n" + verdict,
		},
		{
			"missing", missing, false,
			"2 checks passed (--verbose names them)\n" +
				"MISSING a\n          why\n          without it: what\n" +
				"absent  b\n          why\n          without it: what\n" + verdict,
		},
		{
			"nothing missing",
			diagnosis{Checks: []checkResult{{Name: "c", OK: true}}, DaemonProblem: "it is not there"},
			false,
			"1 check passed (--verbose names it)\n\nInterception works here.\n\nNo cgroup is captured at present.\n\n" +
				"No running weir was asked; --admin or -c says where one is: it is not there\n",
		},
		{
			"foreign programs",
			diagnosis{Interception: true, Kernel: kernelState{
				Captured: []string{"/a", "/b"},
				Foreign: []foreignProgram{
					{Cgroup: "/", Hook: "CGroupInet4Connect", Name: "sock4_connect", ID: 12, Runs: "after weir"},
					{Cgroup: "/a", Hook: "CGroupSockOps", Name: "x", ID: 3, Runs: "before weir"},
					{Cgroup: "/b", Hook: "CGroupSockOps", Name: "y", ID: 4},
				},
				Shared:   []sharedCgroup{{"/a", []capturingWeir{{7, []int{11}}, {8, nil}}}},
				Problems: []string{"no access"},
			}},
			false,
			"\nInterception works here.\n\nCaptured cgroups:\n  /a\n  /b\n\n" +
				"WRONG: more than one weir captures the same cgroup. Each decides about what the one before it has rewritten, and getpeername() tells\n" +
				"applications of one that only one of them knows. Give each its own cgroups (weir.interception), or end all but one:\n" +
				"  /a: process 11, then one that has ended or is not to be seen (its program is 8)\n\n" +
				"Programs of others at the hooks that weir uses. Weir decides about what one before it has rewritten, and one after it may rewrite what weir wrote;\n" +
				"those of lower cgroups run before those of upper ones:\n" +
				"  /   CGroupInet4Connect  sock4_connect  id 12  runs after weir\n  /a  CGroupSockOps       x              id 3   runs before weir\n" +
				"  /b  CGroupSockOps       y              id 4\n\n" +
				"Could not be looked at: no access\n",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var out strings.Builder
			if err := tt.found.print(&out, tt.verbose); err != nil || out.String() != tt.want {
				t.Errorf("printed (%v)\n%s\nwant\n%s", err, out.String(), tt.want)
			}
		})
	}
}

// TestDoctorTellsOfDaemon prints what is done with what comes in, and with datagrams, namespace by namespace.
func TestDoctorTellsOfDaemon(t *testing.T) {
	const begin = `{"active": true, "netns_cookie": 1, "capture_sockets": ["own"], "namespaces": [{"name": "pod", "netns_cookie": 2, "path": "/x", "capture_sockets": ["a"]}], `
	const namespaces = "\nNetwork namespaces of captured processes:\nok  weir's own  own\nok  pod         a\n      /x\n"
	for name, test := range map[string]struct{ answer, want string }{
		"nothing": {`"inbound": {"rules": []}}`, ""},
		"inbound": {
			`"inbound": {"cgroups": ["/sys/fs/cgroup/a/b.slice"], "rules": [{"listener": "in"}, {"listener": "also"}, {"listener": "in"}], "namespaces": [
				{"netns_cookie": 1, "places": []},
				{"netns_cookie": 2, "places": [{"address": "0.0.0.0:80"}, {"address": "[::]:81", "foreign_sockets": 1}, {"address": "[::]:82"}]},
				{"netns_cookie": 3, "places": [{"address": "0.0.0.0:80"}]}]}}`,
			"\nConnections that come to captured processes:\nok    captured for also in\nok    listening sockets are looked for in b.slice\n" +
				"left  pod: [::]:81, where others listen, too\nok    pod: 0.0.0.0:80 [::]:82\nok    cookie 3: 0.0.0.0:80\n",
		},
		"no inbound": {
			`"inbound": {"error": "no\nwhy", "rules": []}}`, "\nConnections that come to captured processes:\nMISSING  no; why\n",
		},
		"lasting": {`"life_cycle": {"persistence": "ALWAYS"}}`, ""},
		"datagrams": {
			`"udp": {"active": true, "capture_sockets": [{"netns_cookie": 1, "ipv4_port": 5}, {"netns_cookie": 2, "ipv6_ports": [6]}, {"netns_cookie": 3}]}}`,
			"\nDatagrams of captured processes:\nok       rules: 0 to redirect, 0 to refuse, 0 to pass\n" +
				"ok       programs attached to no cgroup: there is nothing to do at present\n" +
				"ok       capture sockets in weir's own: port 5 for IPv4, 0 for IPv6\nok       capture sockets in pod: port 0 for IPv4, 1 for IPv6\n" +
				"MISSING  capture sockets in cookie 3: port 0 for IPv4, 0 for IPv6\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			var d daemonState
			if err := json.Unmarshal([]byte(begin+test.answer), &d); err != nil {
				t.Fatal(err)
			}
			var out strings.Builder
			if err := d.print(&out); err != nil || out.String() != namespaces+test.want {
				t.Errorf("printed (%v)\n%s\nwant\n%s", err, out.String(), namespaces+test.want)
			}
		})
	}
}

// TestDoctorTellsWhatLasts says what does not outlive the daemon although it was to, before all else.
func TestDoctorTellsWhatLasts(t *testing.T) {
	var d daemonState
	const answer = `{"active": false, "error": "why", "life_cycle": {"persistence": "ALWAYS", "error": "mount BPF file system:\nno", "lost_pins": 3}}`
	if err := json.Unmarshal([]byte(answer), &d); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	const want = "\nWhat outlives the daemon (life_cycle.persistence: ALWAYS):\n" +
		"MISSING  nothing: connections go past weir when it ends, whatever the fail policy is\n         mount BPF file system:; no\n" +
		"ok       somebody else has removed 3 of its pins while it ran; they were made anew\n\nThe daemon does not intercept: why\n"
	if err := d.print(&out); err != nil || out.String() != want {
		t.Errorf("printed (%v)\n%s\nwant\n%s", err, out.String(), want)
	}
}

// TestDoctorAsksDaemon fails only when the daemon that it was told of does not answer.
func TestDoctorAsksDaemon(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Write([]byte(`{"active": true, "capture_sockets": ["` + r.URL.Path + `"]}`))
	}))
	at := s.Listener.Addr().String()
	if got := doctor(t, "--admin", at); !strings.Contains(got, "ok  weir's own  /weir/interception\n") {
		t.Errorf("of a daemon that answers:\n%s", got)
	}
	s.Close()
	var out, errs bytes.Buffer
	status := run(t.Context(), []string{"doctor", "--admin", at}, stdio{nil, &out, &errs})
	if status != exitError || !strings.Contains(errs.String(), "reach weir's admin interface at "+at) {
		t.Errorf("of a daemon that is gone: status %d, errors %q", status, errs.String())
	}
	var found diagnosis
	if err := json.Unmarshal([]byte(doctor(t, "--json")), &found); err != nil {
		t.Fatal(err)
	}
	if (found.Daemon == nil) == (found.DaemonProblem == "") {
		t.Errorf("of a daemon that may be there or not: %+v, %q", found.Daemon, found.DaemonProblem)
	}
}

// TestDoctorFindsTwoWeirs that capture the same cgroup.
func TestDoctorFindsTwoWeirs(t *testing.T) {
	h, dir, ids := capturing(t)
	alone, err := sharedCgroups(h, []string{dir})
	if err != nil || len(alone) != 0 {
		t.Fatalf("beside one weir: %+v (%v)", alone, err)
	}
	second, err := intercept.New(intercept.Options{Hierarchy: h})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := second.Close(); err != nil {
			t.Error(err)
		}
	})
	plan := &steer.Plan{Cgroups: []string{h.Name(dir)}, Rules: []steer.Rule{{Prefix: netip.MustParsePrefix("0.0.0.0/0"), Action: steer.Redirect, Listener: "all"}}}
	if err := second.Apply(plan); err != nil {
		t.Fatal(err)
	}
	shared, err := sharedCgroups(h, []string{dir})
	if err != nil || len(shared) != 1 || len(shared[0].Weirs) != 2 || shared[0].Weirs[0].Program != ids[0] || !slices.Equal(shared[0].Weirs[1].Processes, []int{os.Getpid()}) {
		t.Errorf("beside another weir: %+v (%v)", shared, err)
	}
	for n, want := range []int{1, 0} { // told of once
		if got, err := second.NewShared(); err != nil || len(got) != want {
			t.Errorf("call %d of the second: %+v (%v), want %d", n, got, err, want)
		}
	}
	if got := doctor(t, "--bpf-fs", t.TempDir()); !strings.Contains(got, "WRONG: more than one weir captures the same cgroup.") || !strings.Contains(got, h.Name(dir)+": process ") {
		t.Errorf("the doctor does not say it:\n%s", got)
	}
}
