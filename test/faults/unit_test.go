package faults

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weir-proxy/weir/pkg/kernel/cgroup"
	"github.com/weir-proxy/weir/test/harness"
)

// sleeper is a unit whose cgroup tests put applications in.
const sleeper = "[Service]\nExecStart=/usr/bin/sleep infinity\n"

// unitRig is a machine with the unit of the example, units that it captures, and a host around it.
type unitRig struct {
	*machine
	t *testing.T
}

// newUnitRig boots the machine. The drop-in is merged over the unit.
func newUnitRig(t *testing.T, dropIn string) *unitRig {
	t.Helper()
	harness.NeedInterception(t)
	unit, err := os.ReadFile(unitFile)
	if err != nil {
		t.Fatal(err)
	}
	host := harness.NewHost(t).AddAddress("10.99.0.2", real6)
	host.TCPBackend(real, harness.Greets("direct"))
	proxied := host.TCPBackend("127.0.0.1:0", harness.Greets("weir"))
	for _, ip := range []string{real4, real6} {
		echo(t, host, net.JoinHostPort(ip, "53"), "direct")
	}
	datagrams := echo(t, host, "127.0.0.1:0", "weir")
	conf := harness.Bootstrap{
		Listeners: []string{
			harness.Listener{Name: "real", Address: real, Virtual: true, Chains: []string{harness.Chain(harness.TCP("proxied"))}}.YAML(),
			harness.Listener{
				Name: "virtualInbound", Address: "0.0.0.0:15006", OriginalDst: true, More: "traffic_direction: INBOUND",
				Chains: []string{harness.Chain(harness.TCP("proxied"))},
			}.YAML(),
			udpListener(real4), udpListener(real6),
		},
		Clusters: []string{harness.Cluster("proxied", harness.To(proxied.Addr)), harness.Cluster("datagrams", harness.To(datagrams))},
		More: `admin: {address: {socket_address: {address: 127.0.0.1, port_value: 9901}}}
bootstrap_extensions: [{name: weir.interception, typed_config: {"@type": type.googleapis.com/weir.interception.v1.Interception,
  cgroups: [system.slice/app.service, system.slice/pod.service], required: true, fail_policy: CLOSED, inbound: {},
  namespaces: {upstream: HOST}, offload: {exclude_listeners: [real]}, life_cycle: {persistence: UNTIL_STOPPED}}}]`,
	}.YAML()
	return &unitRig{t: t, machine: bootMachine(t, host, map[string]string{
		"etc/systemd/system/weir.service":             string(unit),
		"etc/systemd/system/weir.service.d/test.conf": dropIn,
		"etc/systemd/system/app.service":              sleeper,
		"etc/systemd/system/pod.service":              sleeper + "PrivateNetwork=yes\n",
		"etc/weir/weir.yaml":                          conf,
	})}
}

// look has the application, a pod, a client of the application and somebody else connect.
func (r *unitRig) look(when, captured string) {
	r.t.Helper()
	for unit, want := range map[string]string{"app.service": captured, "weir.test": "direct!"} {
		app := r.host.App()
		if unit == "app.service" {
			app = r.in(unit)
		}
		got := app.Connect(harness.Connect{To: real, Send: "!", HalfClose: true})
		if text := got.Received + got.Failed; text != want {
			r.t.Errorf("%s: %s: %q, want %q\n%s", when, unit, text, want, r.journal())
		}
	}
	if captured == "weir!" {
		wantDatagrams(r.t, when, r.in("app.service"), "weir")
		r.lookPod(when)
	}
}

// podProgram connects from a pod, which has no way to the address itself.
const podProgram = `import socket, sys; print(socket.create_connection(("10.99.0.2", 80), 5).recv(4).decode())`

