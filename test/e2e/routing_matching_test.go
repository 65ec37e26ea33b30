package e2e

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weir-proxy/weir/test/harness"
)

// Parts of configurations that name messages.
const (
	templateMatch   = `path_match_policy: {name: t, typed_config: {"@type": type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig, path_template: %q}}`
	templateRewrite = `path_rewrite_policy: {name: t, typed_config: {"@type": type.googleapis.com/envoy.extensions.path.rewrite.uri_template.v3.UriTemplateRewriteConfig, path_template_rewrite: %q}}`
	headerInput     = `input: {name: h, typed_config: {"@type": type.googleapis.com/envoy.type.matcher.v3.HttpRequestHeaderMatchInput, header_name: %q}}`
	routeAction     = `action: {name: r, typed_config: {"@type": type.googleapis.com/envoy.config.route.v3.Route, %s}}`
)

// startRouting runs a weir with a route configuration of these fields on 127.0.0.1:8080, and a backend.
func startRouting(t *testing.T, fields string, chain ...string) (harness.App, *harness.Weir, *harness.HTTPBackend) {
	t.Helper()
	host := harness.NewHost(t)
	backend := host.HTTPBackend("backend", "127.0.0.1:0")
	weir := host.StartWeir(harness.WeirOptions{Config: harness.Bootstrap{
		Listeners: []string{harness.Listener{Name: "main", Address: "127.0.0.1:8080", Chains: []string{
			harness.Chain(harness.HTTPManager("route_config: {name: all, "+fields+"}"), chain...),
		}}.YAML()},
		Clusters: []string{harness.Cluster("backend", harness.To(backend.Addr)), harness.Cluster("other", harness.To(backend.Addr))},
	}.YAML()})
	return host.App(), weir, backend
}

// vhost is a virtual host of these fields, in flow style.
func vhost(name, domains, fields string) string {
	return fmt.Sprintf("{name: %s, domains: [%s], %s}", name, domains, fields)
}

// direct is a route that answers with a name of its own.
func direct(match, name string) string {
	return fmt.Sprintf("{match: {%s}, direct_response: {status: 200, body: {inline_string: %q}}}", match, name)
}

func TestRoutingCriteria(t *testing.T) {
	t.Parallel()
	routes := strings.Join([]string{
		direct(fmt.Sprintf(templateMatch, "/v{version}/**.json"), "template"),
		direct(`prefix: /cookie, cookies: [{name: session, string_match: {exact: beta}}]`, "cookie"),
		direct(`prefix: /cookie, cookies: [{name: session, string_match: {safe_regex: {regex: ".*"}}, invert_match: true}]`, "no cookie"),
		direct(`path: /Fold, case_sensitive: false`, "fold"),
		direct(`path: /parameters`, "parameters"),
		direct(`path_separated_prefix: /sep`, "separated"),
		direct(`prefix: /header, headers: [{name: x, string_match: {exact: a}, invert_match: true}]`, "inverted"),
		direct(`prefix: /header, headers: [{name: x, string_match: {exact: ""}, treat_missing_header_as_empty: true}]`, "missing"),
		direct(`prefix: /header, headers: [{name: x, string_match: {exact: "a"}}]`, "exact"),
		direct(`prefix: /certificate, tls_context: {presented: false}`, "no certificate"),
		direct(`prefix: /certificate`, "certificate"),
		`{match: {prefix: /, grpc: {}}, route: {cluster: backend}}`,
		direct(`safe_regex: {regex: "/[a-z]+"}`, "regex"),
	}, ", ")
	app, _, _ := startRouting(t, "ignore_port_in_host_matching: true, ignore_path_parameters_in_path_matching: true, virtual_hosts: ["+
		vhost("all", `"*"`, "routes: ["+routes+"]")+", "+vhost("exact", "www.test", "routes: ["+direct("prefix: /", "exact host")+"]")+", "+
		vhost("suffix", `"*.test"`, "routes: ["+direct("prefix: /", "suffix host")+"]")+"]")
	for _, tc := range []struct {
		path, want string
		args       []string
	}{
		{path: "/v2/a/b.json?q", want: "template"},
		{path: "/v2/a/b.xml", want: ""},
		{path: "/cookie", want: "cookie", args: []string{"-H", "cookie: a=b; session=beta"}},
		{path: "/cookie", want: "no cookie"},
		{path: "/cookie", want: "regex", args: []string{"-H", "cookie: session=live"}},
		{path: "/fOLD?x", want: "fold"},
		{path: "/parameters;v=1", want: "parameters"},
		{path: "/sep/a", want: "separated"},
		{path: "/separate", want: "regex"},
		{path: "/header", want: "missing"},
		{path: "/header", want: "inverted", args: []string{"-H", "x: b"}},
		{path: "/header", want: "exact", args: []string{"-H", "x: a"}},
		{path: "/certificate", want: "no certificate"},
		{path: "/1/2", want: "backend", args: []string{"-H", "content-type: application/grpc+proto"}},
		{path: "/1/2", want: ""},
		{path: "/", want: "exact host", args: []string{"-H", "host: WWW.test:99"}},
		{path: "/", want: "suffix host", args: []string{"-H", "host: a.b.test"}},
	} {
		if got := app.Curl(append(tc.args, "http://127.0.0.1:8080"+tc.path)...); strings.TrimSpace(got.Out) != tc.want {
			t.Errorf("%s %v: %q, want %q", tc.path, tc.args, got.Out, tc.want)
		}
	}
}

