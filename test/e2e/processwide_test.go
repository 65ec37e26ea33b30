package e2e

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/weir-proxy/weir/test/harness"
)

// What a bootstrap says for the whole process holds for each cluster that does not say otherwise.
func TestProcessWideSettings(t *testing.T) {
	t.Parallel()
	host := harness.NewHost(t).AddAddress("10.9.0.7", "10.9.0.8")
	backend := host.HTTPBackend("backend", "127.0.0.1:0")
	logFile := harness.Dir(t) + "/log.json"
	w := host.StartWeir(harness.WeirOptions{
		Config: harness.Bootstrap{
			Listeners: []string{harness.Listener{
				Name: "main", Address: "127.0.0.1:8080", Chains: []string{harness.Chain(harness.HTTP(harness.RouteTo("/own", "own"), harness.RouteTo("/", "plain")))},
			}.YAML()},
			Clusters: []string{
				harness.Cluster("plain", harness.To(backend.Addr)),
				harness.Cluster("own", harness.To(backend.Addr), "upstream_bind_config: {source_address: {address: 10.9.0.8, port_value: 0}}"),
			},
			More: `cluster_manager: {upstream_bind_config: {source_address: {address: 10.9.0.7, port_value: 0}}}
stats_server_version_override: 4711
application_log_config: {log_format: {json_format: {Level: "%l", Message: "%j", Fixed: {deep: "yes %%"}}}}
`,
		}.YAML(),
		Flags: []string{"--log-path", logFile},
	})
	for path, from := range map[string]string{"/": "10.9.0.7:", "/own": "10.9.0.8:"} {
		resp, err := host.Client().Get("http://127.0.0.1:8080" + path)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if got := backend.Last(t).RemoteAddr; !strings.HasPrefix(got, from) {
			t.Errorf("%s came from %s, want %s", path, got, from)
		}
	}
	if n := w.Stat("server.version"); n != 4711 {
		t.Errorf("server.version is %d", n)
	}
	w.Stop()
	text, err := os.ReadFile(logFile)
	if err != nil || len(text) == 0 {
		t.Fatalf("log: %q, %v", text, err)
	}
	for line := range strings.Lines(string(text)) {
		var entry struct {
			Level, Message string
			Fixed          struct{ Deep string }
		}
		if err := json.Unmarshal([]byte(line), &entry); err != nil || entry.Level == "" || entry.Message == "" || entry.Fixed.Deep != "yes %" {
			t.Fatalf("not a JSON entry: %v: %s", err, line)
		}
	}
}
