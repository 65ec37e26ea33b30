package e2e

import (
	"io"
	"net/http"
	"testing"

	"github.com/weir-proxy/weir/test/harness"
)

// One port serves HTTP by its versions and everything else as bytes, as Istio's listeners do: the first line decides.
func TestHTTPInspector(t *testing.T) {
	t.Parallel()
	host := harness.NewHost(t)
	backend := host.TCPBackend("127.0.0.1:0", harness.Echo)
	answer := func(prefix, body string) string {
		return harness.Chain(harness.HTTPManager(`route_config: {virtual_hosts: [{name: v, domains: ["*"], routes: [
			{match: {prefix: /}, direct_response: {status: 200, body: {inline_string: `+body+`}}}]}]}`), "filter_chain_match: {application_protocols: ["+prefix+"]}")
	}
	weir := host.StartWeir(harness.WeirOptions{Config: harness.Bootstrap{
		Listeners: []string{harness.Listener{
			Name: "any", Address: "127.0.0.1:8080",
			More: `listener_filters: [{name: envoy.filters.listener.http_inspector, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.listener.http_inspector.v3.HttpInspector}}]`,
			Chains: []string{
				answer("http/1.1", "one"), answer("h2c", "two"), answer("http/1.0", "old"), harness.Chain(harness.TCP("backend")),
			},
		}.YAML()},
		Clusters: []string{harness.Cluster("backend", harness.To(backend.Addr))},
	}.YAML()})

	for want, client := range map[string]*http.Client{"one": host.Client(), "two": host.HTTP2Client()} {
		resp, err := client.Get(plainURL)
		if err != nil {
			t.Fatalf("%s: %v", want, err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || string(body) != want {
			t.Errorf("%q, %v, want %s", body, err, want)
		}
	}
	for _, sent := range []string{"HELO there\r\n", "\x16\x03\x01"} {
		conn := host.MustDial("127.0.0.1:8080")
		if _, err := io.WriteString(conn, sent); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, len(sent))
		if _, err := io.ReadFull(conn, got); err != nil || string(got) != sent {
			t.Errorf("%q came back as %q, %v", sent, got, err)
		}
		_ = conn.Close()
	}
	for name, want := range map[string]int{"http11_found": 1, "http2_found": 1, "http10_found": 0, "http_not_found": 2} {
		if n := weir.Stat("http_inspector." + name); n != want {
			t.Errorf("%s is %d, want %d", name, n, want)
		}
	}
	for query, want := range map[string]string{
		"dst=127.0.0.1:8080": "taken to find HTTP/1.1", "dst=127.0.0.1:8080&alpn=h2c": "filter_chains[1] of 4", "dst=127.0.0.1:8080&tls": "TCP proxy to cluster backend",
	} {
		wantContains(t, "explain "+query, weir.Page("/weir/explain?"+query), want)
	}
}
