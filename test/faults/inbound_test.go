package faults

import (
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/weir-proxy/weir/pkg/kernel/pin"
	"github.com/weir-proxy/weir/test/harness"
)

// nearAddr is the address of the host in front of its neighbour.
const nearAddr = "192.0.2.1"

// greeterProgram listens on a port of all addresses and greets whoever comes.
const greeterProgram = `
import socket, sys
l = socket.create_server(("0.0.0.0", int(sys.argv[1])))
while True:
    c, _ = l.accept()
    c.sendall(b"application")
    c.close()
`

// greet starts a greeter in an application, and waits until it listens.
func greet(t *testing.T, host *harness.Host, app harness.App, port int) *harness.Process {
	t.Helper()
	greeter := app.Start("python3", "-I", "-c", greeterProgram, fmt.Sprint(port))
	harness.EventuallyNil(t, "the greeter listens", func() error {
		conn, err := host.Dial(t.Context(), "tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			conn.Close()
		}
		return err
	})
	return greeter
}

// newInboundRig is a rig whose weir takes what comes in, too, and a neighbour that it comes from.
func newInboundRig(t *testing.T, persistence, policy string) (r *rig, far *harness.Host) {
	t.Helper()
	r = newRigWith(t, persistence, policy, func(host *harness.Host) (listeners, clusters []string) {
		proxied := host.TCPBackend("127.0.0.1:0", harness.Greets("weir"))
		return []string{harness.Listener{
			Name: "virtualInbound", Address: "0.0.0.0:15006", OriginalDst: true, More: "traffic_direction: INBOUND",
			Chains: []string{harness.Chain(harness.TCP("inbound"))},
		}.YAML()}, []string{harness.Cluster("inbound", harness.To(proxied.Addr))}
	})
	r.interception += ", inbound: {}"
	far = harness.NewHost(t)
	harness.Link(r.host, far, "192.0.2.0/30")
	return r, far
}

// wantComing connects from a neighbour to ports of the host, and fails unless each answers, or refuses, as wanted.
func wantComing(t *testing.T, when string, far *harness.Host, wanted map[int]string) {
	t.Helper()
	for port, want := range wanted {
		got := far.App().Connect(harness.Connect{To: fmt.Sprintf("%s:%d", nearAddr, port), HalfClose: true})
		if text := strings.TrimSpace(got.Received + got.Failed); text != want {
			t.Errorf("%s: port %d: %q, want %q", when, port, text, want)
		}
	}
}

// TestInboundPortsChangeHands kills weir, with the fail policy CLOSED, and then the captured applications, of which one listened before
// weir and one after. The ports are free then: what others have there is reached, and what captured applications have is refused.
func TestInboundPortsChangeHands(t *testing.T) {
	t.Parallel()
	r, far := newInboundRig(t, "UNTIL_STOPPED", "CLOSED")
	before := greet(t, r.host, r.host.App().In(r.group), 8080)
	weir := r.start(true)
	after := greet(t, r.host, r.host.App().In(r.group), 8081)
	wantComing(t, "with weir", far, map[int]string{8080: "weir", 8081: "weir"})
	weir.Kill()
	wantComing(t, "killed", far, map[int]string{8080: "ECONNREFUSED", 8081: "ECONNREFUSED"})
	for _, p := range []*harness.Process{before, after} {
		p.Signal(syscall.SIGKILL)
		p.Wait()
	}
	for port, app := range map[int]harness.App{8080: r.host.App().In(r.other), 8081: r.host.App().In(r.other), 8082: r.host.App().In(r.group)} {
		greet(t, r.host, app, port)
	}
	wantComing(t, "in other hands", far, map[int]string{8080: "application", 8081: "application", 8082: "ECONNREFUSED"})
}

// TestInboundWithoutWeir stops and kills weir, and starts the next one: what comes in for a captured application obeys the fail policy,
// what comes in for others notices nothing, and nothing stays behind. One application listened before weir, one after.
func TestInboundWithoutWeir(t *testing.T) {
	for _, tt := range []struct{ persistence, policy, without string }{
		{"UNTIL_STOPPED", "OPEN", "application"}, {"UNTIL_STOPPED", "CLOSED", "ECONNREFUSED"}, {"PROCESS", "CLOSED", "application"},
	} {
		t.Run(tt.persistence+" "+tt.policy, func(t *testing.T) {
			t.Parallel()
			r, far := newInboundRig(t, tt.persistence, tt.policy)
			greet(t, r.host, r.host.App().In(r.group), 8080)
			greet(t, r.host, r.host.App().In(r.other), 8090)
			weir := r.start(true)
			greet(t, r.host, r.host.App().In(r.group), 8081)
			all := func(when, want string) {
				t.Helper()
				wantComing(t, when, far, map[int]string{8080: want, 8081: want, 8090: "application"})
			}
			all("with weir", "weir")

			weir.Signal(syscall.SIGSTOP)
			waiting := far.App().Start("python3", "-I", "-c", `import socket; print(socket.create_connection(("192.0.2.1", 8080)).recv(9).decode())`)
			harness.EventuallyNil(t, "beside one that is stopped", func() error {
				got := far.App().Connect(harness.Connect{To: nearAddr + ":8090", HalfClose: true})
				if got.Received != "application" {
					return fmt.Errorf("%+v", got)
				}
				return nil
			})
			weir.Signal(syscall.SIGCONT)
			if got := waiting.Wait(); strings.TrimSpace(got.Out) != "weir" {
				t.Errorf("one that came while weir was stopped: %+v", got)
			}

			weir.Kill()
			all("killed", tt.without)
			weir = r.start(true)
			all("with the next one", "weir")
			weir.Stop()
			all("after an ordered stop", "application")
			if states, err := pin.List(r.fs); len(states) > 0 || err != nil {
				t.Errorf("pinned after an ordered stop: %+v (%v)", states, err)
			}
		})
	}
}