func (r *unitRig) lookPod(when string) {
	r.t.Helper()
	// Of the processes of a unit, those of other process ids than the caller's would be 0.
	pods, err := cgroup.Processes(r.cgroup.Dir + "/system.slice/pod.service")
	if err != nil || len(pods) == 0 {
		r.t.Fatalf("processes of the pod: %v (%v)", pods, err)
	}
	got := r.in("pod.service").Run("nsenter", fmt.Sprintf("--net=/proc/%d/ns/net", pods[0]), "python3", "-I", "-c", podProgram)
	if strings.TrimSpace(got.Out) != "weir" {
		r.t.Errorf("%s: the pod: %+v\n%s", when, got, r.journal())
	}
}

// keepProgram keeps a connection busy until a file is there, and makes another one when it begins.
const keepProgram = `
import os, socket, sys, time
s = socket.create_connection(("10.99.0.2", 80), 5)
s.settimeout(5)
assert s.recv(4) == b"weir"
open(sys.argv[1] + ".begun", "w").close()
while not os.path.exists(sys.argv[1]):
    s.sendall(b"x")
    assert s.recv(9) == b"x"
    time.sleep(0.02)
print("kept")
`

// keep begins a connection of the application; the function ends it, and fails the test unless all went well.
func (r *unitRig) keep() (end func()) {
	r.t.Helper()
	file := filepath.Join(harness.Dir(r.t), "end")
	client := r.in("app.service").Start("python3", "-I", "-c", keepProgram, file)
	harness.EventuallyNil(r.t, "a connection", func() error {
		_, err := os.Stat(file + ".begun")
		return err
	})
	return func() {
		r.t.Helper()
		harness.WriteFile(r.t, file, "")
		if got := client.Wait(); strings.TrimSpace(got.Out) != "kept" {
			r.t.Errorf("a connection over the end of a weir: %+v\n%s", got, r.journal())
		}
	}
}

// awaitNext waits until another process is the service.
func (r *unitRig) awaitNext(before string) (pid string) {
	r.t.Helper()
	harness.EventuallyNil(r.t, "another weir", func() error {
		if pid = r.property("MainPID"); pid == before || pid == "0" {
			return fmt.Errorf("still %s\n%s", pid, r.journal())
		}
		if state := r.property("SubState"); state != "running" {
			return fmt.Errorf("the unit is %s", state)
		}
		return nil
	})
	return pid
}

// wantConfined fails unless the process is as confined as the unit says.
func (r *unitRig) wantConfined(pid string) {
	r.t.Helper()
	var most uint64
	for name := range strings.FieldsSeq(setting(r.t, "CapabilityBoundingSet")) {
		most |= 1 << capabilityNumbers[strings.ToLower(strings.TrimPrefix(name, "CAP_"))]
	}
	got := make(map[string]string)
	for line := range strings.Lines(r.must("cat", "/proc/"+pid+"/status")) {
		if name, value, found := strings.Cut(line, ":"); found {
			got[name] = strings.TrimSpace(value)
		}
	}
	for name, want := range map[string]string{
		"CapInh": fmt.Sprintf("%016x", 0), "CapAmb": fmt.Sprintf("%016x", 0), "CapBnd": fmt.Sprintf("%016x", most),
		"CapPrm": fmt.Sprintf("%016x", most), "CapEff": fmt.Sprintf("%016x", most), "NoNewPrivs": "1", "Seccomp": "2",
	} {
		if got[name] != want {
			r.t.Errorf("process %s: %s is %s, want %s", pid, name, got[name], want)
		}
	}
	access := make(map[string]string)
	for line := range strings.Lines(r.must("cat", "/proc/"+pid+"/mountinfo")) {
		fields := strings.Fields(line) // proc_pid_mountinfo(5): the fifth is the place, the sixth begins with ro or rw
		access[fields[4]], _, _ = strings.Cut(fields[5], ",")
	}
	for place, want := range map[string]string{
		"/": "ro", "/usr": "ro", "/sys": "ro", "/proc/sys": "ro", "/proc/irq": "ro", "/sys/fs/cgroup": "ro", "/sys/fs/bpf": "rw", "/run/weir": "rw",
	} {
		if access[place] != want {
			r.t.Errorf("process %s: %s is %q, want %q", pid, place, access[place], want)
		}
	}
}

