package e2e

import (
	"io"
	"testing"

	"github.com/weir-proxy/weir/test/harness"
)

// Bytes that a listener filter has looked at reach the connection manager whole, although that looks at the first of them
// again to tell HTTP/1 from HTTP/2.
func TestPlainHTTPBehindTLSInspector(t *testing.T) {
	t.Parallel()
	host := harness.NewHost(t)
	backend := host.HTTPBackend("backend", "127.0.0.1:0")
	host.StartWeir(harness.WeirOptions{Config: harness.Bootstrap{
		Listeners: []string{harness.Listener{
			Name: "web", Address: "127.0.0.1:8080", InspectTLS: true, Chains: []string{harness.Chain(harness.HTTP(harness.RouteTo("/", "backend")))},
		}.YAML()},
		Clusters: []string{harness.Cluster("backend", harness.To(backend.Addr))},
	}.YAML()})
	resp, err := host.Client().Get(plainURL)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != 200 || string(body) != "backend\n" {
		t.Errorf("%d %q %v", resp.StatusCode, body, err)
	}
}
