package e2e

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/weir-proxy/weir/test/harness"
)

// A captured connection goes to the listener of its exact address, else to that of any address on its port, else to the one with
// use_original_dst itself.
func TestHandOff(t *testing.T) {
	t.Parallel()
	harness.NeedInterception(t)
	host := harness.NewHost(t)
	backend := host.HTTPBackend("backend", "127.0.0.1:0")
	answer := func(text string) []string {
		return []string{harness.Chain(harness.HTTP(fmt.Sprintf(`{match: {prefix: /}, direct_response: {status: 200, body: {inline_string: %s}}}`, text)))}
	}
	group := harness.NewCgroup(t)
	host.StartWeir(harness.WeirOptions{
		Config: harness.Bootstrap{Listeners: []string{
			harness.Listener{Name: "exact", Address: "10.99.0.1:80", Virtual: true, Chains: answer("exact")}.YAML(),
			harness.Listener{Name: "any", Address: "0.0.0.0:80", Virtual: true, Chains: answer("any")}.YAML(),
			harness.Listener{Name: "any6", Address: "[::]:81", Virtual: true, Chains: answer("any6")}.YAML(),
			harness.Listener{Name: "catchall", Address: "0.0.0.0:15001", OriginalDst: true, Chains: answer("catchall")}.YAML(),
		}}.YAML(),
		Capture:      []*harness.Cgroup{group},
		Interception: `exclude: [{prefix: 10.98.0.0/16}]`,
	})
	app := host.App().In(group)
	for to, want := range map[string]string{
		"10.99.0.1:80": "exact", "10.99.0.2:80": "any", "10.99.0.1:82": "catchall", "[fd00:99::1]:81": "any6",
		"[fd00:99::1]:80": "catchall", "[::ffff:10.99.0.1]:80": "exact",
		// What is local is left alone.
		backend.Addr.String(): "backend",
	} {
		if got := app.Curl("http://" + to + "/"); strings.TrimSpace(got.Out) != want {
			t.Errorf("%s: %q %s, want %q", to, got.Out, got.Err, want)
		}
	}
	if got := app.Curl("--max-time", "3", "http://10.98.0.1/"); got.Status == 0 {
		t.Errorf("an excluded address: %q", got.Out)
	}
}

// weirctl exec without a configuration uses the daemon that runs.
func TestExecThroughTheDaemon(t *testing.T) {
	t.Parallel()
	harness.NeedInterception(t)
	host := harness.NewHost(t)
	v4, v6 := host.HTTPBackend("four", "127.0.0.1:0"), host.HTTPBackend("six", "[::1]:0")
	host.StartWeir(harness.WeirOptions{Config: shop(host, v4, v6), Bare: true})
	exec := []string{harness.Binary("weirctl"), "exec", "--", "curl", "-sS", "--max-time", "10"}
	wantOK(t, host.App().Run(append(exec, "http://10.99.0.1/")...), "four")
	wantOK(t, host.App().Run(append(exec, "http://[fd00:99::1]/")...), "six")
	if got := host.App().Curl("--max-time", "3", "http://10.99.0.1/"); got.Status == 0 {
		t.Error("reached without exec")
	}
}

// A server that speaks first gets through a listener that looks for TLS, once that has waited long enough.
func TestServerSpeaksFirstBehindInspection(t *testing.T) {
	t.Parallel()
	host := harness.NewHost(t)
	backend := host.TCPBackend("127.0.0.1:0", harness.Greets("220 ready"))
	weir := host.StartWeir(harness.WeirOptions{Config: harness.Bootstrap{
		Listeners: []string{harness.Listener{
			Name: "mail", Address: "127.0.0.1:8025", InspectTLS: true, Chains: []string{harness.Chain(harness.TCP("backend"))},
			More: "listener_filters_timeout: 0.1s, continue_on_listener_filters_timeout: true",
		}.YAML()},
		Clusters: []string{harness.Cluster("backend", harness.To(backend.Addr))},
	}.YAML()})
	if got := host.App().Connect(harness.Connect{To: "127.0.0.1:8025"}); got.Received != "220 ready" {
		t.Errorf("got %+v", got)
	}
	weir.AwaitStat("listener.127.0.0.1_8025.downstream_pre_cx_timeout", func(n int) bool { return n == 1 })
}

// Between hosts: the application and weir on one, the backend on another, and a destination that never answers.
func TestAcrossHosts(t *testing.T) {
	t.Parallel()
	harness.NeedInterception(t)
	near, far := harness.NewHost(t), harness.NewHost(t)
	harness.Link(near, far, "192.0.2.0/30")
	near.AddRoute("198.51.100.0/24", "192.0.2.2")
	far.Swallow("198.51.100.0/24")
	backend := far.HTTPBackend("far", "192.0.2.2:80")
	group := harness.NewCgroup(t)
	near.StartWeir(harness.WeirOptions{
		Config: harness.Bootstrap{
			Listeners: []string{
				harness.Listener{Name: "all", Address: "127.0.0.1:15001", OriginalDst: true, Chains: []string{harness.Chain(harness.HTTP(
					`{match: {prefix: /, headers: [{name: ":authority", string_match: {exact: silent.test}}]}, route: {cluster: silent}}`,
					harness.RouteTo("/", "passthrough")))}}.YAML(),
			},
			Clusters: []string{
				harness.OriginalDstCluster("passthrough"),
				harness.Cluster("silent", harness.To(netip.MustParseAddrPort("198.51.100.1:80")), "connect_timeout: 0.2s"),
			},
		}.YAML(),
		Capture: []*harness.Cgroup{group},
	})
	app := near.App().In(group)
	wantOK(t, app.Curl("http://192.0.2.2/"), "far")
	if peer := backend.Last(t).RemoteAddr; !strings.HasPrefix(peer, "192.0.2.1:") {
		t.Errorf("the backend saw %s", peer)
	}
	start := time.Now()
	got := app.Curl("-w", "%{http_code}", "-H", "host: silent.test", "http://192.0.2.2/")
	wantContains(t, "answer", got.Out, "reset reason: connection timeout", "503")
	if took := time.Since(start); took > harness.Patience {
		t.Errorf("it took %s", took)
	}
}
