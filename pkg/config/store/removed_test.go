package store

import (
	"strings"
	"testing"

	"github.com/weir-proxy/weir/pkg/config/xds"
)

// Control planes call endpoints, routes and secrets removed that something still refers to; Envoy keeps them, without a NACK.
func TestWhatIsReferredToOutlivesItsRemoval(t *testing.T) {
	const tlsCluster = `
"@type": type.googleapis.com/envoy.config.cluster.v3.Cluster
name: tls
type: STATIC
transport_socket:
  name: tls
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
    common_tls_context: { validation_context_sds_secret_config: { name: ca, sds_config: { resource_api_version: V3, ads: {} } } }
---
`
	const secret = `
"@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret
name: ca
validation_context: {}
---
`
	for name, c := range map[string]struct {
		user, userYAML    string
		typeURL, resource string
		yaml              string
		there             func(*rig) bool
	}{
		"endpoints": {xds.ClusterType, edsCluster, xds.EndpointType, "ends", endpoints, func(r *rig) bool { return r.Snapshot().Endpoints.Get("ends") != nil }},
		"routes":    {xds.ListenerType, at(rdsListener, "l", "1"), xds.RouteType, "web", strings.ReplaceAll(routes, "%DOMAINS%", `"*"`), func(r *rig) bool { return r.Snapshot().Routes.Get("web") != nil }},
		"secrets":   {xds.ClusterType, tlsCluster, xds.SecretType, "ca", secret, func(r *rig) bool { return r.Snapshot().Secrets.Get("ca") != nil }},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, nil)
			if err := r.full(t, c.user, "1", c.userYAML); err != nil {
				t.Fatal(err)
			}
			if err := r.Update(t.Context(), xds.Update{Type: c.typeURL, Version: "1", Resources: resources(t, c.yaml)}); err != nil {
				t.Fatal(err)
			}
			remove := func(expired bool) {
				t.Helper()
				if err := r.Update(t.Context(), xds.Update{Type: c.typeURL, Version: "2", Removed: []string{c.resource}, Expired: expired}); err != nil {
					t.Fatal(err)
				}
			}
			if remove(false); !c.there(r) {
				t.Error("gone when the control plane said so")
			}
			if remove(true); c.there(r) {
				t.Error("there after its TTL")
			}
		})
	}
}

// What waits for endpoints goes on without them when there are none.
func TestRemovalEndsTheWait(t *testing.T) {
	r := newRig(t, nil)
	if err := r.full(t, xds.ClusterType, "1", edsCluster); err != nil {
		t.Fatal(err)
	}
	if err := r.Update(t.Context(), xds.Update{Type: xds.EndpointType, Version: "1", Removed: []string{"ends"}}); err != nil {
		t.Fatal(err)
	}
	if got := r.clusters(); len(got) != 1 {
		t.Errorf("clusters = %v", got)
	}
}
