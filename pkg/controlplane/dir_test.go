package controlplane

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// follower is a delta client of all clusters.
func follower(t *testing.T, addr string) func(want ...string) {
	t.Helper()
	c := newDeltaClient(t, addr, &corev3.Node{Id: "n"})
	c.subscribe(resource.ClusterType, "*")
	return func(want ...string) {
		t.Helper()
		if diff := cmp.Diff(want, told(c.receive())); diff != "" {
			t.Error(diff)
		}
	}
}

// The volume of a ConfigMap: the files are links through ..data, which is replaced in one step.
func TestFollowsAConfigMap(t *testing.T) {
	dir := t.TempDir()
	version := func(n int, content string) {
		t.Helper()
		data := filepath.Join(dir, fmt.Sprintf("..v%d", n))
		fill(t, data, map[string]string{"cds.yaml": content})
		link := filepath.Join(dir, "..data_tmp")
		if err := os.Symlink(filepath.Base(data), link); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(link, filepath.Join(dir, "..data")); err != nil {
			t.Fatal(err)
		}
	}
	version(1, clusterYAML("one"))
	if err := os.Symlink("..data/cds.yaml", filepath.Join(dir, "cds.yaml")); err != nil {
		t.Fatal(err)
	}
	_, addr, _ := watching(t, dir, Options{})
	expect := follower(t, addr)
	expect("one")
	version(2, clusterYAML("one")+"---\n"+clusterYAML("two"))
	expect("two")
	version(3, clusterYAML("one"))
	expect("-two")
}

func TestFollowsADirectoryThatIsReplaced(t *testing.T) {
	parent := t.TempDir()
	fill(t, parent, map[string]string{"r1/a/x.yaml": clusterYAML("one"), "r2/a/x.yaml": clusterYAML("two"), "r2/b/y.yaml": clusterYAML("three")})
	dir := filepath.Join(parent, "now")
	swap := func(to string) {
		t.Helper()
		if err := os.Symlink(to, dir+".new"); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(dir+".new", dir); err != nil {
			t.Fatal(err)
		}
	}
	swap("r1")
	s, _, logs := watching(t, dir, Options{})
	swap("r2")
	logs.await(t, "2 Cluster")
	// What is in the new directory is followed, too.
	fill(t, parent, map[string]string{"r2/b/z.yaml": clusterYAML("four")})
	logs.await(t, "3 Cluster")
	if got := groupNames(s)[""]; got != "four three two" {
		t.Errorf("served: %s", got)
	}
}

func TestWaitsForAFileThatIsBeingWritten(t *testing.T) {
	dir := t.TempDir()
	fill(t, dir, map[string]string{"a.yaml": clusterYAML("a") + "---\n" + clusterYAML("b")})
	_, addr, logs := watching(t, dir, Options{})
	expect := follower(t, addr)
	expect("a", "b")
	f, err := os.OpenFile(filepath.Join(dir, "a.yaml"), os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		t.Fatal(err)
	}
	// The first half is a good file; served, it would take b away.
	if _, err := f.WriteString(clusterYAML("a")); err != nil {
		t.Fatal(err)
	}
	fill(t, dir, map[string]string{"b.yaml": clusterYAML("other")})
	if _, err := f.WriteString("---\n" + clusterYAML("b") + "---\n" + clusterYAML("c")); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	expect("c", "other")
	logs.mu.Lock()
	defer logs.mu.Unlock()
	if strings.Contains(logs.text.String(), "ERROR") {
		t.Errorf("errors: %s", logs.text.String())
	}
}

