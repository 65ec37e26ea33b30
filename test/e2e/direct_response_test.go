package e2e

import (
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/weir-proxy/weir/test/harness"
)

// A direct response can be made of the request; its content type follows from the format, unless the route says otherwise.
func TestDirectResponseFormat(t *testing.T) {
	t.Parallel()
	host := harness.NewHost(t)
	route := func(path, direct string, more ...string) string {
		return fmt.Sprintf("{match: {prefix: %s}, direct_response: {status: 418, %s}%s}", path, direct, strings.Join(more, ""))
	}
	weir := host.StartWeir(harness.WeirOptions{Config: harness.Bootstrap{
		Listeners: []string{harness.Listener{Name: "web", Address: "127.0.0.1:8080", Chains: []string{harness.Chain(harness.HTTP(
			route("/text", `body: {inline_string: tea}, body_format: {text_format_source: {inline_string: "%REQ(:METHOD)% %REQ(:PATH)%: %RESPONSE_CODE% %LOCAL_REPLY_BODY%"}}`),
			route("/json", `body_format: {json_format: {path: "%REQ(:PATH)%", code: "%RESPONSE_CODE%", body: "%LOCAL_REPLY_BODY%"}}`),
			route("/html", `body: {inline_string: tea}, body_format: {text_format: "<p>%LOCAL_REPLY_BODY%</p>", content_type: "text/html; charset=UTF-8"}`),
			route("/own", `body_format: {json_format: {a: "b"}}`, `, response_headers_to_add: [{header: {key: content-type, value: application/own+json}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}]`),
			route("/plain", `body: {inline_string: "%REQ(:PATH)%"}`),
		))}}.YAML()},
	}.YAML()})
	for path, want := range map[string]string{
		"/text/x": "text/plain|GET /text/x: 418 tea",
		"/json":   `application/json|{"body":"","code":418,"path":"/json"}` + "\n",
		"/html":   "text/html; charset=UTF-8|<p>tea</p>",
		"/own":    `application/own+json|{"a":"b"}` + "\n",
		"/plain":  "text/plain|%REQ(:PATH)%",
	} {
		resp, err := host.Client().Get("http://127.0.0.1:8080" + path)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if got := resp.Header.Get("content-type") + "|" + string(body); err != nil || resp.StatusCode != 418 || got != want {
			t.Errorf("%s: %d %q, %v; want %q", path, resp.StatusCode, got, err, want)
		}
	}
	wantContains(t, "explain", weir.Page("/weir/explain?dst=127.0.0.1:8080&path=/html"), "direct_response 418 with a body that is formatted")
}

// A log can be limited to what a filter has marked: here by the hint of an rbac filter.
func TestAccessLogByMetadata(t *testing.T) {
	t.Parallel()
	host := harness.NewHost(t)
	backend := host.TCPBackend("127.0.0.1:0", harness.Greets("hello"))
	log := func(name, filter string) string {
		return `{name: ` + name + `, filter: {metadata_filter: ` + filter + `}, typed_config: {"@type": type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog,
			log_format: {text_format_source: {inline_string: "` + name + ` %DOWNSTREAM_LOCAL_PORT%\n"}}}}`
	}
	const matcher = "matcher: {filter: envoy.common, path: [{key: access_log_hint}], value: {bool_match: true}}"
	tcp := `{name: tcp, typed_config: {"@type": ` + tcpType + `, stat_prefix: tcp, cluster: backend, access_log: [` +
		log("hinted", "{"+matcher+", match_if_key_not_found: false}") + ", " + log("default", "{"+matcher+"}") + `]}}`
	hint := networkRBAC("guard.", "rules: {action: LOG, policies: {one: "+policyOf("{destination_port: 8080}")+"}}")
	weir := host.StartWeir(harness.WeirOptions{Config: harness.Bootstrap{
		Listeners: []string{
			harness.Listener{
				Name: "hints", Address: "127.0.0.1:8080", More: "additional_addresses: [{address: " + harness.Address("127.0.0.1:8081") + "}]",
				Chains: []string{harness.Chain(hint + ", " + tcp)},
			}.YAML(),
			harness.Listener{Name: "none", Address: "127.0.0.1:8082", Chains: []string{harness.Chain(tcp)}}.YAML(),
		},
		Clusters: []string{harness.Cluster("backend", harness.To(backend.Addr))},
	}.YAML()})
	for _, addr := range []string{"127.0.0.1:8081", "127.0.0.1:8080", "127.0.0.1:8082"} {
		if got, err := greets(t, host, addr); err != nil || got != "hello" {
			t.Errorf("%s: %q, %v", addr, got, err)
		}
	}
	weir.AwaitStat("tcp.tcp.downstream_cx_total", func(n int) bool { return n == 3 })
	harness.EventuallyNil(t, "the access log", func() error {
		for _, want := range []string{"hinted 8080\n", "default 8080\n", "default 8082\n"} {
			if !strings.Contains(weir.Stdout(), want) {
				return fmt.Errorf("no %q in %q", want, weir.Stdout())
			}
		}
		return nil
	})
	if got := weir.Stdout(); strings.Contains(got, "8081") || strings.Contains(got, "hinted 8082") {
		t.Errorf("logged without hint: %q", got)
	}
}
