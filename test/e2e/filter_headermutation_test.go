package e2e

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/weir-proxy/weir/test/harness"
)

func TestFilterHeaderMutation(t *testing.T) {
	t.Parallel()
	host := harness.NewHost(t)
	backend := host.HTTPBackend("backend", "127.0.0.1:0", harness.WithHTTP2(), harness.WithHandler("/trailers", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("trailer", "x-secret, x-public")
		fmt.Fprint(w, "body")
		w.Header().Set("x-secret", "1")
		w.Header().Set("x-public", r.Trailer.Get("x-sent"))
	}))
	set := func(name, value string) string {
		return fmt.Sprintf(`{append: {header: {key: %s, value: %q}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}}`, name, value)
	}
	perRoute := func(who string) string {
		return perFilter("hm", harness.HTTPFilterConfig("header_mutation.v3.HeaderMutationPerRoute", `mutations: {request_mutations: [`+set("who", who)+`]}`))
	}
	filter := harness.HTTPFilter("hm", harness.HTTPFilterConfig("header_mutation.v3.HeaderMutation", "most_specific_header_mutations_wins: true", `mutations: {`+
		`request_mutations: [{remove: x-secret}, {remove_on_match: {key_matcher: {prefix: x-internal-}}}, `+set("x-method", "%REQ(:METHOD)%/%PROTOCOL%")+`], `+
		`query_parameter_mutations: [{append: {record: {key: user, value: "%REQ(x-user)%"}, action: OVERWRITE_IF_EXISTS_OR_ADD}}, {remove: debug}], `+
		`response_mutations: [`+set("x-code", "%RESPONSE_CODE%")+`, {remove: x-backend}], `+
		`request_trailers_mutations: [`+set("x-sent", "yes")+`], response_trailers_mutations: [{remove: x-secret}]}`))
	upstream := harness.UpstreamHTTP(`explicit_http_config: {http2_protocol_options: {}}, http_filters: [` +
		harness.HTTPFilter("up", harness.HTTPFilterConfig("header_mutation.v3.HeaderMutation", `mutations: {request_mutations: [`+set("x-host", "%UPSTREAM_CLUSTER%")+`], response_mutations: [`+set("x-up", "1")+`]}`)) +
		`, ` + harness.HTTPFilter("codec", harness.HTTPFilterConfig("upstream_codec.v3.UpstreamCodec")) + `]`)
	host.StartWeir(harness.WeirOptions{Config: harness.Bootstrap{
		Listeners: []string{harness.Listener{Name: "main", Address: "127.0.0.1:8080", Chains: []string{harness.Chain(harness.HTTPFilters([]string{filter},
			`route_config: {name: r, `+perRoute("table")+`, virtual_hosts: [{name: v, domains: ["*"], `+perRoute("host")+`, routes: [`+
				`{match: {prefix: /route}, route: {cluster: backend}, `+perRoute("route")+`}, `+
				`{match: {prefix: /off}, route: {cluster: backend}, `+perFilter("hm", `{"@type": type.googleapis.com/envoy.config.route.v3.FilterConfig, disabled: true}`)+`}, `+
				harness.RouteTo("/", "backend")+`]}]}`))}}.YAML()},
		Clusters: []string{harness.Cluster("backend", harness.To(backend.Addr), upstream)},
	}.YAML()})
	app := host.App()

	got := app.Curl("-i", "-H", "x-secret: 1", "-H", "x-internal-a: 1", "-H", "x-user: a&b", "http://127.0.0.1:8080/route?debug=1&user=me&q=%20")
	r := backend.Last(t)
	if r.Header.Get("x-secret") != "" || r.Header.Get("x-internal-a") != "" || r.Header.Get("x-method") != "GET/HTTP/1.1" || r.Header.Get("who") != "route" || r.Header.Get("x-host") != "backend" {
		t.Errorf("request headers %v", r.Header)
	}
	if r.RequestURI != "/route?user=a%26b&q=%20" {
		t.Errorf("path %s", r.RequestURI)
	}
	if out := strings.ToLower(got.Out); !strings.Contains(out, "x-code: 200\r\n") || strings.Contains(out, "x-backend") || !strings.Contains(out, "x-up: 1\r\n") {
		t.Errorf("response:\n%s", got.Out)
	}
	app.Curl("http://127.0.0.1:8080/")
	if r := backend.Last(t); r.Header.Get("who") != "host" {
		t.Errorf("the virtual host's header is %q", r.Header.Get("who"))
	}
	app.Curl("-H", "x-secret: 1", "http://127.0.0.1:8080/off")
	if r := backend.Last(t); r.Header.Get("x-secret") != "1" || r.Header.Get("who") != "" {
		t.Errorf("where it is off: %v", r.Header)
	}

	t.Log("trailers")
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://127.0.0.1:8080/trailers", io.NopCloser(strings.NewReader("body")))
	if err != nil {
		t.Fatal(err)
	}
	req.Trailer = http.Header{"X-Sent": {"no"}}
	resp, err := host.HTTP2Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		t.Fatal(err)
	}
	if resp.Trailer.Get("x-public") != "yes" || resp.Trailer.Get("x-secret") != "" {
		t.Errorf("trailers %v", resp.Trailer)
	}
}
