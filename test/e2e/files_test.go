package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/weir-proxy/weir/test/harness"
)

// An access log file is written with the configured format, and made anew after it was moved away and weir was told.
func TestAccessLogFile(t *testing.T) {
	t.Parallel()
	host := harness.NewHost(t)
	backend := host.HTTPBackend("backend", "127.0.0.1:0")
	path := filepath.Join(harness.Dir(t), "access.log")
	log := fmt.Sprintf(`access_log: [{name: file, typed_config: {"@type": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog, path: %s, `+
		`log_format: {json_format: {status: "%%RESPONSE_CODE%%", cluster: "%%UPSTREAM_CLUSTER%%", details: "%%RESPONSE_CODE_DETAILS%%", agent: "%%REQ(USER-AGENT)%%"}}}}]`, path)
	weir := host.StartWeir(harness.WeirOptions{Config: harness.Bootstrap{
		Listeners: []string{harness.Listener{Name: "main", Address: "127.0.0.1:8080", Chains: []string{harness.Chain(
			`{name: http, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager, stat_prefix: x, ` +
				`http_filters: [{name: envoy.router}], route_config: ` + harness.RouteConfig("r", harness.RouteTo("/", "backend")) + ", " + log + `}}`)}}.YAML()},
		Clusters: []string{harness.Cluster("backend", harness.To(backend.Addr))},
	}.YAML()})
	want := `{"agent":"tester","cluster":"backend","details":"via_upstream","status":200}` + "\n"
	for _, moved := range []bool{false, true} {
		if moved {
			if err := os.Rename(path, path+".1"); err != nil {
				t.Fatal(err)
			}
			weir.Signal(syscall.SIGUSR1)
			harness.Eventually(t, "the file is made anew", func() bool { _, err := os.Stat(path); return err == nil })
		}
		wantOK(t, host.App().Curl("-A", "tester", "http://127.0.0.1:8080/"), "backend")
		harness.EventuallyNil(t, "the line", func() error {
			text, err := os.ReadFile(path)
			if err == nil && string(text) != want {
				err = fmt.Errorf("got %q, want %q", text, want)
			}
			return err
		})
	}
}

// Names are resolved, and a name that nobody knows leaves the rest working.
func TestDNSClusters(t *testing.T) {
	t.Parallel()
	host := harness.NewHost(t)
	host.HTTPBackend("four", "127.0.0.2:80")
	host.HTTPBackend("six", "[::1]:80")
	cluster := func(name, kind, target, more string) string {
		return fmt.Sprintf(`{name: %s, type: %s, %s load_assignment: {cluster_name: %s, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: %s, port_value: 80}}}}]}]}}`,
			name, kind, more, name, target)
	}
	host.StartWeir(harness.WeirOptions{
		Config: harness.Bootstrap{
			Listeners: []string{harness.Listener{Name: "main", Address: "127.0.0.1:8080", Chains: []string{harness.Chain(harness.HTTP(
				harness.RouteTo("/strict", "strict"), harness.RouteTo("/logical", "logical"), harness.RouteTo("/six", "six"), harness.RouteTo("/nobody", "nobody"),
			))}}.YAML()},
			Clusters: []string{
				cluster("strict", "STRICT_DNS", "four.test", ""), cluster("logical", "LOGICAL_DNS", "four.test", "dns_lookup_family: V4_ONLY,"),
				cluster("six", "STRICT_DNS", "six.test", "dns_lookup_family: V6_ONLY,"), cluster("nobody", "STRICT_DNS", "nobody.test", ""),
			},
		}.YAML(),
		Hosts: "127.0.0.2 four.test\n::1 six.test\n",
	})
	for path, want := range map[string]string{"strict": "four", "logical": "four", "six": "six", "nobody": "no healthy upstream"} {
		wantOK(t, host.App().Curl(plainURL+path), want)
	}
}

// weirctl doctor tells root that interception works, and anybody else what is missing.
func TestDoctor(t *testing.T) {
	t.Parallel()
	harness.NeedInterception(t)
	app := harness.NewHost(t).App()
	if got := app.Run(harness.Binary("weirctl"), "doctor"); got.Status != 0 || !strings.Contains(got.Out, "Interception works here") {
		t.Errorf("root: status %d\n%s%s", got.Status, got.Out, got.Err)
	}
	got := app.As(harness.Nobody).Run(harness.Binary("weirctl"), "doctor")
	if got.Status != 1 {
		t.Errorf("nobody: status %d", got.Status)
	}
	wantContains(t, "nobody: stdout", got.Out, "MISSING", "CAP_BPF", "without it")
}

// --mode init_only reads, resolves and ends; it opens no listener.
func TestInitOnly(t *testing.T) {
	t.Parallel()
	host := harness.NewHost(t)
	taken := host.Listen("127.0.0.1:8080")
	defer taken.Close()
	backend := host.HTTPBackend("backend", "127.0.0.1:0")
	weir := host.StartWeir(harness.WeirOptions{Config: reverseProxy(backend), Flags: []string{"--mode", "init_only"}, NotReady: true})
	if status := weir.Wait(); status != 0 {
		t.Errorf("status %d", status)
	}
}
