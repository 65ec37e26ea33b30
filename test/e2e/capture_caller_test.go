package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/weir-proxy/weir/test/harness"
)

// TestCaptureLogsCaller looks for the cgroup and the container of the caller in access logs.
func TestCaptureLogsCaller(t *testing.T) {
	t.Parallel()
	harness.NeedInterception(t)
	id := strings.Repeat("0123456789abcdef", 4)
	host, group := harness.NewHost(t), harness.NewCgroup(t)
	container := group.Child(t, "docker-"+id+".scope")
	backend := host.TCPBackend("127.0.0.1:0", harness.Greets("hello"))
	chain := harness.Chain(`{name: tcp, typed_config: {"@type": ` + tcpType + `, stat_prefix: tcp, cluster: backend, access_log: [{name: log, typed_config: {
		"@type": type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog, log_format: {text_format_source: {inline_string:
		"%FILTER_STATE(weir.cgroup:PLAIN)% %FILTER_STATE(weir.container:PLAIN)%\n"}}}}]}}`)
	weir := host.StartWeir(harness.WeirOptions{
		Config: harness.Bootstrap{
			Listeners: []string{
				harness.Listener{Name: "captured", Address: "10.99.0.1:80", Virtual: true, Chains: []string{chain}}.YAML(),
				harness.Listener{Name: "called", Address: "127.0.0.1:8080", Chains: []string{chain}}.YAML(),
			},
			Clusters: []string{harness.Cluster("backend", harness.To(backend.Addr))},
		}.YAML(),
		Capture: []*harness.Cgroup{group},
	})
	want := ""
	for _, tc := range []struct {
		name, to, want string
		app            harness.App
	}{
		{"container", "10.99.0.1:80", container.Name + " " + id, host.App().In(container)},
		{"no container", "10.99.0.1:80", group.Name + " -", host.App().In(group)},
		{"not captured", "127.0.0.1:8080", "- -", host.App()},
	} {
		if got := tc.app.Connect(harness.Connect{To: tc.to, HalfClose: true}); got.Received != "hello" {
			t.Fatalf("%s: %+v", tc.name, got)
		}
		want += tc.want + "\n"
		harness.EventuallyNil(t, "the access log of "+tc.name, func() error {
			if got := weir.Stdout(); got != want {
				return fmt.Errorf("logged %q, want %q", got, want)
			}
			return nil
		})
	}
}
