package e2e

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/weir-proxy/weir/test/harness"
)

// toldEvent is what a test looks at of an event.
type toldEvent struct {
	Direction, Protocol, Verdict, Reason, Source, Destination, Listener, Command, Container string
	PID                                                                                     int
	Again                                                                                   bool
}

// toldEvents reads lines of JSON.
func toldEvents(t *testing.T, text string) (all []toldEvent) {
	t.Helper()
	for line := range strings.Lines(text) {
		var e toldEvent
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		all = append(all, e)
	}
	return all
}

// explainedKernel is the verdict and the reason that explain gives, of the last of its steps that the kernel takes.
func explainedKernel(t *testing.T, on *harness.Host, args ...string) (result, reason string) {
	t.Helper()
	var answer struct {
		Steps []struct {
			Step, Result string
			Details      []struct{ Name, Value string }
		}
	}
	text := explained(t, on, append([]string{"--json"}, args...)...)
	if err := json.Unmarshal([]byte(text), &answer); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	for _, s := range answer.Steps {
		for _, d := range s.Details {
			if d.Name == "reason" && (s.Step == "kernel" || s.Step == "arrival") {
				result = s.Result
				reason, _, _ = strings.Cut(d.Value, ":")
			}
		}
	}
	return result, reason
}

// TestEventsOfEveryKind watches datagrams and connections that come in and leave, in the order in which they are decided about, and has
// the same explained.
func TestEventsOfEveryKind(t *testing.T) {
	t.Parallel()
	out := harness.Listener{Name: "out", Address: "10.99.0.1:80", Virtual: true, Chains: []string{harness.Chain(harness.TCP("inbound"))}}.YAML()
	policies := `"some": {permissions: [{destination_port: 8081}], principals: [{any: true}]}`
	in := harness.Listener{Name: "in", Address: "0.0.0.0:15006", OriginalDst: true, More: "traffic_direction: INBOUND", Chains: []string{
		harness.Chain(networkRBAC("guard.", "rules: {action: DENY, policies: {"+policies+"}}") + ", " + harness.TCP("inbound")),
	}}.YAML()
	h := newHouse(t, "inbound: {exclude: [{ports: [8082]}]}, udp: {rules: [{ports: [443], action: REFUSE}]}, events: {directions: [inbound], protocols: [tcp], reasons: [captured, policy_denied, excluded]}", out, in, udpListener("dns", "0.0.0.0:53", true, "cluster: inbound"))
	for _, port := range []string{"8080", "8081", "8082"} {
		h.serve(true, "0.0.0.0", port)
	}
	watch := func(n int, args ...string) *harness.Process {
		return h.near.App().Start(append([]string{harness.Binary("weirctl"), "events", "--admin", harness.AdminAddr, "-n", fmt.Sprint(n)}, args...)...)
	}
	type expected struct{ direction, protocol, verdict, reason, destination, listener string }
	want := []expected{
		{"inbound", "tcp", "redirect", "captured", nearAddr + ":8080", "in"},
		{"inbound", "tcp", "refuse", "policy_denied", nearAddr + ":8081", "in"},
		{"inbound", "tcp", "pass", "excluded", nearAddr + ":8082", ""},
		{"outbound", "udp", "redirect", "captured", "10.99.0.1:53", "dns"},
		{"outbound", "udp", "refuse", "refuse_rule", "10.99.0.1:443", ""},
		{"outbound", "udp", "pass", "no_rule", "127.0.0.1:9", ""},
		{"outbound", "udp", "redirect", "captured", "10.99.0.1:53", "dns"},
		{"outbound", "tcp", "redirect", "captured", "10.99.0.1:80", "out"},
		{"outbound", "tcp", "pass", "no_rule", "127.0.0.1:9", ""},
	}
	all, text := watch(len(want), "--json"), watch(3, "--direction", "inbound")
	datagrams := watch(5, "--json", "--protocol", "udp", "--each-datagram", "--container", strings.TrimPrefix(h.group.Name, "/"))
	h.weir.AwaitStat("weir.interception.events.consumers", func(n int) bool { return n == 4 }) // the recorder is one
	for _, port := range []string{"8080", "8081", "8082"} {
		_, _, _ = answer(t, h.far, nearAddr+":"+port) // what becomes of it is told
	}
	h.near.App().In(h.group).Python(`
import socket
def attempt(f, *a):
    try: f(*a)
    except OSError: pass
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for to in ("10.99.0.1", 53), ("10.99.0.1", 53), ("10.99.0.1", 443), ("127.0.0.1", 9):
    attempt(u.sendto, b"x", to)
attempt(socket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect, ("10.99.0.1", 53))
for to in ("10.99.0.1", 80), ("127.0.0.1", 9):
    attempt(socket.socket().connect, to)
`)
	told := toldEvents(t, all.Wait().Out)
	if len(told) != len(want) {
		t.Fatalf("%d events, want %d: %+v", len(told), len(want), told)
	}
	for i, e := range told {
		if got := (expected{e.Direction, e.Protocol, e.Verdict, e.Reason, e.Destination, e.Listener}); got != want[i] {
			t.Errorf("event %d is %+v, want %+v", i, got, want[i])
		}
		source, err := netip.ParseAddrPort(e.Source)
		if inbound := e.Direction == "inbound"; inbound != (err == nil) || inbound && source.Addr().String() != farAddr || e.PID == 0 || !strings.HasPrefix(e.Command, "python") || e.Container == "" {
			t.Errorf("event %d is %+v", i, e)
		}
		args := []string{"host", e.Destination}
		if e.Direction == "inbound" {
			args[0] = farAddr
		}
		if e.Protocol == "udp" {
			args = append(args, "--udp")
		}
		verdicts := map[string][]string{
			"pass": {"pass: ", "left to the application"}, "redirect": {"redirect to ", "given to weir"}, "refuse": {"refuse: ", "refused: "},
		}
		result, reason := explainedKernel(t, h.near, args...)
		if reason != e.Reason || !slices.ContainsFunc(verdicts[e.Verdict], func(p string) bool { return strings.HasPrefix(result, p) }) {
			t.Errorf("%v is explained by %s, %q; told is %s, %s", args, reason, result, e.Reason, e.Verdict)
		}
	}
	wantContains(t, "what comes in", text.Wait().Out, "redirect tcp in  "+farAddr+":", "refuse   tcp in  ", " "+nearAddr+":8081: policy_denied, listener in\n")
	again := 0
	for _, e := range toldEvents(t, datagrams.Wait().Out) {
		if e.Again {
			again++
		}
	}
	if again != 1 {
		t.Errorf("%d datagrams are told of again", again)
	}
	past := toldEvents(t, h.near.App().Run(harness.Binary("weirctl"), "events", "--admin", harness.AdminAddr, "--past", "--no-follow", "--json").Out)
	if !slices.Equal(past, told[:3]) {
		t.Errorf("recorded are %+v, want what came in: %+v", past, told[:3])
	}
	h.weir.AwaitStat("weir.interception.events.emitted", func(n int) bool { return n == len(want)+3+5+len(past) })
	if n := h.weir.Stat("weir.interception.events.lost"); n != 0 {
		t.Errorf("%d events are lost", n)
	}
}

