package xds

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-proxy/weir/pkg/config/model"
)

// Fields that no message has cannot be in what a text was decoded to. They come along by resource.
func TestTextTellsOfUnknownFields(t *testing.T) {
	const cluster = `"@type": type.googleapis.com/envoy.config.cluster.v3.Cluster`
	for _, tc := range []struct{ name, text string }{
		{"bare", `{"resources": [{"@type": "` + ClusterType + `", "name": "a"},
			{"@type": "` + ClusterType + `", "name": "b", "newer": 1, "common_lb_config": {"newest": {}}}]}`},
		{"wrapped", `{"resources": [{"@type": "` + ClusterType + `", "name": "a"},
			{"@type": "type.googleapis.com/envoy.service.discovery.v3.Resource", "name": "b",
			 "resource": {"@type": "` + ClusterType + `", "name": "b", "newer": 1, "commonLbConfig": {"newest": {}}}}]}`},
	} {
		check := func(t *testing.T, u Update) {
			t.Helper()
			if len(u.Resources) != 2 || u.Resources[0].Unknown != nil {
				t.Fatalf("update %+v", u)
			}
			var got []string
			for _, e := range u.Resources[1].Unknown {
				got = append(got, e.Path+": "+e.Reason)
			}
			want := []string{
				`newer: unknown field "newer" in envoy.config.cluster.v3.Cluster`,
				`common_lb_config.newest: unknown field "newest" in envoy.config.cluster.v3.Cluster.CommonLbConfig`,
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		}
		t.Run(tc.name+" in a file", func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "cds.json")
			replace(t, path, tc.text)
			h := newRecorder()
			startSources(t, SourcesOptions{Handler: h}).SubscribeAll(&model.Source{Kind: model.SourcePath, Path: path}, ClusterType)
			check(t, h.next(t))
		})
		t.Run(tc.name+" over REST", func(t *testing.T) {
			server, h := newRESTServer(t), newRecorder()
			startREST(t, h, patience, server)
			server.answers <- restAnswer{200, tc.text}
			check(t, h.next(t))
		})
	}
	t.Run("what is not JSON is no answer", func(t *testing.T) {
		if _, _, err := decodeREST([]byte("resources:\n- " + cluster + "\n")); err == nil || !strings.Contains(err.Error(), "cannot be read") {
			t.Errorf("error %v", err)
		}
	})
	t.Run("JSON as Envoy reads it", func(t *testing.T) {
		r, _, err := decodeREST([]byte(`{"resources": {"@type": "` + ClusterType + `", "name": "a", "type": "static"}}`))
		if err != nil || len(r.GetResources()) != 1 {
			t.Errorf("%v, %v", r, err)
		}
	})
}
