package store

import (
	"fmt"
	"strings"
	"testing"

	"github.com/weir-proxy/weir/pkg/config/xds"
)

// earlyHost is a virtual host as VHDS delivers it.
func earlyHost(t *testing.T, routes, name, more string) xds.Resource {
	t.Helper()
	r := resources(t, fmt.Sprintf(`
"@type": type.googleapis.com/envoy.config.route.v3.VirtualHost
name: %s
domains: [%s.test]
routes: [{match: {prefix: /}, %s}]
---
`, name, name, more))[0]
	r.Name, r.Version = routes+"/"+name, "1"
	return r
}

// A stream tells each virtual host once. Those of a route configuration that comes after them are there with it.
func TestVirtualHostsBeforeTheirRoutes(t *testing.T) {
	const answers, bad = "direct_response: {status: 200}", "direct_response: {status: 9}"
	for _, c := range []struct {
		name, source string
	}{
		{"aggregated", "ads: {}"},
		{"a stream of its own", "api_config_source: {api_type: DELTA_GRPC, transport_api_version: V3, grpc_services: [{envoy_grpc: {cluster_name: local}}]}"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, nil)
			routes := func(name string) string {
				return fmt.Sprintf(`
"@type": type.googleapis.com/envoy.config.route.v3.RouteConfiguration
name: %s
vhds: {config_source: {resource_api_version: V3, %s}}
---
`, name, c.source)
			}
			listener := func(name, port string) string {
				return strings.NewReplacer("%NAME%", name, "%PORT%", port, "route_config_name: web", "route_config_name: "+name).Replace(rdsListener)
			}
			must := func(err error) {
				t.Helper()
				if err != nil {
					t.Fatal(err)
				}
			}
			must(r.full(t, xds.ListenerType, "1", listener("web", "8080")))
			must(r.full(t, xds.RouteType, "1", routes("web")))
			source := ""
			for id := range r.hosting.follows {
				source = id
			}
			tell := func(u xds.Update) {
				t.Helper()
				u.Type, u.Version, u.Source = xds.VirtualHostType, "1", source
				must(r.Update(t.Context(), u))
			}
			tell(xds.Update{Resources: []xds.Resource{
				earlyHost(t, "web", "a", answers), earlyHost(t, "next", "b", answers), earlyHost(t, "next", "bad", bad),
				earlyHost(t, "next", "gone", answers), earlyHost(t, "never", "c", answers),
			}})
			tell(xds.Update{Removed: []string{"next/gone", "never/c"}})
			if r.hosting.groups[hostsOf{source, "never"}] != nil {
				t.Error("something is kept of a route configuration that has no virtual host")
			}

			must(r.full(t, xds.ListenerType, "2", listener("web", "8080")+listener("next", "8081")))
			must(r.full(t, xds.RouteType, "2", routes("web")+routes("next")))
			now := r.Snapshot()
			if now.Listeners.Get("next") == nil {
				t.Fatal("the listener waits for virtual hosts that have come")
			}
			for domain, there := range map[string]bool{"b.test": true, "bad.test": false, "gone.test": false} {
				if got := now.Hosts.Get("next").Owner(domain) != nil; got != there {
					t.Errorf("%s is there: %v", domain, got)
				}
			}

			must(r.full(t, xds.ListenerType, "3", listener("web", "8080")))
			must(r.full(t, xds.ListenerType, "4", listener("web", "8080")+listener("next", "8081")))
			must(r.full(t, xds.RouteType, "4", routes("web")+routes("next")))
			if r.Snapshot().Hosts.Get("next").Owner("b.test") == nil {
				t.Error("the virtual host is lost with the route configuration, though the stream went on that it came by")
			}

			must(r.full(t, xds.ListenerType, "5", ""))
			if left := len(r.hosting.groups); left > 0 && source != "" {
				t.Errorf("%d groups outlive their stream", left)
			}
		})
	}
}
