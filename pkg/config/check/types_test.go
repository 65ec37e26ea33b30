package check_test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/weir-proxy/weir/pkg/agent/options"
	"github.com/weir-proxy/weir/pkg/config/check"
	"github.com/weir-proxy/weir/test/golden"
)

const (
	hcmType   = `"@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager, stat_prefix: s`
	routerOf  = `{name: router, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}`
	tcpFilter = `{name: t, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: s, cluster: c}}`
	webFormat = `static_resources: {listeners: [{name: l, address: {socket_address: {address: 127.0.0.1, port_value: 1}}, filter_chains: [{filters: [{name: h, typed_config: {` + hcmType + `, %s}}]}]}]}`
	inRoutes  = `route_config: {name: r, virtual_hosts: [{name: v, domains: ["*"], routes: [%s]}]}, http_filters: [` + routerOf + `]`
	inCluster = `static_resources: {clusters: [{name: c, %s}]}`
	matchTree = `route_config: {name: r, virtual_hosts: [{name: v, domains: ["*"], matcher: {matcher_list: {matchers: [{predicate: {single_predicate: {%s}}, on_match: {action: {name: a, typed_config: {"@type": type.googleapis.com/envoy.config.route.v3.Route, match: {prefix: /}, direct_response: {status: 200}}}}}]}}}]}, http_filters: [` + routerOf + `]`
	hostInput = `input: {name: i, typed_config: {"@type": type.googleapis.com/envoy.type.matcher.v3.HttpRequestHeaderMatchInput, header_name: a}}`
)

// slots are the places where control planes put the types of the list: a bootstrap with %s for the Any, and the field that
// holds it.
func slots() map[string][2]string {
	web := func(format string) string { return fmt.Sprintf(webFormat, format) }
	route := func(format string) string { return web(fmt.Sprintf(inRoutes, "{match: {prefix: /}, "+format+"}")) }
	cluster := func(format string) string { return fmt.Sprintf(inCluster, format) }
	named := "{name: x, typed_config: %s}"
	chain := func(filters, more string) string {
		return `static_resources: {listeners: [{name: l, address: {socket_address: {address: 127.0.0.1, port_value: 1}}, filter_chains: [{filters: [` + filters + `]` + more + `}]}]}`
	}
	return map[string][2]string{
		"http_filter":           {web(`http_filters: [` + named + `, ` + routerOf + `], route_config: {}`), "http_filters"},
		"per_route":             {route(`direct_response: {status: 200}, typed_per_filter_config: {x: %s}`), "typed_per_filter_config"},
		"network_filter":        {chain(named+", "+tcpFilter, ""), "filters"},
		"listener_filter":       {`static_resources: {listeners: [{name: l, address: {socket_address: {address: 127.0.0.1, port_value: 1}}, listener_filters: [` + named + `], filter_chains: [{}]}]}`, "listener_filters"},
		"access_log":            {web(`access_log: [` + named + `], http_filters: [` + routerOf + `], route_config: {}`), "access_log"},
		"access_log_filter":     {web(`access_log: [{name: f, filter: {extension_filter: ` + named + `}, typed_config: {"@type": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog, path: /dev/null}}], http_filters: [` + routerOf + `], route_config: {}`), "access_log"},
		"tracer":                {web(`tracing: {provider: ` + named + `}, http_filters: [` + routerOf + `], route_config: {}`), "tracing"},
		"request_id":            {web(`request_id_extension: {typed_config: %s}, http_filters: [` + routerOf + `], route_config: {}`), "request_id_extension"},
		"early_header_mutation": {web(`early_header_mutation_extensions: [` + named + `], http_filters: [` + routerOf + `], route_config: {}`), "early_header_mutation_extensions"},
		"original_ip_detection": {web(`original_ip_detection_extensions: [` + named + `], http_filters: [` + routerOf + `], route_config: {}`), "original_ip_detection_extensions"},
		"header_formatter":      {web(`http_protocol_options: {header_key_format: {stateful_formatter: ` + named + `}}, http_filters: [` + routerOf + `], route_config: {}`), "http_protocol_options"},
		"retry_host":            {route(`route: {cluster: c, retry_policy: {retry_host_predicate: [` + named + `]}}`), "retry_policy"},
		"retry_priority":        {route(`route: {cluster: c, retry_policy: {retry_priority: ` + named + `}}`), "retry_policy"},
		"match_input":           {web(fmt.Sprintf(matchTree, `input: `+named+`, value_match: {exact: a}`)), "matcher"},
		"input_matcher":         {web(fmt.Sprintf(matchTree, hostInput+`, custom_match: `+named)), "matcher"},
		"route_action":          {web(strings.Replace(fmt.Sprintf(matchTree, hostInput+`, value_match: {exact: a}`), `{"@type": type.googleapis.com/envoy.config.route.v3.Route, match: {prefix: /}, direct_response: {status: 200}}`, "%s", 1)), "matcher"},
		"downstream_socket":     {chain(tcpFilter, `, transport_socket: `+named), "transport_socket"},
		"upstream_socket":       {cluster(`transport_socket: ` + named), "transport_socket"},
		"cert_validator":        {cluster(`transport_socket: {name: tls, typed_config: {"@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext, common_tls_context: {validation_context: {custom_validator_config: ` + named + `}}}}`), "transport_socket"},
		"cluster_type":          {cluster(`cluster_type: ` + named), "cluster_type"},
		"balancer":              {cluster(`load_balancing_policy: {policies: [{typed_extension_config: ` + named + `}]}`), "load_balancing_policy"},
		"dns_resolver":          {cluster(`type: STRICT_DNS, typed_dns_resolver_config: ` + named), "typed_dns_resolver_config"},
		"protocol_options":      {cluster(`typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: %s}`), "typed_extension_protocol_options"},
		"bootstrap_extension":   {`bootstrap_extensions: [` + named + `]`, "bootstrap_extensions"},
		"stats_sink":            {`stats_sinks: [` + named + `]`, "stats_sinks"},
		"resource_monitor":      {`overload_manager: {resource_monitors: [` + named + `]}`, "overload_manager"},
		"regex_engine":          {`default_regex_engine: ` + named, "default_regex_engine"},
	}
}

