package e2e

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/weir-proxy/weir/test/harness"
)

// TestEvents watches decisions about a captured, an offloaded, a refused and an ordinary connection as they are taken, and reads them
// again afterwards.
func TestEvents(t *testing.T) {
	t.Parallel()
	harness.NeedInterception(t)
	node := harness.NewHost(t).AddAddress("10.60.0.1")
	backend := node.TCPBackend("10.60.0.1:7000", harness.Greets("hello"))
	group := harness.NewCgroup(t)
	pods := harness.NewCgroup(t)
	pod := newPod(t, node, pods, "shop", "192.0.2.0/30")
	idle := strings.Replace(harness.TCP("backend"), "cluster: backend", "cluster: backend, idle_timeout: 300s", 1)
	weir := node.StartWeir(harness.WeirOptions{
		Config: harness.Bootstrap{
			Listeners: []string{
				harness.Listener{Name: "kept", Address: "10.99.0.1:80", Virtual: true, Chains: []string{harness.Chain(idle)}}.YAML(),
				plainTCP("fast", "10.99.0.2:80", "backend"),
				plainTCP("none", "10.99.0.3:80", "empty"),
			},
			Clusters: []string{harness.Cluster("backend", harness.To(backend.Addr)), "{name: empty, type: STATIC, connect_timeout: 1s}"},
		}.YAML(),
		Capture: []*harness.Cgroup{group, pods}, Interception: "events: {reasons: [captured, offloaded, no_endpoint]}",
	})
	served(t, weir, pod)
	app := node.App().In(group)
	watch := func(args ...string) *harness.Process {
		return node.App().Start(append([]string{harness.Binary("weirctl"), "events", "--admin", harness.AdminAddr}, args...)...)
	}
	// The configuration records three reasons; whoever looks sees the others, too.
	all := watch("--json", "-n", "4", "--dst", "10.99.0.0/24,10.60.0.1:7000", "--reason", "captured,offloaded,no_endpoint,no_rule")
	one := watch("-n", "1", "--verdict", "redirect", "--cgroup", pod.group.Name)
	weir.AwaitStat("weir.interception.events.consumers", func(n int) bool { return n == 3 })
	for _, to := range []string{"10.99.0.1:80", "10.99.0.2:80", "10.99.0.3:80", "10.60.0.1:7000"} {
		app.Connect(harness.Connect{To: to, HalfClose: true})
	}
	pod.app.Connect(harness.Connect{To: "10.99.0.1:80", HalfClose: true})
	type event struct{ Verdict, Reason, Destination, Listener, Service, Endpoint string }
	want := []event{
		{"redirect", "captured", "10.99.0.1:80", "kept", "", ""},
		{"offload", "offloaded", "10.99.0.2:80", "fast", "fast", backend.Addr.String()},
		{"refuse", "no_endpoint", "10.99.0.3:80", "none", "none", ""},
		{"pass", "no_rule", "10.60.0.1:7000", "", "", ""},
	}
	compare := func(text string, want []event) {
		t.Helper()
		lines := strings.Split(strings.TrimSpace(text), "\n")
		if len(lines) != len(want) {
			t.Fatalf("%d lines, want %d:\n%s", len(lines), len(want), text)
		}
		for i, line := range lines {
			var got struct {
				event
				PID                int
				Command, Container string
			}
			if err := json.Unmarshal([]byte(line), &got); err != nil {
				t.Fatalf("%v in %s", err, line)
			}
			if got.Service != "" {
				got.Service = want[i].Service // how services are called is theirs to say
			}
			if got.event != want[i] || got.PID == 0 || got.Container == "" {
				t.Errorf("line %s, want %+v", line, want[i])
			}
		}
	}
	compare(all.Wait().Out, want)
	wantContains(t, "the pod's", one.Wait().Out, "shop (net:[", "redirect tcp out", "> 10.99.0.1:80: captured, listener kept")
	compare(node.App().Run(harness.Binary("weirctl"), "events", "--admin", harness.AdminAddr, "--past", "--json", "-n", "3").Out, want[:3])
	compare(node.App().Run(harness.Binary("weirctl"), "events", "--admin", harness.AdminAddr, "--past", "--no-follow", "--json", "--verdict", "offload,refuse").Out, want[1:3])
	weir.AwaitStat("weir.interception.events.consumers", func(n int) bool { return n == 1 })
	for name, least := range map[string]int{"captured": 2, "offloaded": 1, "no_endpoint": 1, "no_rule": 1, "events.emitted": 9} {
		weir.AwaitStat("weir.interception."+name, func(n int) bool { return n >= least })
	}
	wrong := node.App().Run(harness.Binary("weirctl"), "events", "--admin", harness.AdminAddr, "--reason", "because")
	if wrong.Status != 1 || !strings.Contains(wrong.Err, `reason: "because" is none of not_tcp`) {
		t.Errorf("a reason that there is none of: %+v", wrong)
	}
	// Weir ends although somebody looks.
	last := watch("--json")
	weir.AwaitStat("weir.interception.events.consumers", func(n int) bool { return n == 2 })
	weir.Stop()
	last.Wait()
}
