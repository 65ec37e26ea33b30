package store

import (
	"errors"
	"strings"
	"testing"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/config/xds"
)

// TestAttemptsOfPolls has a poller count its requests for the subscriptions that it has, whether they have settled or not,
// and for no others.
func TestAttemptsOfPolls(t *testing.T) {
	const rest = "api_config_source: { api_type: REST, transport_api_version: V3, cluster_names: [cp], refresh_delay: 1s }"
	r := newRig(t, nil)
	polled := strings.ReplaceAll(edsCluster, "ads: {}", rest)
	streamed := strings.NewReplacer("name: eds", "name: other", "service_name: ends", "service_name: others").Replace(edsCluster)
	if err := r.full(t, xds.ClusterType, "1", polled+streamed); err != nil {
		t.Fatal(err)
	}
	r.counter(t, "cluster.eds.update_attempt", 0)
	r.counter(t, "cluster.other.update_attempt", 1)
	source := r.deps.wanted(xds.EndpointType, "ends").source
	asked := xds.Asked{Type: xds.EndpointType, Source: source.ID(), Names: []string{"ends", "gone"}}
	poll := func() {
		r.Attempt(asked)
		if err := r.Update(t.Context(), xds.Update{Type: xds.EndpointType, Source: source.ID(), Version: "1", Full: true, Resources: resources(t, endpoints)}); err != nil {
			t.Fatal(err)
		}
	}
	poll()
	poll()
	r.Attempt(asked)
	r.Failure(asked, errors.New("the network"))
	r.counter(t, "cluster.eds.update_attempt", 3)
	r.counter(t, "cluster.eds.update_success", 2)
	r.counter(t, "cluster.eds.update_failure", 1)
	r.counter(t, "cluster.other.update_attempt", 1)
	r.counter(t, "cluster.other.update_failure", 0)
	// CDS is of the aggregated stream: its beginning and its response.
	r.Attempt(xds.Asked{Type: xds.ClusterType, Source: source.ID(), All: true})
	r.counter(t, "cluster_manager.cds.update_attempt", 2)
}

// TestAttemptsOfCollections has a subscription to a collection count what its poller asks by the collection's name.
func TestAttemptsOfCollections(t *testing.T) {
	const name = "xdstp://a/envoy.config.listener.v3.Listener/web/*"
	r := newRig(t, nil)
	r.Follow(&model.Source{Kind: model.SourcePath, Path: "/x", Collection: name}, xds.ListenerType)
	before := r.stats.Root().Counter("listener_manager.lds.update_attempt").Value()
	r.Attempt(xds.Asked{Type: xds.ListenerType, Source: "elsewhere", Names: []string{name}})
	r.Attempt(xds.Asked{Type: xds.ListenerType, Source: "elsewhere", Names: []string{"other"}})
	r.Attempt(xds.Asked{Type: xds.ListenerType, All: true})
	r.counter(t, "listener_manager.lds.update_attempt", before+1)
}