func TestFormsOfFiles(t *testing.T) {
	body, err := anypb.New(cluster("c"))
	if err != nil {
		t.Fatal(err)
	}
	named, err := anypb.New(&discoveryv3.Resource{Name: "d", Resource: mustAny(t, cluster("d"))})
	if err != nil {
		t.Fatal(err)
	}
	binary, err := proto.Marshal(&discoveryv3.DiscoveryResponse{Resources: []*anypb.Any{body}})
	if err != nil {
		t.Fatal(err)
	}
	text, err := prototext.Marshal(&discoveryv3.DiscoveryResponse{Resources: []*anypb.Any{named}})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	fill(t, dir, map[string]string{
		"deep/er/a.yml": clusterYAML("a"), "b.json": `[{"@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster", "name": "b"}]`,
		"c.pb": string(binary), "d.pb_text": string(text),
		"e.yaml~": "][", ".e.yaml.swp": "][", "#e.yaml#": "][", "README.md": "][", ".hidden/e.yaml": "][", "empty.yaml": "",
	})
	s, _, _ := watching(t, dir, Options{})
	if got := groupNames(s)[""]; got != "a b c d" {
		t.Errorf("served: %s", got)
	}
	for name, file := range map[string][2]string{
		"binary":  {"x.pb", "\x01\x02\x03"},
		"text":    {"x.pb_text", "resources {\n  oops: 1\n}"},
		"unknown": {"x.pb_text", `resources { type_url: "type.googleapis.com/none.such" }`},
		"nothing": {"x.yaml", "null_point: 1"},
	} {
		dir := t.TempDir()
		fill(t, dir, map[string]string{file[0]: file[1]})
		if err := s.LoadDir(dir); err == nil || !strings.Contains(err.Error(), file[0]) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func mustAny(t *testing.T, m message) *anypb.Any {
	t.Helper()
	body, err := anypb.New(m)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

func TestNamesOfWrappedResources(t *testing.T) {
	const endpoint = `{"@type": type.googleapis.com/envoy.config.endpoint.v3.LbEndpoint, endpoint: {hostname: x}}`
	const cluster = `{"@type": type.googleapis.com/envoy.config.cluster.v3.Cluster, name: c}`
	const host = `{"@type": type.googleapis.com/envoy.config.route.v3.VirtualHost, name: h, domains: [h.test]}`
	wrapped := func(more, inner string) string {
		return "{\"@type\": " + wrapperType + ", " + more + "resource: " + inner + "}"
	}
	for name, tt := range map[string]struct{ file, want string }{
		"endpoint without a name":    {endpoint, "LbEndpoint: it has no name: wrap it"},
		"endpoint with a name":       {wrapped("name: 'xdstp://a/envoy.config.endpoint.v3.LbEndpoint/c/1', ", endpoint), ""},
		"another name than its own":  {wrapped("name: d, ", cluster), `the wrapper's name differs from the resource's own name "c"`},
		"time to live":               {wrapped("ttl: 1s, ", cluster), "ttl: is not supported"},
		"version":                    {wrapped("version: x, ", cluster), "version: it is the hash"},
		"host without its routes":    {host, "the name must be ROUTE_CONFIGURATION/VIRTUAL_HOST"},
		"host with routes":           {wrapped("name: r/h, ", host), ""},
		"something that is not xDS":  {`{"@type": type.googleapis.com/envoy.config.core.v3.Node, id: x}`, "Node: only Cluster, "},
		"a rule of the API":          {`{"@type": type.googleapis.com/envoy.config.cluster.v3.Cluster, name: ""}`, "a.yaml:1:"},
		"the same name in two files": {cluster + "\n---\n" + cluster, `another one of that name, at `},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			fill(t, dir, map[string]string{"a.yaml": tt.file})
			s := New(Options{})
			err := s.LoadDir(dir)
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "a.yaml:")) {
				t.Errorf("error = %v, want %q", err, tt.want)
			}
		})
	}
}

// One file of many changes: the others are not decoded again.
func TestReadsOnlyWhatChanged(t *testing.T) {
	dir := t.TempDir()
	for i := range 20 {
		fill(t, dir, map[string]string{fmt.Sprintf("%02d.yaml", i): clusterYAML(fmt.Sprintf("c%02d", i))})
	}
	s := New(Options{})
	if err := s.LoadDir(dir); err != nil {
		t.Fatal(err)
	}
	before := s.sets[everyone].tables
	fill(t, dir, map[string]string{"07.yaml": strings.Replace(clusterYAML("c07"), "1s", "2s", 1)})
	if err := s.LoadDir(dir); err != nil {
		t.Fatal(err)
	}
	after := s.sets[everyone].tables
	for name, i := range after[resource.ClusterType].items {
		if same := before[resource.ClusterType].items[name] == i; same == (name == "c07") {
			t.Errorf("%s: the same item: %t", name, same)
		}
	}
	if before[resource.EndpointType] != after[resource.EndpointType] {
		t.Error("a type without changes has another table")
	}
}

func TestWarnsOfWhatIsMissing(t *testing.T) {
	dir := t.TempDir()
	fill(t, dir, map[string]string{"a.yaml": clusterA, "r.yaml": `"@type": type.googleapis.com/envoy.config.route.v3.RouteConfiguration
name: r
virtual_hosts:
- {name: h, domains: ["*"], routes: [{match: {prefix: /}, route: {weighted_clusters: {clusters: [{name: a, weight: 1}, {name: gone, weight: 1}]}}}]}
`})
	s := New(Options{})
	if err := s.LoadDir(dir); err != nil {
		t.Fatal(err)
	}
	want := []string{
		dir + `/a.yaml:1:1: Cluster "a" refers to ClusterLoadAssignment a, which is not served`,
		dir + `/r.yaml:1:1: RouteConfiguration "r" refers to Cluster gone, which is not served`,
	}
	if diff := cmp.Diff(want, s.LoadState().Warnings); diff != "" {
		t.Error(diff)
	}
}
