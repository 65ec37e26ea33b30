package xds

import (
	"slices"
	"testing"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"

	"github.com/weir-proxy/weir/pkg/config/model"
)

// A name of an authority goes to its server in canonical form, with what is told of the node, and comes back as it was given.
func TestAuthoritiesServeTheirNames(t *testing.T) {
	own, ads := newFake(t, ""), newFake(t, "")
	h := newRecorder()
	source := apiSource("own")
	source.Type = model.APIAggregatedDeltaGRPC
	dial := map[string]func() (grpc.ClientConnInterface, error){"own": serverAt(t, own.addr).Dial, "ads": serverAt(t, ads.addr).Dial}
	adsAPI := apiSource("ads")
	adsAPI.Type = model.APIDeltaGRPC
	s := startSources(t, SourcesOptions{
		ADS: adsAPI, Handler: h, Dial: func(g model.GRPCService) (grpc.ClientConnInterface, error) { return dial[g.Cluster]() },
		Authorities: map[string]*model.Source{"a.test": {Kind: model.SourceAPI, API: source}},
		NodeContext: map[string]string{"xds.node.id": "n"},
	})
	const (
		given     = "xdstp://a.test/envoy.config.endpoint.v3.ClusterLoadAssignment/x?b=2&a=1"
		canonical = "xdstp://a.test/envoy.config.endpoint.v3.ClusterLoadAssignment/x?a=1&b=2&xds.node.id=n"
		other     = "xdstp://b.test/envoy.config.endpoint.v3.ClusterLoadAssignment/y"
	)
	anywhere := &model.Source{Kind: model.SourceADS}
	s.Subscribe(anywhere, EndpointType, given)
	st := receive(t, own.streams)
	if q := receive(t, st.delta); !slices.Equal(q.ResourceNamesSubscribe, []string{canonical}) {
		t.Errorf("asked for %v", q.ResourceNamesSubscribe)
	}
	st.send(true, EndpointType, "v1", "1", &discoveryv3.Resource{Name: canonical, Version: "1", Resource: body(t, "x")})
	if u := h.next(t); u.Resources[0].Name != given {
		t.Errorf("name %s", u.Resources[0].Name)
	}
	receive(t, st.delta)
	st.change(EndpointType, "2", canonical+"-")
	if u := h.next(t); !slices.Equal(u.Removed, []string{given}) {
		t.Errorf("removed %v", u.Removed)
	}
	// Another authority's names go where their reference says; a bad name goes as it is.
	s.Subscribe(anywhere, EndpointType, other)
	st = receive(t, ads.streams)
	if q := receive(t, st.delta); !slices.Equal(q.ResourceNamesSubscribe, []string{other + "?xds.node.id=n"}) {
		t.Errorf("asked for %v", q.ResourceNamesSubscribe)
	}
	s.Subscribe(anywhere, EndpointType, "xdstp://bad")
	if q := receive(t, st.delta); !slices.Equal(q.ResourceNamesSubscribe, []string{"xdstp://bad"}) {
		t.Errorf("asked for %v", q.ResourceNamesSubscribe)
	}
	s.Unsubscribe(anywhere, EndpointType, other)
	if q := receive(t, st.delta); !slices.Equal(q.ResourceNamesUnsubscribe, []string{other + "?xds.node.id=n"}) {
		t.Errorf("left %v", q.ResourceNamesUnsubscribe)
	}
}

func TestCollectionsAreFollowedByName(t *testing.T) {
	f, h := newFake(t, ""), newRecorder()
	api := apiSource("ads")
	api.Type = model.APIDeltaGRPC
	s := startSources(t, SourcesOptions{ADS: api, Handler: h, Dial: func(model.GRPCService) (grpc.ClientConnInterface, error) { return serverAt(t, f.addr).Dial() }})
	const all = "xdstp:///envoy.config.cluster.v3.Cluster/all/"
	s.SubscribeAll(&model.Source{Kind: model.SourceADS, Collection: all + "*"}, ClusterType)
	st := receive(t, f.streams)
	if q := receive(t, st.delta); !slices.Equal(q.ResourceNamesSubscribe, []string{all + "*"}) {
		t.Errorf("asked for %v", q.ResourceNamesSubscribe)
	}
	st.send(true, ClusterType, "v1", "1", &discoveryv3.Resource{Name: all + "one", Version: "1", Resource: body(t, all+"one")})
	if u := h.next(t); u.Resources[0].Name != all+"one" || u.Full {
		t.Errorf("update %+v", u)
	}
	st.fail(nil)
	q := receive(t, receive(t, f.streams).delta)
	if len(q.InitialResourceVersions) != 1 || q.InitialResourceVersions[all+"one"] != "1" {
		t.Errorf("initial versions %v", q.InitialResourceVersions)
	}
}
