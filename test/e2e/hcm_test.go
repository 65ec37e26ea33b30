package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/weir-proxy/weir/test/harness"
)

// managed is a listener whose connection manager has these fields, in front of the cluster backend.
func managed(port int, fields ...string) string {
	routes := harness.RouteConfig("r", harness.RouteTo("/nobody", "nobody"), harness.RouteTo("/", "backend"))
	return harness.Listener{
		Name: fmt.Sprintf("l%d", port), Address: fmt.Sprintf("127.0.0.1:%d", port),
		Chains: []string{harness.Chain(harness.HTTPManager(append(fields, "route_config: "+routes)...))},
	}.YAML()
}

// TestConnectionManagerDetails drives what the connection manager says about messages from YAML to the wire.
func TestConnectionManagerDetails(t *testing.T) {
	host := harness.NewHost(t)
	backend := host.HTTPBackend("backend", "127.0.0.1:0")
	const ext = `{name: x, typed_config: {"@type": type.googleapis.com/envoy.extensions.http.%s}}`
	early := fmt.Sprintf(ext, `early_header_mutation.header_mutation.v3.HeaderMutation, mutations: [{append: {header: {key: x-early, value: "%REQ(x-sent)%"}}}, {remove: x-sent}]`)
	custom := fmt.Sprintf(ext, `original_ip_detection.custom_header.v3.CustomHeaderConfig, header_name: x-client, allow_extension_to_set_address_as_trusted: true, reject_with_status: {code: Unauthorized}`)
	xff := fmt.Sprintf(ext, `original_ip_detection.xff.v3.XffConfig, xff_trusted_cidrs: {cidrs: [{address_prefix: 127.0.0.0, prefix_len: 8}]}, skip_xff_append: false`)
	weir := host.StartWeir(harness.WeirOptions{Config: harness.Bootstrap{
		Listeners: []string{
			managed(8081, "early_header_mutation_extensions: ["+early+"]", "append_x_forwarded_port: true",
				"scheme_header_transformation: {match_upstream: true}"),
			managed(8082, "original_ip_detection_extensions: ["+custom+"]"),
			managed(8083, "original_ip_detection_extensions: ["+xff+"]"),
			managed(8084, `proxy_status_config: {literal_proxy_name: edge, set_recommended_response_code: true}`,
				`local_reply_config: {body_format: {json_format: {error: "%LOCAL_REPLY_BODY%", code: "%RESPONSE_CODE%"}}, `+
					`mappers: [{filter: {response_flag_filter: {flags: [UH]}}, status_code: 500, body: {inline_string: nobody}, `+
					`headers_to_add: [{header: {key: x-mapped, value: "%RESPONSE_FLAGS%"}}]}]}`,
				"access_log_options: {flush_access_log_on_new_request: true}"),
		},
		Clusters: []string{harness.Cluster("backend", harness.To(backend.Addr)), harness.Cluster("nobody", nil)},
	}.YAML()})
	app := host.App()

	wantOK(t, app.Curl("-H", "x-sent: yes", "http://127.0.0.1:8081/"), "backend")
	if h := backend.Last(t).Header; h.Get("x-early") != "yes" || h.Get("x-sent") != "" || h.Get("x-forwarded-port") != "8081" {
		t.Errorf("upstream saw %v", h)
	}
	wantOK(t, app.Curl("-H", "x-client: 10.0.0.7", "http://127.0.0.1:8082/"), "backend")
	if h := backend.Last(t).Header; h.Get("x-envoy-internal") != "true" {
		t.Errorf("upstream saw %v", h)
	}
	r := app.Curl("-o", "/dev/null", "-w", "%{http_code}", "http://127.0.0.1:8082/")
	wantOK(t, r, "401")
	wantOK(t, app.Curl("-H", "x-forwarded-for: 9.9.9.9, 127.0.0.9", "http://127.0.0.1:8083/"), "backend")
	if got := backend.Last(t).Header.Get("x-forwarded-for"); got != "9.9.9.9, 127.0.0.9,127.0.0.1" {
		t.Errorf("x-forwarded-for %q", got)
	}
	weir.Admin.AwaitStat("http.ingress.downstream_rq_rejected_via_ip_detection", func(n int) bool { return n == 1 })
	wantContains(t, "local reply", app.Curl("-i", "http://127.0.0.1:8084/nobody").Out, "HTTP/1.1 503 Service Unavailable\r\n", "x-mapped: UH\r\n",
		`proxy-status: edge; error=destination_unavailable; details="no_healthy_upstream; UH"`, "content-type: application/json\r\n",
		"\r\n\r\n"+`{"code":500,"error":"nobody"}`)
	harness.EventuallyNil(t, "both log entries", func() error {
		if n := strings.Count(weir.Stdout(), `"GET /nobody HTTP/1.1"`); n != 2 {
			return fmt.Errorf("there are %d of them:\n%s", n, weir.Stdout())
		}
		return nil
	})
}

// TestClientCertificateIsForwarded checks x-forwarded-client-cert with real handshakes: who we are, and who the client is.
func TestClientCertificateIsForwarded(t *testing.T) {
	host := harness.NewHost(t)
	ca := harness.NewCA(t)
	own, client := ca.Issue("one.test", "spiffe://mesh/one"), ca.Issue("two.test", "spiffe://mesh/two")
	backend := host.HTTPBackend("backend", "127.0.0.1:0")
	fields := []string{
		"forward_client_cert_details: APPEND_FORWARD", "set_current_client_cert_details: {subject: true, uri: true, dns: true}",
		"route_config: " + harness.RouteConfig("r", harness.RouteTo("/", "backend")),
	}
	host.StartWeir(harness.WeirOptions{Config: harness.Bootstrap{
		Listeners: []string{harness.Listener{Name: "mutual", Address: "127.0.0.1:8443", Chains: []string{
			harness.Chain(harness.HTTPManager(fields...), harness.DownstreamTLS(harness.Certificates(own)+", "+ca.Trust(), "require_client_certificate: true")),
		}}.YAML()},
		Clusters: []string{harness.Cluster("backend", harness.To(backend.Addr))},
	}.YAML()})
	dir := t.TempDir()
	for name, text := range map[string]string{"cert.pem": client.Chain, "key.pem": client.Key} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	wantOK(t, host.App().Curl("-k", "--cert", filepath.Join(dir, "cert.pem"), "--key", filepath.Join(dir, "key.pem"),
		"-H", "x-forwarded-client-cert: By=before", "https://127.0.0.1:8443/"), "backend")
	got := backend.Last(t).Header.Get("x-forwarded-client-cert")
	want := regexp.MustCompile(`^By=before,By=spiffe://mesh/one;Hash=[0-9a-f]{64};Subject="[^"]*CN=two\.test[^"]*";URI=spiffe://mesh/two;DNS=two\.test$`)
	if !want.MatchString(got) {
		t.Errorf("upstream saw %q", got)
	}
}
