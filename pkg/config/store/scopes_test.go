package store

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/config/xds"
)

const scopedListener = `
"@type": type.googleapis.com/envoy.config.listener.v3.Listener
name: web
address: {socket_address: {address: 127.0.0.1, port_value: 8080}}
filter_chains:
- filters:
  - name: http
    typed_config:
      "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
      stat_prefix: web
      http_filters: [{name: envoy.filters.http.router}]
      scoped_routes:
        name: tenants
        scope_key_builder: {fragments: [{header_value_extractor: {name: x-tenant}}]}
        rds_config_source: {resource_api_version: V3, ads: {}}
        scoped_rds: {scoped_rds_config_source: {resource_api_version: V3, ads: {}}}
`

func scopeYAML(name, key, routes, more string) string {
	return fmt.Sprintf(`
"@type": type.googleapis.com/envoy.config.route.v3.ScopedRouteConfiguration
name: %s
route_configuration_name: %s
key: {fragments: [{string_key: "%s"}]}
%s
---
`, name, routes, key, more)
}

func routesYAML(name string) string {
	return `
"@type": type.googleapis.com/envoy.config.route.v3.RouteConfiguration
name: ` + name + `
virtual_hosts: [{name: v, domains: ["*"], routes: [{match: {prefix: /}, direct_response: {status: 200}}]}]
---
`
}

// scopes are the active scopes as "key=name".
func (r *rig) scopes() string {
	set := r.Snapshot().Scopes.Get("")
	if set == nil {
		return ""
	}
	var out []string
	for key, s := range set.ByKey.Sorted() {
		out = append(out, key+"="+s.Name)
	}
	return strings.Join(out, " ")
}

func TestScopesWaitForTheirRoutes(t *testing.T) {
	r := newRig(t, nil)
	if err := r.full(t, xds.ListenerType, "1", scopedListener); err != nil {
		t.Fatal(err)
	}
	if !r.src.wanted["ScopedRouteConfiguration *"] {
		t.Fatal("SRDS is not subscribed to")
	}
	if err := r.full(t, xds.ScopedRouteType, "1", scopeYAML("a", "alice", "ra", "")+scopeYAML("b", "bob", "rb", "")); err != nil {
		t.Fatal(err)
	}
	if err := r.full(t, xds.RouteType, "1", routesYAML("ra")); err != nil {
		t.Fatal(err)
	}
	if r.scopes() != "alice=a" || r.Snapshot().Listeners.Len() != 0 {
		t.Errorf("scopes %s, %d listeners, before all routes are there", r.scopes(), r.Snapshot().Listeners.Len())
	}
	if err := r.full(t, xds.RouteType, "1", routesYAML("rb")); err != nil {
		t.Fatal(err)
	}
	if r.scopes() != "alice=a bob=b" || r.Snapshot().Listeners.Len() != 1 {
		t.Errorf("scopes %s, %d listeners", r.scopes(), r.Snapshot().Listeners.Len())
	}
	// The routes of a scope that changes serve until the new ones are there.
	if err := r.full(t, xds.ScopedRouteType, "2", scopeYAML("a", "alice", "new", "")+scopeYAML("b", "bob", "rb", "")); err != nil {
		t.Fatal(err)
	}
	if got := r.Snapshot().Scopes.Get("").Get("alice").RouteConfigName; got != "ra" {
		t.Errorf("alice has %s already", got)
	}
	if err := r.full(t, xds.RouteType, "2", routesYAML("new")); err != nil {
		t.Fatal(err)
	}
	if got := r.Snapshot().Scopes.Get("").Get("alice").RouteConfigName; got != "new" || r.src.wanted["RouteConfiguration ra"] {
		t.Errorf("alice has %s; ra is wanted: %v", got, r.src.wanted["RouteConfiguration ra"])
	}
	r.counter(t, "http.web.scoped_rds.tenants.update_success", 2)
	r.counter(t, "http.web.scoped_rds.tenants.config_reload", 2)
}

