package faults

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/weir-proxy/weir/test/harness"
)

// delegateProgram executes a command in user, mount and network namespaces of its own, with a BPF file system that a process outside has
// delegated everything to. System calls are by their numbers, for want of another way to fsopen(2) in Python.
const delegateProgram = `
import ctypes, os, socket, sys
libc = ctypes.CDLL(None, use_errno=True)
def call(n, *args):
    r = libc.syscall(n, *args)
    if r < 0:
        e = ctypes.get_errno()
        print("no BPF token here: system call %d: %s" % (n, os.strerror(e)), file=sys.stderr)
        os._exit(77)
    return r
FSOPEN, FSCONFIG, FSMOUNT, MOVE_MOUNT, UNSHARE = 430, 431, 432, 429, 272
inside, outside = socket.socketpair()
me = os.getpid()
if os.fork() == 0:
    inside.close()
    outside.recv(1)
    for name in "uid_map", "gid_map":
        with open("/proc/%d/%s" % (me, name), "w") as f: f.write("0 0 65536\n")
    outside.send(b"m")
    _, fds, _, _ = socket.recv_fds(outside, 1, 1)
    for key in b"delegate_cmds", b"delegate_maps", b"delegate_progs", b"delegate_attachs":
        call(FSCONFIG, fds[0], 1, key, b"any", 0)
    call(FSCONFIG, fds[0], 6, None, None, 0)
    outside.send(b"d")
    os._exit(0)
outside.close()
call(UNSHARE, 0x10000000 | 0x20000 | 0x40000000)
inside.send(b"u"); inside.recv(1)
fs = call(FSOPEN, b"bpf", 1)
socket.send_fds(inside, [b"f"], [fs])
if inside.recv(1) != b"d": os._exit(77)
call(MOVE_MOUNT, call(FSMOUNT, fs, 1, 0), b"", -100, b"/sys/fs/bpf", 4)
os.wait()
os.system("ip link set lo up")
os.execvp(sys.argv[1], sys.argv[1:])
`

// askOnceProgram connects and prints what it is told.
const askOnceProgram = `import socket, sys; print(socket.create_connection((sys.argv[1], int(sys.argv[2])), 5).recv(99).decode())`

// tokenConfig captures a cgroup's connections, both ways, for an upstream at port 8000.
func tokenConfig(group *harness.Cgroup) string {
	listener := func(name, addr, more string) string {
		return harness.Listener{Name: name, Address: addr, More: more, Chains: []string{harness.Chain(harness.TCP("upstream"))}}.YAML()
	}
	return harness.Bootstrap{
		Listeners: []string{
			listener("out", real, "bind_to_port: false"), listener("in", "0.0.0.0:15006", "use_original_dst: true, traffic_direction: INBOUND"),
		},
		Clusters: []string{harness.Cluster("upstream", harness.To(netip.MustParseAddrPort("127.0.0.1:8000")))},
		More:     "admin: {address: " + harness.Address(harness.AdminAddr) + "}",
	}.YAML() + `
bootstrap_extensions: [{name: weir.interception, typed_config: {"@type": type.googleapis.com/weir.interception.v1.Interception,
  cgroups: [` + group.Name + `], fail_policy: CLOSED, inbound: {include_loopback: true}, life_cycle: {persistence: UNTIL_STOPPED}}}]`
}

// tokenRig is a weir in a user namespace.
type tokenRig struct {
	*rig
	weir *harness.Weir
}

// inside is a command in weir's network namespace.
func (r *tokenRig) inside(args ...string) []string {
	return append([]string{"nsenter", fmt.Sprintf("--net=/proc/%d/ns/net", r.weir.Pid())}, args...)
}

func (r *tokenRig) admin(path string) string {
	r.t.Helper()
	return r.host.App().Run(r.inside("curl", "-sS", "--max-time", "5", "http://"+harness.AdminAddr+path)...).Out
}

// await waits until weir serves, and skips the test where the kernel has no tokens.
func (r *tokenRig) await() {
	r.t.Helper()
	harness.EventuallyNil(r.t, "weir serves", func() error {
		select {
		case <-r.weir.Ended():
			if strings.Contains(r.weir.Log(), "no BPF token here") {
				r.t.Skip(r.weir.Log())
			}
			r.t.Fatalf("weir ended: %s", r.weir.Log())
		default:
		}
		if text := r.admin("/ready"); strings.TrimSpace(text) != "LIVE" {
			return fmt.Errorf("ready: %q", text)
		}
		return nil
	})
}

// greet starts a greeter that says its port.
func (r *tokenRig) greet(app harness.App, port int) {
	program := strings.Replace(greeterProgram, "application", fmt.Sprint(port), 1)
	app.Start(r.inside("python3", "-I", "-c", program, fmt.Sprint(port))...)
}

// ask connects until the upstream's greeting comes.
func (r *tokenRig) ask(what string, group *harness.Cgroup, host, port string) {
	r.t.Helper()
	harness.EventuallyNil(r.t, what, func() error {
		got := r.host.App().In(group).Run(r.inside("python3", "-I", "-c", askOnceProgram, host, port)...)
		if strings.TrimSpace(got.Out) != "8000" {
			return fmt.Errorf("%+v", got)
		}
		return nil
	})
}

// wantShown fails unless weir shows that it captures, and by which programs.
func (r *tokenRig) wantShown() {
	r.t.Helper()
	var page struct {
		Active  bool
		Error   string
		Cgroups []struct {
			Hooks []struct{ Programs []struct{ Name string } }
		}
		Inbound struct{ Active bool }
	}
	text := r.admin("/weir/interception")
	if err := json.Unmarshal([]byte(text), &page); err != nil || !page.Active || page.Error != "" || !page.Inbound.Active || len(page.Cgroups) != 1 {
		r.t.Errorf("/weir/interception: %v\n%s", err, text)
	}
	for _, c := range page.Cgroups {
		for _, h := range c.Hooks {
			if len(h.Programs) != 1 || !strings.HasPrefix(h.Programs[0].Name, "weir_") {
				r.t.Errorf("programs %+v", h.Programs)
			}
		}
	}
}

// TestToken runs weir in a user namespace, where it has no privileges but by a BPF file system that delegates: it captures connections in
// both directions, shows what it does, keeps its state in that file system, and ends.
func TestToken(t *testing.T) {
	r := &tokenRig{rig: newRig(t, "UNTIL_STOPPED", "CLOSED")}
	r.weir = r.host.StartWeir(harness.WeirOptions{
		Config: tokenConfig(r.group), Bare: true, NotReady: true, Under: []string{"python3", "-I", "-c", delegateProgram},
	})
	r.await()
	r.greet(r.host.App().In(r.other), 8000)
	r.greet(r.host.App().In(r.group), 8001)
	r.ask("outgoing", r.group, "10.99.0.2", "80")
	r.ask("coming in", r.other, "127.0.0.1", "8001")
	r.wantShown()
	if status := r.weir.Stop(); status != 0 {
		t.Errorf("weir ended with status %d", status)
	}
	for _, sign := range []string{"[warning]", "[error]"} {
		if strings.Contains(r.weir.Log(), sign) {
			t.Errorf("the log has %s:\n%s", sign, r.weir.Log())
		}
	}
}
