package controlplane

import (
	"context"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/structpb"
)

func TestGroupOfANode(t *testing.T) {
	node := &corev3.Node{Id: "i", Cluster: "c", Metadata: &structpb.Struct{Fields: map[string]*structpb.Value{
		"fleet": structpb.NewStringValue("f"), "number": structpb.NewNumberValue(1),
		"nested": structpb.NewStructValue(&structpb.Struct{Fields: map[string]*structpb.Value{"key": structpb.NewStringValue("k")}}),
	}}}
	for by, want := range map[string]string{
		"": "", "id": "i", "cluster": "c", "metadata:fleet": "f", "metadata:nested.key": "k", "metadata:number": "", "metadata:none.of.it": "",
	} {
		g, err := ParseGroupBy(by)
		if err != nil || g.String() != by || g.of(node) != want || g.of(nil) != "" {
			t.Errorf("%q: %q, %v, want %q", by, g.of(node), err, want)
		}
	}
	for _, by := range []string{"zone", "metadata", "metadata:", "id:x"} {
		if _, err := ParseGroupBy(by); err == nil {
			t.Errorf("%q is taken", by)
		}
	}
}

// fill makes the files of a directory.
func fill(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		write(t, path, content)
	}
}

func clusterYAML(name string) string {
	return "\"@type\": type.googleapis.com/envoy.config.cluster.v3.Cluster\nname: " + name + "\nconnect_timeout: 1s\n"
}

// watching starts a server that follows dir.
func watching(t *testing.T, dir string, opt Options) (*Server, string, *logBuffer) {
	t.Helper()
	logs := &logBuffer{grew: make(chan struct{})}
	opt.Log = slog.New(slog.NewTextHandler(logs, nil))
	s := New(opt)
	if err := s.LoadDir(dir); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := s.WatchDir(ctx, dir); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { stop(); wg.Wait() })
	return s, serveOn(t, s), logs
}

func groupNames(s *Server) map[string]string {
	out := map[string]string{}
	for group, types := range s.Groups() {
		for _, x := range types {
			out[group] += strings.Join(x.Names, " ")
		}
	}
	return out
}

func TestGroups(t *testing.T) {
	dir := t.TempDir()
	override := strings.Replace(clusterYAML("shared"), "1s", "2s", 1)
	fill(t, dir, map[string]string{
		"top.yaml": clusterYAML("top"), "_shared/deep/s.yaml": clusterYAML("shared"), "_default/d.yaml": clusterYAML("rest"),
		"web/w.yaml": clusterYAML("web") + "---\n" + override, "a%2Fb/x.json": `{"resources": []}`, ".git/x.yaml": "][",
	})
	by, err := ParseGroupBy("cluster")
	if err != nil {
		t.Fatal(err)
	}
	s, addr, logs := watching(t, dir, Options{GroupBy: by})
	want := map[string]string{"": "rest shared top", "web": "shared top web", "a/b": "shared top"}
	if diff := cmp.Diff(want, groupNames(s)); diff != "" {
		t.Fatal(diff)
	}
	client := func(group string) (*deltaClient, func(want ...string)) {
		c := newDeltaClient(t, addr, &corev3.Node{Id: "of " + group, Cluster: group})
		c.subscribe(resource.ClusterType, "*")
		return c, func(want ...string) {
			t.Helper()
			if diff := cmp.Diff(want, told(c.receive())); diff != "" {
				t.Errorf("%s: %s", group, diff)
			}
		}
	}
	web, expectWeb := client("web")
	expectWeb("shared", "top", "web")
	late, expectLate := client("late")
	expectLate("rest", "shared", "top")

	t.Log("a group comes")
	if err := os.Mkdir(filepath.Join(dir, "late"), 0o700); err != nil {
		t.Fatal(err)
	}
	expectLate("-rest")
	fill(t, dir, map[string]string{"late/l.yaml": clusterYAML("late")})
	expectLate("late")

	t.Log("a fault in one group leaves the others alone")
	fill(t, dir, map[string]string{"web/bad.yaml": "\nname: 1\n"})
	logs.await(t, "web/bad.yaml:2:1")
	fill(t, dir, map[string]string{"late/l.yaml": clusterYAML("later")})
	if got := told(late.receive()); len(got) == 1 {
		expectLate("-late")
	}
	if st := s.LoadState(); len(st.Errors) != 1 || cmp.Diff([]string{"web"}, st.Groups) != "" {
		t.Errorf("state = %+v", st)
	}

	t.Log("a fault in what is shared stops all")
	before := groupNames(s)
	fill(t, dir, map[string]string{"_shared/bad.yaml": "\n\nname: 1\n"})
	logs.await(t, "_shared/bad.yaml:3:")
	fill(t, dir, map[string]string{"_other/bad.yaml": ""})
	logs.await(t, "_other is not the name of a group")
	if diff := cmp.Diff(before, groupNames(s)); diff != "" {
		t.Error(diff)
	}
	for _, name := range []string{"_other", "_shared/bad.yaml", "web/bad.yaml"} {
		if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	logs.await(t, "can be used again")

	t.Log("a group goes")
	if err := os.RemoveAll(filepath.Join(dir, "web")); err != nil {
		t.Fatal(err)
	}
	got := map[string]bool{}
	for len(got) < 3 {
		for _, x := range told(web.receive()) {
			got[x] = true
		}
	}
	if diff := cmp.Diff(map[string]bool{"rest": true, "shared": true, "-web": true}, maps.Clone(got)); diff != "" {
		t.Error(diff)
	}
	late.silent(resource.ClusterType)
}
