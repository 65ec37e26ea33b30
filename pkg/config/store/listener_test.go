package store

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/weir-proxy/weir/pkg/config/xds"
)

const (
	rdsListener = `
"@type": type.googleapis.com/envoy.config.listener.v3.Listener
name: %NAME%
address: { socket_address: { address: 127.0.0.1, port_value: %PORT% } }
filter_chains:
- filters:
  - name: envoy.filters.network.http_connection_manager
    typed_config:
      "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
      stat_prefix: web
      rds: { route_config_name: web, config_source: { resource_api_version: V3, ads: {} } }
      http_filters: [{ name: envoy.filters.http.router }]
---
`
	routes = `
"@type": type.googleapis.com/envoy.config.route.v3.RouteConfiguration
name: web
virtual_hosts: [{ name: all, domains: [%DOMAINS%], routes: [{ match: { prefix: / }, direct_response: { status: 200 } }] }]
---
`
	tcpListener = `
"@type": type.googleapis.com/envoy.config.listener.v3.Listener
name: %NAME%
address: { socket_address: { address: 127.0.0.1, port_value: %PORT% } }
filter_chains:
- filters:
  - name: envoy.filters.network.tcp_proxy
    typed_config:
      "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
      stat_prefix: t
      cluster: plain
---
`
)

func at(listener, name, port string) string {
	return strings.NewReplacer("%NAME%", name, "%PORT%", port).Replace(listener)
}

func (r *rig) listeners() []string { return r.Snapshot().Listeners.Names() }

func TestListenersAddressesAreTheirOwn(t *testing.T) {
	r := newRig(t, nil)
	err := r.full(t, xds.ListenerType, "1", at(tcpListener, "one", "1001")+at(tcpListener, "two", "1001"))
	if err == nil || !strings.Contains(err.Error(), "two: has duplicate address 127.0.0.1:1001 as existing listener one") {
		t.Errorf("error = %v", err)
	}
	if got := r.listeners(); !slices.Equal(got, []string{"one"}) {
		t.Errorf("listeners = %v", got)
	}
	// What the response removes makes its address free for what it adds.
	if err := r.full(t, xds.ListenerType, "2", at(tcpListener, "two", "1001")); err != nil {
		t.Fatal(err)
	}
	if got := r.listeners(); !slices.Equal(got, []string{"two"}) {
		t.Errorf("listeners = %v", got)
	}
}

func TestWhatWasNeverAcceptedGoesWithItsResponse(t *testing.T) {
	r := newRig(t, nil)
	if err := r.full(t, xds.ClusterType, "1", badCluster); err == nil {
		t.Fatal("the bad cluster was accepted")
	}
	if got := len(r.Dump().Clusters); got != 1 {
		t.Fatalf("%d slots while the bad cluster is sent", got)
	}
	if err := r.full(t, xds.ClusterType, "2", ""); err != nil {
		t.Fatal(err)
	}
	if got := r.Dump().Clusters; len(got) != 0 {
		t.Errorf("kept %+v", got)
	}
}

func TestRejectedEndpointsEndTheWait(t *testing.T) {
	r := newRig(t, nil)
	if err := r.full(t, xds.ClusterType, "1", edsCluster); err != nil {
		t.Fatal(err)
	}
	bad := strings.ReplaceAll(endpoints, "127.0.0.1", "not-an-address")
	if err := r.full(t, xds.EndpointType, "1", bad); err == nil || !strings.Contains(err.Error(), "ends: ") {
		t.Errorf("error = %v", err)
	}
	if got := r.clusters(); !slices.Equal(got, []string{"eds"}) {
		t.Errorf("clusters = %v", got)
	}
	r.counter(t, "cluster.eds.update_rejected", 1)
}

func TestListenerWarmsUntilItsRoutesCome(t *testing.T) {
	r := newRig(t, nil)
	if err := r.full(t, xds.ListenerType, "1", at(rdsListener, "web", "1002")); err != nil {
		t.Fatal(err)
	}
	if got := r.listeners(); len(got) != 0 {
		t.Errorf("listeners = %v before their routes", got)
	}
	if err := r.full(t, xds.RouteType, "1", strings.ReplaceAll(routes, "%DOMAINS%", `"*"`)); err != nil {
		t.Fatal(err)
	}
	if got := r.listeners(); !slices.Equal(got, []string{"web"}) || r.Snapshot().Routes.Get("web") == nil {
		t.Errorf("listeners = %v, routes %v", got, r.Snapshot().Routes)
	}
	r.counter(t, "http.web.rds.web.update_success", 1)
}

func TestListenersExchangeAddresses(t *testing.T) {
	both := func(one, two string) string { return at(tcpListener, "one", one) + at(tcpListener, "two", two) }
	for _, tc := range []struct {
		name, next string
		want       map[string]uint16
		err        string
	}{
		{name: "exchange", next: both("1002", "1001"), want: map[string]uint16{"one": 1002, "two": 1001}},
		{name: "move into a place that is left", next: both("1002", "1003"), want: map[string]uint16{"one": 1002, "two": 1003}},
		{
			name: "who stays keeps the place", next: both("1002", "1002"), want: map[string]uint16{"one": 1001, "two": 1002},
			err: "one: has duplicate address 127.0.0.1:1002 as existing listener two",
		},
		{
			name: "who is rejected is in the way", next: both("1002", "1001") + at(tcpListener, "three", "1002"),
			want: map[string]uint16{"one": 1002, "two": 1001}, err: "three: has duplicate address 127.0.0.1:1002 as existing listener one",
		},
		{
			name: "a bad one stays and is in the way", next: at(tcpListener, "one", "1002") + strings.Replace(at(tcpListener, "two", "1001"), "stat_prefix: t", "", 1),
			want: map[string]uint16{"one": 1001, "two": 1002}, err: "one: has duplicate address 127.0.0.1:1002 as existing listener two",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newRig(t, nil)
			if err := r.full(t, xds.ListenerType, "1", both("1001", "1002")); err != nil {
				t.Fatal(err)
			}
			err := r.full(t, xds.ListenerType, "2", tc.next)
			if tc.err == "" && err != nil || tc.err != "" && (err == nil || !strings.Contains(err.Error(), tc.err)) {
				t.Errorf("error = %v, want %q", err, tc.err)
			}
			got := map[string]uint16{}
			for name, l := range r.Snapshot().Listeners.All() {
				got[name] = l.Address.Port()
			}
			if !maps.Equal(got, tc.want) {
				t.Errorf("listeners = %v, want %v", got, tc.want)
			}
		})
	}
}
