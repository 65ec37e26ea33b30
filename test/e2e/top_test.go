package e2e

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/weir-proxy/weir/test/harness"
)

// holdOpen connects to 10.99.0.N:80, sends 5,000 bytes, and waits for more than comes back.
const holdOpen = `
import socket, sys
s = socket.create_connection((sys.argv[1], 80))
s.sendall(b"x" * 5000)
while s.recv(10000):
    pass
`

// topRow is what of a row of /weir/connections the test looks at.
type topRow struct {
	Verdict, Command, Container, Destination, Listener, Cluster, Endpoint string
	PID                                                                   int
	BytesSent                                                             uint64 `json:"bytes_sent"`
	BytesReceived                                                         uint64 `json:"bytes_received"`
}

// TestTop looks at a captured, an offloaded and an ordinary connection, of the host and of a pod.
func TestTop(t *testing.T) {
	t.Parallel()
	harness.NeedInterception(t)
	node := harness.NewHost(t).AddAddress("10.60.0.1")
	backend := node.TCPBackend("10.60.0.1:7000", harness.Greets("hello"))
	group, pods := harness.NewCgroup(t), harness.NewCgroup(t)
	pod := newPod(t, node, pods, "shop", "192.0.2.0/30")
	idle := strings.Replace(harness.TCP("backend"), "cluster: backend", "cluster: backend, idle_timeout: 300s", 1)
	weir := node.StartWeir(harness.WeirOptions{
		Config: harness.Bootstrap{
			Listeners: []string{
				harness.Listener{Name: "kept", Address: "10.99.0.1:80", Virtual: true, Chains: []string{harness.Chain(idle)}}.YAML(),
				plainTCP("fast", "10.99.0.2:80", "backend"),
				harness.Listener{Name: "edge", Address: "10.60.0.1:80", Chains: []string{harness.Chain(idle)}}.YAML(),
			},
			Clusters: []string{harness.Cluster("backend", harness.To(backend.Addr))},
		}.YAML(),
		Capture: []*harness.Cgroup{group, pods},
	})
	served(t, weir, pod)
	app := node.App().In(group)
	start := func(app harness.App, ip string) *harness.Process {
		return app.Start("python3", "-I", "-c", holdOpen, ip)
	}
	name := func(c *harness.Cgroup) string { return c.Dir[strings.LastIndexByte(c.Dir, '/')+1:] }
	endpoint := backend.Addr.String()
	row := func(verdict, ip, listener, container string, pid int) topRow {
		return topRow{verdict, "python3", container, ip + ":80", listener, "backend", endpoint, pid, 5000, 5005}
	}
	want := []topRow{
		row("captured", "10.99.0.1", "kept", name(group), start(app, "10.99.0.1").Pid()),
		row("offloaded", "10.99.0.2", "fast", name(group), start(app, "10.99.0.2").Pid()),
		row("captured", "10.99.0.1", "kept", "shop", start(pod.app, "10.99.0.1").Pid()),
		row("offloaded", "10.99.0.2", "fast", "shop", start(pod.app, "10.99.0.2").Pid()),
	}
	start(node.App(), "10.60.0.1")
	bound := row("bound", "10.60.0.1", "edge", "", 0)
	bound.Command = ""
	want = append(want, bound)
	harness.EventuallyNil(t, "the connections", func() error {
		var got struct{ Connections []topRow }
		weir.JSON("/weir/connections", &got)
		if len(got.Connections) != len(want) {
			return fmt.Errorf("%d connections: %+v", len(got.Connections), got)
		}
		for _, w := range want {
			if !slices.Contains(got.Connections, w) {
				return fmt.Errorf("no %+v in %+v", w, got)
			}
		}
		return nil
	})
	top := node.App().Run(harness.Binary("weirctl"), "top", "--once", "--admin", harness.AdminAddr)
	t.Logf("\n%s", top.Out)
	wantContains(t, "top", top.Out, "5 connections: 2 captured, 2 offloaded, 1 bound\n")
	for _, w := range want {
		process := "-"
		if w.PID != 0 {
			process = fmt.Sprintf("python3/%d", w.PID)
		}
		fields := []string{process, w.Verdict, w.Destination, w.Listener, w.Cluster, w.Endpoint, "4.9K", "4.9K"}
		for i := range fields {
			fields[i] = regexp.QuoteMeta(fields[i])
		}
		line := regexp.MustCompile(`(?m)^` + strings.Join(fields, `(?: .*)? `) + ` `)
		if top.Status != 0 || !line.MatchString(top.Out) {
			t.Errorf("status %d, no line %s in\n%s%s", top.Status, line, top.Out, top.Err)
		}
	}
	weir.Stop()
	gone := node.App().Run(harness.Binary("weirctl"), "top", "--once", "--admin", harness.AdminAddr)
	if gone.Status != 1 || !strings.Contains(gone.Err, "Is weir running?") {
		t.Errorf("without weir: %+v", gone)
	}
}
