package e2e

import (
	"net/http"
	"strings"
	"testing"

	"github.com/weir-proxy/weir/test/harness"
)

// TestInboundDrainEndsCaptureForInboundListeners has two listeners without sockets of their own, one for what comes to an application:
// only that one's connections are left to the kernel again.
func TestInboundDrainEndsCaptureForInboundListeners(t *testing.T) {
	t.Parallel()
	harness.NeedInterception(t)
	for name, query := range map[string]string{"at once": "inboundonly", "after the drain time": "inboundonly&graceful"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			host := harness.NewHost(t).AddAddress("10.99.0.1")
			backend := host.HTTPBackend("one", "127.0.0.1:0")
			group := harness.NewCgroup(t)
			listener := func(name, addr, direction string) string {
				return harness.Listener{
					Name: name, Address: addr, Virtual: true, Chains: []string{harness.Chain(harness.HTTP(harness.RouteTo("/", "one")))},
					More: "traffic_direction: " + direction,
				}.YAML()
			}
			weir := host.StartWeir(harness.WeirOptions{Config: harness.Bootstrap{
				Listeners: []string{listener("in", "10.99.0.1:80", "INBOUND"), listener("out", "10.99.0.2:80", "OUTBOUND")},
				Clusters:  []string{harness.Cluster("one", harness.To(backend.Addr))},
			}.YAML(), Capture: []*harness.Cgroup{group}, Flags: []string{"--drain-time-s", "1"}})
			app := host.App().In(group)
			app.Start("python3", "-I", "-c", inboundServer, "10.99.0.1", "80")
			harness.Eventually(t, "the application is there", func() bool { return app.Curl("http://10.99.0.1/").Status == 0 })
			for _, url := range []string{"http://10.99.0.1/", "http://10.99.0.2/"} {
				wantOK(t, app.Curl(url), "one")
			}
			if status, body := weir.Post("/drain_listeners?" + query); status != http.StatusOK {
				t.Fatalf("%d %s", status, body)
			}
			harness.Eventually(t, "inbound connections are not captured", func() bool {
				return strings.HasPrefix(app.Curl("--max-time", "3", "http://10.99.0.1/").Out, "app ")
			})
			wantOK(t, app.Curl("http://10.99.0.2/"), "one")
			var status struct {
				Rules []struct {
					Listener string `json:"listener"`
				} `json:"rules"`
			}
			weir.JSON("/weir/interception", &status)
			if len(status.Rules) != 1 || status.Rules[0].Listener != "out" {
				t.Errorf("not one rule, for the outbound listener: %+v", status)
			}
		})
	}
}
