package e2e

import (
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weir-proxy/weir/test/harness"
)

// byTenant is scoped_routes whose key is the header x-tenant; more are further fields.
func byTenant(name string, more ...string) string {
	fields := append([]string{
		"name: " + name, "scope_key_builder: {fragments: [{header_value_extractor: {name: x-tenant, element_separator: '.', index: 0}}]}",
	}, more...)
	return "scoped_routes: {" + strings.Join(fields, ", ") + "}"
}

// scope is a scope for a tenant; more are further fields.
func scope(name, tenant string, more ...string) string {
	return "{" + strings.Join(append([]string{"name: " + name, "key: {fragments: [{string_key: " + tenant + "}]}"}, more...), ", ") + "}"
}

// answers is a route configuration that answers with a text.
func answers(name, text string) string {
	return harness.RouteConfig(name, `{match: {prefix: /}, direct_response: {status: 200, body: {inline_string: "`+text+`"}}}`)
}

// tenant asks as a tenant and returns the status and the body.
func tenant(t *testing.T, host *harness.Host, url, name string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if name != "" {
		req.Header.Set("x-tenant", name)
	}
	resp, err := host.Client().Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

// tenantGets waits until a tenant gets an answer; an empty text is a 404.
func tenantGets(t *testing.T, host *harness.Host, url, name, text string) {
	t.Helper()
	want := 200
	if text == "" {
		want = 404
	}
	harness.EventuallyNil(t, "the answer for "+name, func() error {
		if code, body := tenant(t, host, url, name); code != want || body != text {
			return fmt.Errorf("%d %q, want %d %q", code, body, want, text)
		}
		return nil
	})
}

func TestScopesInline(t *testing.T) {
	t.Parallel()
	host := harness.NewHost(t)
	list := "scoped_route_configurations_list: {scoped_route_configurations: [" + strings.Join([]string{
		scope("a", "alice", "route_configuration: "+answers("routes-a", "for alice")),
		scope("b", "bob", "route_configuration: "+answers("routes-b", "for bob")),
	}, ", ") + "]}"
	weir := host.StartWeir(harness.WeirOptions{Config: harness.Bootstrap{
		Listeners: []string{harness.Listener{Name: "web", Address: "127.0.0.1:8080", Chains: []string{harness.Chain(harness.HTTPFilters(nil, byTenant("tenants", list)))}}.YAML()},
	}.YAML()})
	tenantGets(t, host, plainURL, "alice.1", "for alice")
	tenantGets(t, host, plainURL, "bob", "for bob")
	tenantGets(t, host, plainURL, "carol", "")
	tenantGets(t, host, plainURL, "", "")
	wantLog(t, weir, "404 NR route_not_found /")
	wantContains(t, "config_dump", weir.Page("/config_dump"), `"inline_scoped_route_configs"`, `"name": "tenants"`, `"string_key": "alice"`, `"name": "routes-a"`)
}

func TestSRDS(t *testing.T) {
	t.Parallel()
	for _, kind := range bothKinds {
		own := fmt.Sprintf("api_config_source: {api_type: %s, transport_api_version: V3, grpc_services: [{envoy_grpc: {cluster_name: xds}}]}", kind)
		for name, source := range map[string]string{"aggregated": "ads: {}", "a stream of its own": own} {
			t.Run(kind+" "+name, func(t *testing.T) {
				t.Parallel()
				testSRDS(t, "{resource_api_version: V3, "+source+"}", kind)
			})
		}
	}
}

func testSRDS(t *testing.T, source, kind string) {
	host := harness.NewHost(t)
	control := host.ControlPlane(controlPlaneAddr)
	scoped := byTenant("tenants", "rds_config_source: "+source, "scoped_rds: {scoped_rds_config_source: "+source+"}")
	listener := harness.Resource(t, &listenerv3.Listener{}, harness.Listener{
		Name: "web", Address: "127.0.0.1:8080", Chains: []string{harness.Chain(harness.HTTPFilters(nil, scoped))},
	}.YAML())
	serve := func(texts ...string) {
		resources := []proto.Message{listener}
		for _, text := range texts {
			if strings.Contains(text, "key: {") {
				resources = append(resources, harness.Resource(t, &routev3.ScopedRouteConfiguration{}, text))
			} else {
				resources = append(resources, harness.Resource(t, &routev3.RouteConfiguration{}, text))
			}
		}
		control.Set(resources...)
	}
	a, b := scope("a", "alice", "route_configuration_name: routes-a"), scope("b", "bob", "route_configuration_name: routes-b")
	serve(a, answers("routes-a", "one"))
	weir := host.StartWeir(harness.WeirOptions{Config: harness.Bootstrap{
		Clusters: []string{harness.Cluster("xds", harness.To(netip.MustParseAddrPort(controlPlaneAddr)), harness.HTTP2())},
		More:     harness.ADS(kind),
	}.YAML()})
	if code, body := tenant(t, host, plainURL, "alice"); code != 200 || body != "one" {
		t.Errorf("the listener opened before its scopes had routes: %d %q", code, body)
	}
	tenantGets(t, host, plainURL, "bob", "")

	t.Log("a scope comes, and routes change")
	serve(a, b, answers("routes-a", "two"), answers("routes-b", "bob's"))
	tenantGets(t, host, plainURL, "alice", "two")
	tenantGets(t, host, plainURL, "bob", "bob's")
	const stats = "http.ingress.scoped_rds.tenants."
	weir.AwaitStat(stats+"all_scopes", func(n int) bool { return n == 2 })
	if n := weir.Stat(stats + "active_scopes"); n != 2 {
		t.Errorf("%d active scopes", n)
	}
	if n := weir.Stat(stats + "config_reload"); n != 2 {
		t.Errorf("config_reload is %d", n)
	}
	if n := weir.Stat("http.ingress.rds.routes-a.update_success"); n < 2 {
		t.Errorf("%d updates of routes-a", n)
	}
	wantContains(t, "config_dump", weir.Page("/config_dump"), `"dynamic_scoped_route_configs"`, `"name": "tenants"`, `"string_key": "bob"`)

	t.Log("two scopes with one key")
	serve(a, b, scope("c", "bob", "route_configuration_name: routes-b"), answers("routes-a", "two"), answers("routes-b", "bob's"))
	if got := control.AwaitRejection("ScopedRouteConfiguration"); !strings.Contains(got, "scope key conflict found, first scope is 'b', second scope is 'c'") {
		t.Errorf("rejected for %q", got)
	}
	tenantGets(t, host, plainURL, "bob", "bob's")

	t.Log("scopes exchange their keys")
	serve(scope("a", "bob", "route_configuration_name: routes-a"), scope("b", "alice", "route_configuration_name: routes-b"),
		answers("routes-a", "two"), answers("routes-b", "bob's"))
	tenantGets(t, host, plainURL, "alice", "bob's")
	tenantGets(t, host, plainURL, "bob", "two")

	t.Log("a scope goes")
	serve(scope("a", "bob", "route_configuration_name: routes-a"), answers("routes-a", "two"))
	tenantGets(t, host, plainURL, "alice", "")
	tenantGets(t, host, plainURL, "bob", "two")
	weir.AwaitStat(stats+"all_scopes", func(n int) bool { return n == 1 })
	if n := weir.Stat("listener_manager.listener_modified"); n != 0 {
		t.Errorf("%d listeners were modified", n)
	}
}
