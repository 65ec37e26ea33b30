package store

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/config/xds"
)

// moves records where subscriptions go.
type moves struct {
	*sources
	log []string
}

func (m *moves) Subscribe(src *model.Source, _, name string) {
	m.log = append(m.log, "to "+name+" at "+sourceName(src))
}

func (m *moves) Unsubscribe(src *model.Source, _, name string) {
	m.log = append(m.log, "from "+name+" at "+sourceName(src))
}

func sourceName(src *model.Source) string {
	if src.Kind == model.SourceADS {
		return "ads"
	}
	return "api"
}

// An update may have a resource come from another source; what came before serves until that delivers.
func TestMoveToAnotherSource(t *testing.T) {
	m := &moves{sources: &sources{wanted: map[string]bool{}}}
	r := newRig(t, func(o *Options) { o.Sources = m })
	const api = "api_config_source: { api_type: REST, transport_api_version: V3, cluster_names: [other], refresh_delay: 1s }"
	if err := r.full(t, xds.ClusterType, "1", edsCluster); err != nil {
		t.Fatal(err)
	}
	if err := r.full(t, xds.EndpointType, "1", endpoints); err != nil {
		t.Fatal(err)
	}
	m.log = nil
	if err := r.full(t, xds.ClusterType, "2", strings.ReplaceAll(edsCluster, "ads: {}", api)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"from ends at ads", "to ends at api"}, m.log); diff != "" {
		t.Error(diff)
	}
	if d := r.Dump(); d.Clusters[0].Warming == nil || d.Clusters[0].Active == nil {
		t.Error("the update of the cluster does not wait for the other source")
	}
	if r.hosts() != 1 {
		t.Errorf("%d hosts until then", r.hosts())
	}
	if err := r.full(t, xds.EndpointType, "1", endpoints); err != nil {
		t.Fatal(err)
	}
	if d := r.Dump(); d.Clusters[0].Warming != nil {
		t.Error("it waits on")
	}
}
