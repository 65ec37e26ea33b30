package store

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/weir-proxy/weir/pkg/config/xds"
	"github.com/weir-proxy/weir/pkg/observe/stats"
)

const (
	bareListener = `
"@type": type.googleapis.com/envoy.config.listener.v3.Listener
name: l
%s
---
`
	secretCluster = `
"@type": type.googleapis.com/envoy.config.cluster.v3.Cluster
name: plain
type: STATIC
load_assignment: { cluster_name: plain }
transport_socket:
  name: tls
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
    common_tls_context:
      validation_context_sds_secret_config: { name: cert, sds_config: { resource_api_version: V3, ads: {} } }
---
`
	plainSecret = `
"@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret
name: cert
%s
---
`
	statsHost = `
"@type": type.googleapis.com/envoy.config.route.v3.VirtualHost
name: a
%s
routes: [{match: {prefix: /}, direct_response: {status: 200}}]
---
`
	ledsName = "xdstp://x/envoy.config.endpoint.v3.LbEndpoint/c"
	ledsEnds = `
"@type": type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment
cluster_name: ends
endpoints: [{ leds_cluster_locality_config: { leds_config: { resource_api_version: V3, ads: {} }, leds_collection_name: "` + ledsName + `/*" } }]
---
`
	ledsEndpoint = `
"@type": type.googleapis.com/envoy.config.endpoint.v3.LbEndpoint
endpoint: { address: { socket_address: { address: %s, port_value: 1 } } }
---
`
)

// subscriptions are those of all types: what makes one, and a good and a bad resource of it.
var subscriptions = map[string]struct {
	typeURL, prefix string
	setup           []string // type and resource by turns
	// resource is the name on the wrapper of resources that have none themselves.
	resource, good, bad string
}{
	"CDS": {typeURL: xds.ClusterType, prefix: "cluster_manager.cds.", good: plain("1s"), bad: badCluster},
	"LDS": {
		typeURL: xds.ListenerType, prefix: "listener_manager.lds.", bad: fmt.Sprintf(bareListener, ""),
		good: fmt.Sprintf(bareListener, "address: { socket_address: { address: 127.0.0.1, port_value: 1 } }\nfilter_chains: [{}]"),
	},
	"EDS": {
		typeURL: xds.EndpointType, prefix: "cluster.eds.", setup: []string{xds.ClusterType, edsCluster}, good: endpoints,
		bad: strings.Replace(endpoints, "endpoints:", "policy: { overprovisioning_factor: 0 }\nendpoints:", 1),
	},
	"RDS": {
		typeURL: xds.RouteType, prefix: "http.web.rds.web.", setup: []string{xds.ListenerType, at(rdsListener, "web", "1")},
		good: routesYAML("web"), bad: strings.Replace(routesYAML("web"), `domains: ["*"]`, "domains: []", 1),
	},
	"SRDS": {
		typeURL: xds.ScopedRouteType, prefix: "http.web.scoped_rds.tenants.", setup: []string{xds.ListenerType, scopedListener},
		good: scopeYAML("s", "k", "r", ""), bad: scopeYAML("s", "k", "''", ""),
	},
	"VHDS": {
		typeURL: xds.VirtualHostType, prefix: "http.web.vhds.web.", resource: "web/a",
		setup: []string{xds.ListenerType, at(rdsListener, "web", "1"), xds.RouteType, `
"@type": type.googleapis.com/envoy.config.route.v3.RouteConfiguration
name: web
vhds: {config_source: {resource_api_version: V3, ads: {}}}
`},
		good: fmt.Sprintf(statsHost, "domains: [a.test]"), bad: fmt.Sprintf(statsHost, ""),
	},
	"SDS": {
		typeURL: xds.SecretType, prefix: "sds.cert.", setup: []string{xds.ClusterType, secretCluster},
		good: fmt.Sprintf(plainSecret, "validation_context: { verify_certificate_hash: ["+strings.Repeat("ab", 32)+"] }"),
		bad:  fmt.Sprintf(plainSecret, "tls_certificate: { certificate_chain: { inline_string: x } }"),
	},
	"ECDS": {
		typeURL: xds.FilterType, prefix: filterStats, setup: []string{xds.ListenerType, ecds("web", "1", "")}, good: buffers("10"), bad: mutationFilter,
	},
	"LEDS": {
		typeURL: xds.LbEndpointType, prefix: "cluster.eds.leds.", resource: ledsName + "/1",
		setup: []string{xds.ClusterType, edsCluster, xds.EndpointType, ledsEnds},
		good:  fmt.Sprintf(ledsEndpoint, "127.0.0.1"), bad: fmt.Sprintf(ledsEndpoint, "nonsense"),
	},
}

// asked are all subscriptions of a type.
func (r *rig) asked(typeURL string) xds.Asked {
	a := xds.Asked{Type: typeURL, All: true}
	if typeURL == xds.ScopedRouteType || typeURL == xds.VirtualHostType {
		return a
	}
	for k := range r.deps.wants {
		if k.typeURL == typeURL {
			a.Names = append(a.Names, k.name)
		}
	}
	return a
}

// Envoy's statistics of a subscription are the same for all types. RTDS has a test of its own. The attempts are the
// beginning, the two failures and the two responses, as all comes on a stream.
func TestSubscriptionStatistics(t *testing.T) {
	for name, tt := range subscriptions {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, withFilters(t))
			for i := 0; i < len(tt.setup); i += 2 {
				if err := r.full(t, tt.setup[i], "setup", tt.setup[i+1]); err != nil {
					t.Fatal(err)
				}
			}
			r.Failure(r.asked(tt.typeURL), errors.New("the network"))
			r.Failure(r.asked(tt.typeURL), fmt.Errorf("decode: %w", xds.ErrUnreadable))
			update := func(version, yaml string) error {
				all := resources(t, yaml)
				all[0].Name = tt.resource
				return r.Update(t.Context(), xds.Update{Type: tt.typeURL, Version: version, Full: tt.resource == "", Resources: all})
			}
			root := r.stats.Root()
			if err := update("bad", tt.bad); err == nil {
				t.Error("the bad resource was accepted")
			}
			if v := root.Gauge(tt.prefix + "version"); v.Value() != 0 {
				t.Errorf("version = %d without an accepted update", v.Value())
			}
			before := time.Now()
			if err := update("0", tt.good); err != nil {
				t.Fatal(err)
			}
			for name, want := range map[string]uint64{
				"update_attempt": 5, "update_failure": 1, "update_rejected": 2, "update_success": 1, "init_fetch_timeout": 0,
			} {
				r.counter(t, tt.prefix+name, want)
			}
			// The hash of the version "0" is what Envoy 1.32 shows for it.
			if v := root.Gauge(tt.prefix + "version").Value(); v != 7148434200721666028 {
				t.Errorf("version = %d", v)
			}
			if v := root.TextReadout(tt.prefix + "version_text").Value(); v != "0" {
				t.Errorf("version_text = %q", v)
			}
			if at := time.UnixMilli(int64(root.Gauge(tt.prefix + "update_time").Value())); at.Before(before.Truncate(time.Millisecond)) || at.After(time.Now()) {
				t.Errorf("update_time = %s", at)
			}
			if !root.Histogram(tt.prefix+"update_duration", stats.Milliseconds).Used() {
				t.Error("update_duration has no value")
			}
		})
	}
}
