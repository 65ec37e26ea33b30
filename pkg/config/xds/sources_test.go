package xds

import (
	"os"
	"path/filepath"
	"testing"

	_ "github.com/weir-proxy/weir/pkg/config/apitypes"
	"github.com/weir-proxy/weir/pkg/config/filewatch"
	"github.com/weir-proxy/weir/pkg/config/model"
)

const twoClusters = `
version_info: "7"
resources:
- "@type": type.googleapis.com/envoy.config.cluster.v3.Cluster
  name: a
  connect_timeout: 1s
- "@type": type.googleapis.com/envoy.config.cluster.v3.Cluster
  name: b
`

func TestFileSourceDeliversContentAndChanges(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cds.yaml")
	replace(t, path, twoClusters)
	h := newRecorder()
	s := startSources(t, SourcesOptions{Handler: h})
	src := &model.Source{Kind: model.SourcePath, Path: path}
	s.SubscribeAll(src, ClusterType)

	u := h.next(t)
	if u.Type != ClusterType || u.Version != "7" || !u.Full || len(u.Resources) != 2 {
		t.Fatalf("update = %+v", u)
	}
	replace(t, path, "resources: []\n")
	if u := h.next(t); len(u.Resources) != 0 || u.Version == "" || u.Version == "7" {
		t.Fatalf("update after emptying = %+v", u)
	}
}

func replace(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path+".new", []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

func startSources(t *testing.T, opt SourcesOptions) *Sources {
	t.Helper()
	w, err := filewatch.New()
	if err != nil {
		t.Fatal(err)
	}
	opt.Watch, opt.Log, opt.Node = w, testLog(t), testNode
	s := NewSources(opt)
	s.Start(t.Context())
	t.Cleanup(func() {
		s.Close()
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}
