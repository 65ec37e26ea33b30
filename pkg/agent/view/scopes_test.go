package view

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weir-proxy/weir/pkg/config/protoyaml"
	"github.com/weir-proxy/weir/pkg/config/xds"
)

// decode reads YAML into a message.
func decode[M proto.Message](t *testing.T, text string, into M) M {
	t.Helper()
	if _, err := protoyaml.Decode([]byte(text), "test", into, protoyaml.Options{}); err != nil {
		t.Fatal(err)
	}
	return into
}

func TestScopedRoutes(t *testing.T) {
	w := newWorld(t)
	const listener = `{name: %s, address: {socket_address: {address: 127.0.0.3, port_value: %p}}, filter_chains: [{filters: [{name: http, typed_config: {
		"@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager, stat_prefix: x,
		scoped_routes: {name: NAME, scope_key_builder: {fragments: [{header_value_extractor: {name: x, index: 0}}]}, rds_config_source: {ads: {}, resource_api_version: V3}, SCOPES},
		http_filters: [{name: envoy.filters.http.router, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}]}}]}]}`
	text := func(name, port, scopes string) string {
		return strings.NewReplacer("%s", name, "%p", port, "NAME", "of-"+name, "SCOPES", scopes).Replace(listener)
	}
	const scope = `{name: s, route_configuration_name: routes-one, key: {fragments: [{string_key: k}]}}`
	update := func(u xds.Update) {
		t.Helper()
		if err := w.store.Update(t.Context(), u); err != nil {
			t.Fatal(err)
		}
	}
	update(xds.Update{Type: xds.ListenerType, Version: "l2", Resources: resources(t,
		decode(t, text("inline", "1", `scoped_route_configurations_list: {scoped_route_configurations: [`+scope+`]}`), &listenerv3.Listener{}),
		decode(t, text("dynamic", "2", `scoped_rds: {scoped_rds_config_source: {ads: {}, resource_api_version: V3}}`), &listenerv3.Listener{}),
	)})
	var dump struct {
		Configs []struct {
			Name   string                  `json:"name"`
			Status string                  `json:"client_status"`
			Scopes []struct{ Name string } `json:"scoped_route_configs"`
		} `json:"configs"`
	}
	s := w.server(t)
	get := func(resource string) {
		t.Helper()
		r := httptest.NewRecorder()
		s.ServeHTTP(r, httptest.NewRequest(http.MethodGet, "/config_dump?resource="+resource, nil))
		dump.Configs = nil
		if err := json.Unmarshal(r.Body.Bytes(), &dump); err != nil {
			t.Fatalf("%v: %s", err, r.Body)
		}
	}
	if get("inline_scoped_route_configs"); len(dump.Configs) != 1 || dump.Configs[0].Name != "of-inline" || dump.Configs[0].Scopes[0].Name != "s" {
		t.Errorf("inline: %+v", dump)
	}
	if get("dynamic_scoped_route_configs"); len(dump.Configs) != 1 || dump.Configs[0].Name != "of-dynamic" || dump.Configs[0].Status != "REQUESTED" {
		t.Errorf("before the scopes: %+v", dump)
	}
	update(xds.Update{Type: xds.ScopedRouteType, Version: "s1", Full: true, Resources: resources(t, decode(t, scope, &routev3.ScopedRouteConfiguration{}))})
	if get("dynamic_scoped_route_configs"); len(dump.Configs) != 1 || dump.Configs[0].Status != "ACKED" || dump.Configs[0].Scopes[0].Name != "s" {
		t.Errorf("with scopes: %+v", dump)
	}
	bad := decode(t, scope, &routev3.ScopedRouteConfiguration{})
	bad.Key.Fragments = nil
	if err := w.store.Update(t.Context(), xds.Update{Type: xds.ScopedRouteType, Version: "s2", Full: true, Resources: resources(t, bad)}); err == nil {
		t.Fatal("a scope without a key was accepted")
	}
	if get("dynamic_scoped_route_configs"); len(dump.Configs) != 1 || dump.Configs[0].Status != "NACKED" {
		t.Errorf("after a rejection: %+v", dump)
	}
}