// TestControlPlaneTypes puts every type that control planes send where they put it. Each is supported, or harmless, or
// reported by name: none is passed over in silence, and none of Envoy's is called unknown.
func TestControlPlaneTypes(t *testing.T) {
	list, err := os.ReadFile("../translate/testdata/control-plane-types.txt")
	if err != nil {
		t.Fatal(err)
	}
	places := slots()
	outcomes, inside := map[string]string{}, map[string]string{}
	for line := range strings.Lines(string(list)) {
		name, slot, _ := strings.Cut(strings.TrimSpace(line), " ")
		parent, is := strings.CutPrefix(slot, "inside ")
		place, known := places[slot]
		switch {
		case known:
			outcomes[name] = outcome(t, name, place)
		case slot == "resource":
			outcomes[name] = resourceOutcome(t, name)
		case is:
			inside[name] = parent
		case slot == "form":
			outcomes[name] = "supported"
		default:
			t.Errorf("%s: no place is called %s", name, slot)
		}
	}
	for name, parent := range inside {
		if outcomes[parent] == "" || outcomes[parent] == "supported" {
			t.Errorf("%s: %s, which holds it, is %q", name, parent, outcomes[parent])
		}
		outcomes[name] = fmt.Sprintf("inside %s, which is %s", parent, outcomes[parent])
	}
	var out strings.Builder
	for _, name := range slices.Sorted(maps.Keys(outcomes)) {
		if strings.Contains(outcomes[name], "SILENT") || strings.Contains(outcomes[name], "unknown") {
			t.Errorf("%s: %s", name, outcomes[name])
		}
		fmt.Fprintf(&out, "%s: %s\n", name, outcomes[name])
	}
	golden.Check(t, "testdata/control-plane-types.golden", out.String())
}

// outcome tells what becomes of a type in a place.
func outcome(t *testing.T, name string, place [2]string) string {
	t.Helper()
	checker := newChecker(t, options.Options{
		ConfigYAML: fmt.Sprintf(place[0], `{"@type": type.googleapis.com/`+name+`}`) + "\nnode: {id: a, cluster: b}\n",
	})
	b := checker.Bootstrap()
	for _, f := range b.Findings {
		about := strings.Contains(f.Message, name) && !strings.Contains(f.Message, "unknown field")
		switch {
		case f.Code == "syntax" || f.Code == "unknown-type":
			return "unknown: " + f.String()
		case about && strings.Contains(f.Message, "left out") && f.Severity == check.Warning:
			return "left out with a warning"
		case about && f.Severity == check.Warning:
			return "reported as a warning"
		case about && f.Severity == check.Error && f.Code == "unsupported":
			return "refused by name"
		}
	}
	for _, f := range checker.Translator.Extensions().List() {
		for _, m := range []protoreflect.ProtoMessage{f.Config, f.PerRoute} {
			if m != nil && string(m.ProtoReflect().Descriptor().FullName()) == name {
				return "supported"
			}
		}
	}
	for _, f := range b.Findings {
		if f.Code == "unsupported" && strings.Contains(f.Field, place[1]) {
			return "reported at " + place[1] + ", which is not supported"
		}
	}
	if field := checker.Translator.Table()["envoy.config.bootstrap.v3.Bootstrap"][place[1]]; field.Harmless != "" {
		return "harmless: " + field.Harmless
	}
	if fields := checker.Translator.Table()[protoreflect.FullName(name)]; fields != nil {
		return "supported"
	}
	return fmt.Sprintf("SILENT: %v", b.Findings)
}

// resourceOutcome tells what becomes of a resource of a type in a file.
func resourceOutcome(t *testing.T, name string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "r.yaml")
	if err := os.WriteFile(file, []byte(`{"@type": type.googleapis.com/`+name+`}`), 0o600); err != nil {
		t.Fatal(err)
	}
	checker := newChecker(t, options.Options{})
	for _, f := range checker.Files([]string{file}, nil) {
		switch {
		case f.Code == "unknown-type":
			return "unknown: " + f.String()
		case f.Code == "unsupported" && strings.Contains(f.Message, name):
			return "reported as a warning"
		}
	}
	if checker.Translator.Table()[protoreflect.FullName(name)] != nil {
		return "supported"
	}
	return "SILENT"
}