// TestUDPLogsCaller looks for the cgroup and the container of the sender in the access logs of sessions, and for the process in
// "weirctl top".
func TestUDPLogsCaller(t *testing.T) {
	t.Parallel()
	harness.NeedInterception(t)
	id := strings.Repeat("0123456789abcdef", 4)
	host, group := harness.NewHost(t), harness.NewCgroup(t)
	container := group.Child(t, "docker-"+id+".scope")
	backend := udpBackend(t, host, "got ")
	access := `, idle_timeout: 1s, access_log: [{name: log, typed_config: {"@type": type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog,
		log_format: {text_format_source: {inline_string: "%FILTER_STATE(weir.cgroup:PLAIN)% %FILTER_STATE(weir.container:PLAIN)%\n"}}}}]`
	weir := host.StartWeir(harness.WeirOptions{
		Config: harness.Bootstrap{
			Listeners: []string{udpListener("v4", "0.0.0.0:53", true, "cluster: backend"+access), udpListener("v6", "[::]:53", true, "cluster: backend"+access)},
			Clusters:  []string{harness.Cluster("backend", harness.To(backend))},
		}.YAML(),
		Capture: []*harness.Cgroup{group}, Interception: "udp: {}",
	})
	want := ""
	for _, ip := range []string{"10.99.0.1", "fd00:99::1"} {
		for of, logged := range map[*harness.Cgroup]string{container: container.Name + " " + id, group: group.Name + " -"} {
			app := host.App().In(of).Start("python3", "-I", "-c", `
import socket, sys, time
s = socket.socket(socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(9)
s.sendto(b"x", (sys.argv[1], 53)); s.recv(99); time.sleep(60)`, ip)
			harness.EventuallyNil(t, "the sender is shown", func() error {
				text := weir.Page("/weir/connections?format=text")
				if !strings.Contains(text, "captured udp") || !strings.Contains(text, fmt.Sprintf("python3(%d)", app.Pid())) {
					return fmt.Errorf("sent by %d: %s", app.Pid(), text)
				}
				return nil
			})
			want += logged + "\n"
			harness.EventuallyNil(t, "the access log", func() error {
				if got := weir.Stdout(); got != want {
					return fmt.Errorf("logged %q, want %q", got, want)
				}
				return nil
			})
			app.Signal(syscall.SIGKILL)
			app.Wait()
		}
	}
}