func TestRoutingByClientCertificate(t *testing.T) {
	t.Parallel()
	ca := harness.NewCA(t)
	server, client := ca.Issue("www.test"), ca.Issue("client.test")
	routes := direct("prefix: /, tls_context: {presented: true, validated: true}", "validated") + ", " + direct("prefix: /", "anonymous")
	app, _, _ := startRouting(t, "virtual_hosts: ["+vhost("all", `"*"`, "routes: ["+routes+"]")+"]",
		harness.DownstreamTLS(harness.Certificates(server)+", "+ca.Trust()))
	dir := harness.Dir(t)
	for name, content := range map[string]string{"ca.pem": ca.PEM, "cert.pem": client.Chain, "key.pem": client.Key} {
		harness.WriteFile(t, filepath.Join(dir, name), content)
	}
	args := []string{"--cacert", filepath.Join(dir, "ca.pem"), "--resolve", "www.test:8080:127.0.0.1", "https://www.test:8080/"}
	if got := app.Curl(args...); got.Out != "anonymous" {
		t.Errorf("without a certificate: %q", got.Out)
	}
	if got := app.Curl(append([]string{"--cert", filepath.Join(dir, "cert.pem"), "--key", filepath.Join(dir, "key.pem")}, args...)...); got.Out != "validated" {
		t.Errorf("with a certificate: %q", got.Out)
	}
}

func TestRoutingByMatcherTree(t *testing.T) {
	t.Parallel()
	tree := fmt.Sprintf(`matcher: {matcher_tree: {`+headerInput+`, prefix_match_map: {map: {`+
		`/list: {matcher: {matcher_list: {matchers: [{predicate: {single_predicate: {`+headerInput+`, value_match: {exact: ann}}}, on_match: {`+routeAction+`}}]}}}, `+
		`/: {action: {name: r, typed_config: {"@type": type.googleapis.com/envoy.config.route.v3.RouteList, routes: [%s, %s]}}}}}}}`,
		":path", "x-user", `match: {prefix: /list}, direct_response: {status: 200, body: {inline_string: "for ann"}}`,
		direct("path: /one", "one"), `{match: {prefix: /two}, route: {cluster: backend}}`)
	app, _, _ := startRouting(t, "virtual_hosts: ["+vhost("all", `"*"`, tree)+"]")
	for _, tc := range []struct {
		path, want string
		args       []string
	}{
		{path: "/list/a", want: "for ann", args: []string{"-H", "x-user: ann"}},
		{path: "/list/a", want: "", args: []string{"-H", "x-user: bob"}},
		{path: "/one", want: "one"},
		{path: "/two/x", want: "backend"},
		{path: "/three", want: ""},
	} {
		if got := app.Curl(append(tc.args, "http://127.0.0.1:8080"+tc.path)...); strings.TrimSpace(got.Out) != tc.want {
			t.Errorf("%s %v: %q, want %q", tc.path, tc.args, got.Out, tc.want)
		}
	}
}

func TestRoutingRewritesAndStatistics(t *testing.T) {
	t.Parallel()
	routes := strings.Join([]string{
		fmt.Sprintf(`{match: {`+templateMatch+`}, route: {cluster: backend, `+templateRewrite+`}}`, "/country/{country}/{rest=**}", "/{rest}/in/{country}"),
		`{match: {prefix: /split}, stat_prefix: split, route: {weighted_clusters: {clusters: [{cluster_header: x-cluster, weight: 1}]}}}`,
		`{match: {prefix: /plugin}, route: {cluster_specifier_plugin: unknown}}`,
		`{match: {path: /order}, route: {cluster: backend}, request_headers_to_remove: [x-gone], request_headers_to_add: [` +
			`{header: {key: x-seen, value: "%REQ(x-gone)%;%REQ(x-kept)%"}}, {header: {key: x-kept, value: new}, append_action: OVERWRITE_IF_EXISTS}, ` +
			`{header: {key: x-level, value: route}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}]}`,
	}, ", ")
	app, weir, backend := startRouting(t, `cluster_specifier_plugins: [{is_optional: true, extension: {name: unknown, typed_config: `+
		`{"@type": type.googleapis.com/envoy.extensions.router.cluster_specifiers.lua.v3.LuaConfig, source_code: {inline_string: x}}}}], virtual_hosts: [`+
		vhost("all", `"*"`, `virtual_clusters: [{name: writes, headers: [{name: ":method", string_match: {exact: POST}}]}], `+
			`request_headers_to_add: [{header: {key: x-level, value: vhost}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}], routes: [`+routes+"]")+"]")
	get := func(want string, args ...string) {
		t.Helper()
		if got := app.Curl(append([]string{"-o", "/dev/null", "-w", "%{http_code}"}, args...)...); got.Out != want {
			t.Errorf("%v: status %q, want %s", args, got.Out, want)
		}
	}
	get("200", "http://127.0.0.1:8080/country/at/shop/list?q=1")
	if got := backend.Last(t); got.RequestURI != "/shop/list/in/at?q=1" {
		t.Errorf("the backend saw %s", got.RequestURI)
	}
	get("200", "-H", "x-cluster: other", "http://127.0.0.1:8080/split")
	get("503", "http://127.0.0.1:8080/split")
	get("503", "http://127.0.0.1:8080/plugin")
	get("200", "-X", "POST", "-H", "x-gone: 1", "-H", "x-kept: old", "http://127.0.0.1:8080/order")
	last := backend.Last(t)
	for name, want := range map[string]string{"X-Seen": ";old", "X-Kept": "new", "X-Level": "vhost", "X-Gone": ""} {
		if got := last.Header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	for name, want := range map[string]int{
		"vhost.all.route.split.upstream_rq_total": 1, "vhost.all.route.split.upstream_rq_200": 1,
		"vhost.all.vcluster.writes.upstream_rq_total": 1, "vhost.all.vcluster.writes.upstream_rq_2xx": 1,
		"vhost.all.vcluster.other.upstream_rq_total": 2,
	} {
		weir.AwaitStat(name, func(n int) bool { return n == want })
	}
}
