package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/weir-proxy/weir/test/harness"
)

const udpLoop = `
import socket, sys, time
bad = 0
end = time.monotonic() + float(sys.argv[1])
count = 0
while time.monotonic() < end:
    for ip, port in ("127.0.0.1", 5300), ("10.99.0.1", 53), ("fd00:99::1", 53):
        s = socket.socket(socket.AF_INET6 if ":" in ip else socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(2)
        s.connect((ip, port)); s.send(b"x"); count += 1
        try: s.recv(9)
        except OSError as e: bad += 1; print(ip, e, file=sys.stderr)
        s.close()
print(bad, "of", count)
`

// While one weir takes over from another, clients of a bound listener and captured ones get their answers: the socket is passed on, and
// programs of both are attached for a moment. Sessions are short, since there may be 1024 of them.
func TestUDPUpgrade(t *testing.T) {
	t.Parallel()
	harness.NeedInterception(t)
	host, group := harness.NewHost(t), harness.NewCgroup(t)
	backend := udpBackend(t, host, "got ")
	base := fmt.Sprintf("--base-id=%d", 1000+backend.Port())
	options := func(epoch int) harness.WeirOptions {
		return harness.WeirOptions{
			Config: harness.Bootstrap{
				Listeners: []string{
					udpListener("bound", "127.0.0.1:5300", false, "cluster: backend, idle_timeout: 0.1s"),
					udpListener("v4", "0.0.0.0:53", true, "cluster: backend, idle_timeout: 0.1s"), udpListener("v6", "[::]:53", true, "cluster: backend, idle_timeout: 0.1s"),
				},
				Clusters: []string{harness.Cluster("backend", harness.To(backend))},
			}.YAML(),
			Capture: []*harness.Cgroup{group}, Flags: []string{base, fmt.Sprintf("--restart-epoch=%d", epoch), "--drain-time-s=1", "--parent-shutdown-time-s=2"},
		}
	}
	first := host.StartWeir(options(0))
	clients := host.App().In(group).Start("python3", "-I", "-c", udpLoop, "3")
	second := host.StartWeir(options(1))
	<-first.Ended()
	got := clients.Wait()
	if !strings.HasPrefix(got.Out, "0 of ") {
		t.Errorf("%+v\n%s", got, second.Log())
	}
}