// killsCall is how systemd shows SystemCallErrorNumber=kill: SECCOMP_ERROR_NUMBER_KILL of its sources.
const killsCall = "2147483646"

// TestUnitServes runs the unit of the example under systemd through its life: start, two reloads, a reload with a configuration that is
// refused, SIGKILL and stop, with connections that last. Once as it is, and once so that the first system call that its filter refuses
// ends weir.
func TestUnitServes(t *testing.T) {
	if harness.Raced() {
		t.Skip("the race detector maps and asks for what the unit refuses")
	}
	for _, tt := range []struct{ name, dropIn, refused string }{
		{"as it is", "", "1"}, // EPERM
		{"refused system calls kill", "[Service]\nSystemCallErrorNumber=kill\n", killsCall},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newUnitRig(t, tt.dropIn)
			r.must("systemctl", "start", "app.service", "pod.service")
			r.must("systemctl", "start", "weir.service")
			if got := r.property("SystemCallErrorNumber"); got != tt.refused {
				t.Errorf("refused system calls: %s, want %s", got, tt.refused)
			}
			first := r.property("MainPID")
			r.wantConfined(first)
			r.look("started", "weir!")
			last := r.reload(first)
			r.reloadBad(last)
			r.must("kill", "-KILL", last)
			r.awaitNext(last)
			r.look("killed and restarted", "weir!")
			r.stop()
			r.wantQuiet()
		})
	}
}

// reload replaces weir twice, and a connection outlives the first one.
func (r *unitRig) reload(first string) (last string) {
	r.t.Helper()
	end := r.keep()
	r.must("systemctl", "reload", "weir.service")
	second := r.awaitNext(first)
	r.look("reloaded", "weir!")
	end()
	r.wantConfined(second)
	r.must("systemctl", "reload", "weir.service")
	last = r.awaitNext(second)
	r.look("reloaded again", "weir!")
	return last
}

// reloadBad asks for a reload with a configuration that is refused.
func (r *unitRig) reloadBad(pid string) {
	r.t.Helper()
	r.must("mv", "/etc/weir/weir.yaml", "/etc/weir/good.yaml")
	r.must("sh", "-c", "echo nonsense: 1 > /etc/weir/weir.yaml")
	if got := r.run("systemctl", "reload", "weir.service"); got.Status == 0 {
		r.t.Error("a reload with a bad configuration went well")
	}
	r.must("mv", "/etc/weir/good.yaml", "/etc/weir/weir.yaml")
	if got := r.property("MainPID"); got != pid {
		r.t.Errorf("a bad configuration made %s of process %s", got, pid)
	}
	r.look("after a bad configuration", "weir!")
}

// stop stops the unit, which waits for a connection, and leaves nothing.
func (r *unitRig) stop() {
	r.t.Helper()
	end := r.keep()
	r.must("systemctl", "stop", "--no-block", "weir.service")
	harness.Eventually(r.t, "weir lets go", func() bool {
		return r.in("app.service").Connect(harness.Connect{To: real, Send: "!", HalfClose: true}).Received == "direct!"
	})
	end()
	harness.Eventually(r.t, "weir ends", func() bool { return r.property("ActiveState") == "inactive" })
	if got := r.property("Result"); got != "success" {
		r.t.Errorf("weir ended with %s\n%s", got, r.journal())
	}
	r.look("stopped", "direct!")
	if left := r.must("sh", "-c", "! test -d /sys/fs/bpf/weir || find /sys/fs/bpf/weir -mindepth 1"); left != "" {
		r.t.Errorf("left in the BPF file system:\n%s", left)
	}
}

// wantQuiet fails when weir warned of anything but clients of the test, which it cannot see: their process ids are not of its namespace.
func (r *unitRig) wantQuiet() {
	r.t.Helper()
	for line := range strings.Lines(r.journal()) {
		if strings.Contains(line, "[warning]") && strings.Contains(line, "weir needs the host's process ids") {
			continue
		}
		for _, sign := range []string{"[warning]", "[error]", "[critical]"} {
			if strings.Contains(line, sign) {
				r.t.Errorf("weir said: %s", line)
			}
		}
	}
}
