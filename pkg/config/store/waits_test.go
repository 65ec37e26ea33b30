package store

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-proxy/weir/pkg/config/xds"
)

// waits are what is waited for as "type name <- type name", types without their packages.
func (r *rig) waits() (list []string) {
	text := func(x Reference) string { return x.Type[strings.LastIndexByte(x.Type, '.')+1:] + " " + x.Name }
	for _, w := range r.Dump().Waiting {
		line := text(w.Reference)
		for _, user := range w.For {
			line += " <- " + text(user)
		}
		list = append(list, line)
	}
	return list
}

func (r *rig) wantWaits(t *testing.T, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, r.waits()); diff != "" {
		t.Error(diff)
	}
}

// The dump tells what is waited for, and by what: a listener by way of its scopes, routes and virtual hosts.
func TestDumpTellsWhoWaits(t *testing.T) {
	r := newRig(t, nil)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(r.full(t, xds.ListenerType, "1", scopedListener))
	r.wantWaits(t, "ScopedRouteConfiguration web/tenants <- Listener web")
	must(r.full(t, xds.ScopedRouteType, "1", scopeYAML("a", "alice", "ra", "")+scopeYAML("b", "bob", "rb", "")+scopeYAML("c", "carol", "rb", "")))
	const scopes = "ScopedRouteConfiguration web/tenants"
	r.wantWaits(t, "RouteConfiguration ra <- "+scopes, "RouteConfiguration rb <- "+scopes, scopes+" <- Listener web")
	must(r.full(t, xds.RouteType, "1", routesYAML("rb")+`
"@type": type.googleapis.com/envoy.config.route.v3.RouteConfiguration
name: ra
vhds: {config_source: {resource_api_version: V3, ads: {}}}
`))
	r.wantWaits(t, "RouteConfiguration ra <- "+scopes, scopes+" <- Listener web", "VirtualHost ra <- RouteConfiguration ra")
	must(r.Update(t.Context(), xds.Update{Type: xds.VirtualHostType, Version: "1"}))
	r.wantWaits(t)
}

// What waits for the virtual hosts, or the endpoints of a collection, of one source waits on when another source answers.
func TestAnswersOfOtherSources(t *testing.T) {
	source := func(cluster string) string {
		return fmt.Sprintf("{resource_api_version: V3, api_config_source: {api_type: DELTA_GRPC, transport_api_version: V3, grpc_services: [{envoy_grpc: {cluster_name: %s}}]}}", cluster)
	}
	for _, c := range []struct {
		name, typeURL, waits string
		before               func(t *testing.T, r *rig) error
	}{
		{"VHDS", xds.VirtualHostType, "VirtualHost web <- RouteConfiguration web", func(t *testing.T, r *rig) error {
			if err := r.full(t, xds.ListenerType, "1", strings.NewReplacer("%NAME%", "web", "%PORT%", "8080").Replace(rdsListener)); err != nil {
				return err
			}
			return r.full(t, xds.RouteType, "1", `
"@type": type.googleapis.com/envoy.config.route.v3.RouteConfiguration
name: web
vhds: {config_source: `+source("local")+`}
`)
		}},
		{"LEDS", xds.LbEndpointType, "LbEndpoint ends/* <- ClusterLoadAssignment ends", func(t *testing.T, r *rig) error {
			if err := r.full(t, xds.ClusterType, "1", edsCluster); err != nil {
				return err
			}
			return r.full(t, xds.EndpointType, "1", `
"@type": type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment
cluster_name: ends
endpoints: [{leds_cluster_locality_config: {leds_config: `+source("local")+`, leds_collection_name: ends/*}}]
`)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, nil)
			if err := c.before(t, r); err != nil {
				t.Fatal(err)
			}
			mine := ""
			for _, w := range r.deps.pending[c.typeURL] {
				mine = w.source.ID()
			}
			for _, from := range []string{"", "another"} {
				if err := r.Update(t.Context(), xds.Update{Type: c.typeURL, Version: "1", Source: from}); err != nil {
					t.Fatal(err)
				}
			}
			if got := r.waits(); len(got) != 2 || !strings.Contains(strings.Join(got, "\n"), c.waits) {
				t.Errorf("waits for %q", got)
			}
			if err := r.Update(t.Context(), xds.Update{Type: c.typeURL, Version: "1", Source: mine}); err != nil {
				t.Fatal(err)
			}
			r.wantWaits(t)
		})
	}
}
