package store

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weir-proxy/weir/pkg/config/xds"
)

// hostRig is a store with route configurations whose virtual hosts come over VHDS.
type hostRig struct {
	*rig
	t *testing.T
}

func (r hostRig) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

// hostSource is a stream of its own to a cluster; "ads" is the aggregated one.
func hostSource(cluster string) string {
	if cluster == "ads" {
		return "{resource_api_version: V3, initial_fetch_timeout: 0s, ads: {}}"
	}
	return "{resource_api_version: V3, initial_fetch_timeout: 0s, api_config_source: {api_type: DELTA_GRPC, transport_api_version: V3, grpc_services: [{envoy_grpc: {cluster_name: " + cluster + "}}]}}"
}

// routes delivers a listener and a route configuration for each name, all with virtual hosts of one source.
func (r hostRig) routes(version, source string, names ...string) {
	r.t.Helper()
	var listeners, routes strings.Builder
	for i, name := range names {
		listeners.WriteString(strings.NewReplacer("%NAME%", name, "%PORT%", fmt.Sprint(8080+i), "route_config_name: web", "route_config_name: "+name).Replace(rdsListener))
		fmt.Fprintf(&routes, "\n\"@type\": type.googleapis.com/envoy.config.route.v3.RouteConfiguration\nname: %s\nvhds: {config_source: %s}\n---\n", name, hostSource(source))
	}
	r.must(r.full(r.t, xds.ListenerType, version, listeners.String()))
	r.must(r.full(r.t, xds.RouteType, version, routes.String()))
}

// tell delivers virtual hosts, each named "<route configuration>/<name>", from the source that a route configuration has now.
func (r hostRig) tell(routes string, hosts ...string) {
	r.t.Helper()
	u := xds.Update{Type: xds.VirtualHostType, Version: "1", Source: r.deps.wanted(xds.VirtualHostType, routes).source.ID()}
	for _, h := range hosts {
		group, name, _ := strings.Cut(h, "/")
		u.Resources = append(u.Resources, earlyHost(r.t, group, name, "direct_response: {status: 200}"))
	}
	r.must(r.Update(r.t.Context(), u))
}

func (r hostRig) serves(when, routes, domain string, want bool) {
	r.t.Helper()
	set := r.Snapshot().Hosts.Get(routes)
	if got := set != nil && set.Owner(domain) != nil; got != want {
		r.t.Errorf("%s: %s of %s is there: %v", when, domain, routes, got)
	}
}

// A route configuration may have its virtual hosts come from another source; those that came before serve until that answers.
func TestVirtualHostsMoveToAnotherSource(t *testing.T) {
	for _, c := range []struct {
		name, from, to string
	}{
		{"from a stream of its own to another one", "one", "two"},
		{"from the aggregated stream", "ads", "two"},
		{"to the aggregated stream", "one", "ads"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := hostRig{newRig(t, nil), t}
			r.routes("1", c.from, "web")
			before := r.deps.wanted(xds.VirtualHostType, "web").source.ID()
			r.tell("web", "web/a", "web/b")
			r.routes("2", c.to, "web")
			if now := r.deps.wanted(xds.VirtualHostType, "web").source.ID(); now == before {
				t.Fatalf("virtual hosts still come from %q", now)
			}
			r.wantWaits(t, "VirtualHost web <- RouteConfiguration web")
			r.serves("before the next source answers", "web", "a.test", true)

			late := xds.Update{Type: xds.VirtualHostType, Version: "2", Source: before, Removed: []string{"web/a"}}
			late.Resources = []xds.Resource{earlyHost(t, "web", "late", "direct_response: {status: 200}")}
			r.must(r.Update(t.Context(), late))
			r.serves("after something came from the source before", "web", "a.test", true)
			r.serves("after something came from the source before", "web", "late.test", false)

			r.tell("web", "web/a")
			r.wantWaits(t)
			r.serves("after the next source answered", "web", "a.test", true)
			r.serves("after the next source answered", "web", "b.test", false)

			r.routes("3", c.from, "web")
			if c.from != "ads" { // which has told already, and goes on
				r.serves("on the way back", "web", "a.test", true)
				r.wantWaits(t, "VirtualHost web <- RouteConfiguration web")
				r.tell("web")
				r.serves("after the first source answered that it has none", "web", "a.test", false)
			} else {
				r.serves("back at the aggregated stream", "web", "late.test", true)
			}
			r.wantWaits(t)
			r.must(r.full(t, xds.ListenerType, "4", ""))
			for id := range r.hosting.groups {
				if id.source != "" {
					t.Errorf("%v outlives its stream", id)
				}
			}
			for id := range r.hosting.heard {
				if id != "" {
					t.Errorf("the store remembers that %q answered, which it has left", id)
				}
			}
		})
	}
}

// A stream tells once what there is. A route configuration that follows it later, and for which there is nothing, does not wait for
// ever; one whose virtual hosts come a moment later is not used without them.
func TestVirtualHostsOfAStreamThatHasAnswered(t *testing.T) {
	for _, source := range []string{"ads", "one"} {
		t.Run(source, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := hostRig{newRig(t, nil), t}
				r.routes("1", source, "web")
				time.Sleep(time.Hour)
				r.wantWaits(t, "RouteConfiguration web <- Listener web", "VirtualHost web <- RouteConfiguration web")
				r.tell("web", "web/a")
				r.routes("2", source, "web", "none", "soon")
				time.Sleep(hostsPatience / 2)
				if len(r.waits()) != 4 {
					t.Errorf("half a moment later waits %q", r.waits())
				}
				r.tell("soon", "soon/b")
				r.wantWaits(t)
				r.serves("when they came", "soon", "b.test", true)

				r.routes("3", source, "web", "none", "soon", "never")
				time.Sleep(hostsPatience)
				synctest.Wait()
				r.wantWaits(t)
				if r.Snapshot().Listeners.Get("never") == nil {
					t.Error("the listener is not there")
				}
				r.counter(t, "http.never.vhds.never.init_fetch_timeout", 0)

				t.Log("another stream may tell something else")
				r.Failure(xds.Asked{Type: xds.VirtualHostType, Source: r.deps.wanted(xds.VirtualHostType, "web").source.ID(), All: true}, fmt.Errorf("the stream ended"))
				r.routes("4", source, "web", "none", "soon", "never", "ever")
				time.Sleep(time.Hour)
				r.wantWaits(t, "RouteConfiguration ever <- Listener ever", "VirtualHost ever <- RouteConfiguration ever")
			})
		})
	}
}
