package store

import (
	"errors"
	"log/slog"
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

const (
	inFile      = "path_config_source: { path: /nowhere/a }"
	inOtherFile = "path_config_source: { path: /nowhere/b }"
)

func second(cluster string) string { return strings.ReplaceAll(cluster, "name: eds", "name: second") }

// A resource that two want from two sources comes from the one that was named last, with a warning, and from the other one again
// once nobody wants it from there.
func TestTwoSourcesAtOnce(t *testing.T) {
	var log strings.Builder
	m := &moves{sources: &sources{wanted: map[string]bool{}}}
	r := newRig(t, func(o *Options) {
		o.Sources, o.Log = m, slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn}))
	})
	if err := r.full(t, xds.ClusterType, "1", edsCluster); err != nil {
		t.Fatal(err)
	}
	if err := r.full(t, xds.EndpointType, "1", endpoints); err != nil {
		t.Fatal(err)
	}
	if err := r.full(t, xds.ClusterType, "2", edsCluster+second(strings.ReplaceAll(edsCluster, "ads: {}", inFile))); err != nil {
		t.Fatal(err)
	}
	if log.Len() > 0 {
		t.Errorf("warned while it may be an update: %s", log.String())
	}
	fromFile := xds.Update{Type: xds.EndpointType, Version: "1", Full: true, Source: `path "/nowhere/a" ""`, Resources: resources(t, endpoints)}
	if err := r.Update(t.Context(), fromFile); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"from two sources at once", "name=ends", `/nowhere/a`, "other_source=ads"} {
		if strings.Count(log.String(), want) != 1 {
			t.Errorf("the log does not say %q once: %s", want, log.String())
		}
	}
	m.log = nil
	if err := r.full(t, xds.ClusterType, "3", edsCluster); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"from ends at api", "to ends at ads"}, m.log); diff != "" {
		t.Error(diff)
	}
}

// A file that holds more than was wanted of it delivers that only.
func TestForeign(t *testing.T) {
	r := newRig(t, nil)
	if err := r.full(t, xds.ClusterType, "1", strings.ReplaceAll(edsCluster, "ads: {}", inFile)); err != nil {
		t.Fatal(err)
	}
	u := xds.Update{Type: xds.EndpointType, Version: "1", Full: true, Source: `path "/nowhere/b" ""`, Resources: resources(t, endpoints)}
	if err := r.Update(t.Context(), u); err != nil || r.hosts() > 0 {
		t.Errorf("%v, and %d hosts came from another file", err, r.hosts())
	}
	u.Source = `path "/nowhere/a" ""`
	if err := r.Update(t.Context(), u); err != nil || r.hosts() != 1 {
		t.Errorf("%v, and %d hosts came from the file", err, r.hosts())
	}
}

// What waits for a file goes on when that cannot be used, or does not hold what was asked for; it comes later, if it does.
func TestFilesThatDeliverNothing(t *testing.T) {
	for name, deliver := range map[string]func(*rig) error{
		"cannot be read": func(r *rig) error {
			r.Failure(xds.Asked{Type: xds.EndpointType, Source: `path "/nowhere/a" ""`, Names: []string{"ends"}}, errors.New("no such file"))
			return nil
		},
		"does not hold it": func(r *rig) error {
			return r.Update(t.Context(), xds.Update{Type: xds.EndpointType, Version: "1", Full: true, Source: `path "/nowhere/a" ""`})
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, nil)
			never := strings.ReplaceAll(edsCluster, "ads: {}", inFile+", initial_fetch_timeout: 0s")
			if err := r.full(t, xds.ClusterType, "1", never); err != nil {
				t.Fatal(err)
			}
			if d := r.Dump(); d.Clusters[0].Active != nil {
				t.Fatal("the cluster does not wait")
			}
			if err := deliver(r); err != nil {
				t.Fatal(err)
			}
			if d := r.Dump(); d.Clusters[0].Active == nil {
				t.Error("the cluster waits on")
			}
			u := xds.Update{Type: xds.EndpointType, Version: "2", Full: true, Source: `path "/nowhere/a" ""`, Resources: resources(t, endpoints)}
			if err := r.Update(t.Context(), u); err != nil || r.hosts() != 1 {
				t.Errorf("%v, and %d hosts came later", err, r.hosts())
			}
		})
	}
}