func TestScopeChanges(t *testing.T) {
	inline := func(name, key string) string {
		return fmt.Sprintf(`
"@type": type.googleapis.com/envoy.config.route.v3.ScopedRouteConfiguration
name: %s
key: {fragments: [{string_key: "%s"}]}
route_configuration: {name: r}
---
`, name, key)
	}
	for _, c := range []struct {
		name   string
		update string
		full   bool
		remove []string
		want   string
		err    string
	}{
		{"a new one", inline("c", "3"), false, nil, "1=a 2=b 3=c", ""},
		{"one moves", inline("a", "3"), false, nil, "2=b 3=a", ""},
		{"two exchange keys", inline("a", "2") + inline("b", "1"), false, nil, "1=b 2=a", ""},
		{"one takes over", inline("c", "2"), false, []string{"b"}, "1=a 2=c", ""},
		{"one goes", "", false, []string{"b"}, "1=a", ""},
		{"all that there is", inline("b", "2"), true, nil, "2=b", ""},
		{"a key that is taken", inline("c", "2") + inline("d", "4"), false, nil, "1=a 2=b", "first scope is 'b', second scope is 'c'"},
		{"a key that two want", inline("c", "3") + inline("d", "3"), false, []string{"a"}, "1=a 2=b", "first scope is 'c', second scope is 'd'"},
		{"one is bad", inline("c", "3") + strings.Replace(inline("d", "4"), "route_configuration:", "on_demand: true\nroute_configuration:", 1), false, nil, "1=a 2=b 3=c", "on demand"},
		{"twice in a response", inline("c", "3") + inline("c", "4"), false, nil, "1=a 2=b 3=c", "duplicate scoped route configuration 'c' found"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, nil)
			if err := r.full(t, xds.ListenerType, "1", scopedListener); err != nil {
				t.Fatal(err)
			}
			if err := r.full(t, xds.ScopedRouteType, "1", inline("a", "1")+inline("b", "2")); err != nil {
				t.Fatal(err)
			}
			err := r.Update(t.Context(), xds.Update{Type: xds.ScopedRouteType, Version: "2", Full: c.full, Resources: resources(t, c.update), Removed: c.remove})
			if (err != nil) != (c.err != "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("error %v, want %q", err, c.err)
			}
			if diff := cmp.Diff(c.want, r.scopes()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestScopesOnDemand(t *testing.T) {
	r := newRig(t, nil)
	if err := r.full(t, xds.ListenerType, "1", scopedListener); err != nil {
		t.Fatal(err)
	}
	if err := r.full(t, xds.ScopedRouteType, "1", scopeYAML("a", "alice", "ra", "on_demand: true")); err != nil {
		t.Fatal(err)
	}
	if r.scopes() != "alice=a" || r.Snapshot().Listeners.Len() != 1 || r.src.wanted["RouteConfiguration ra"] {
		t.Fatalf("scopes %s, %d listeners, subscribed: %v", r.scopes(), r.Snapshot().Listeners.Len(), r.src.wanted)
	}
	gauge := func(name string, want uint64) {
		t.Helper()
		if got := r.stats.Root().Gauge("http.web.scoped_rds.tenants." + name).Value(); got != want {
			t.Errorf("%s = %d, want %d", name, got, want)
		}
	}
	gauge("all_scopes", 1)
	gauge("on_demand_scopes", 1)
	gauge("active_scopes", 0)
	short, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.FetchRoutes(short, "ra"); err == nil {
		t.Error("a request that has ended waited on")
	}
	gauge("active_scopes", 1)
	done := make(chan error, 2)
	for range 2 {
		go func() { done <- r.FetchRoutes(t.Context(), "ra") }()
	}
	if !r.src.wanted["RouteConfiguration ra"] {
		t.Error("the routes are not asked for")
	}
	if err := r.full(t, xds.RouteType, "1", routesYAML("ra")); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if err := r.Update(t.Context(), xds.Update{Type: xds.ScopedRouteType, Version: "2", Removed: []string{"a"}}); err != nil {
		t.Fatal(err)
	}
	gauge("all_scopes", 0)
	gauge("on_demand_scopes", 0)
	gauge("active_scopes", 0)
	if r.src.wanted["RouteConfiguration ra"] || r.Snapshot().Routes.Len() != 0 {
		t.Error("the routes of a scope that is gone are kept")
	}
}

// Scopes of two sources are two sets: a response of one changes nothing of the other, whatever its names and keys are.
func TestScopesOfTwoSources(t *testing.T) {
	r := newRig(t, nil)
	const ads, file = "scoped_rds_config_source: {resource_api_version: V3, ads: {}}", "scoped_rds_config_source: {resource_api_version: V3, path_config_source: {path: /scopes.yaml}}"
	other := strings.ReplaceAll(strings.ReplaceAll(scopedListener, ads, file), "8080", "8081")
	both := scopedListener + "---\n" + strings.Replace(other, "name: web", "name: other", 1)
	if err := r.full(t, xds.ListenerType, "1", both); err != nil {
		t.Fatal(err)
	}
	id := (&model.Source{Kind: model.SourcePath, Path: "/scopes.yaml"}).ID()
	update := func(source, name, routes string) {
		t.Helper()
		err := r.Update(t.Context(), xds.Update{
			Type: xds.ScopedRouteType, Source: source, Version: "1", Full: true,
			Resources: resources(t, strings.ReplaceAll(scopeYAML(name, "alice", "", ""), "route_configuration_name: ", "route_configuration: {name: "+routes+"}")),
		})
		if err != nil {
			t.Error(err)
		}
	}
	want := func(ofADS, ofFile string) {
		t.Helper()
		got := [2]string{}
		for i, source := range []string{"", id} {
			if s := r.Snapshot().Scopes.Get(source).Get("alice"); s != nil {
				got[i] = s.Name + " " + s.InlineRoutes.Name
			}
		}
		if got != [2]string{ofADS, ofFile} {
			t.Errorf("alice has %q, want %q and %q", got, ofADS, ofFile)
		}
	}
	update("", "a", "one")
	want("a one", "")
	if got := r.listeners(); len(got) != 1 || got[0] != "web" {
		t.Errorf("listeners = %v: the other one waits for its own scopes", got)
	}
	update(id, "a", "two")
	want("a one", "a two")
	update(id, "b", "three")
	want("a one", "b three")
	update("", "c", "four")
	want("c four", "b three")
	if n := len(r.Dump().Scopes[id]); n != 1 || len(r.Dump().AllScopes()) != 2 {
		t.Errorf("%d scopes of the file, %d in all", n, len(r.Dump().AllScopes()))
	}
	t.Log("the scopes of a file go with who follows them")
	if err := r.full(t, xds.ListenerType, "2", scopedListener); err != nil {
		t.Fatal(err)
	}
	want("c four", "")
	if n := len(r.Dump().AllScopes()); n != 1 {
		t.Errorf("%d scopes are left", n)
	}
}
