package bootstrap_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/weir-proxy/weir/pkg/config/bootstrap"
	"github.com/weir-proxy/weir/pkg/config/protoyaml"
	"github.com/weir-proxy/weir/test/golden"
)

func load(t *testing.T, opt bootstrap.Options) *bootstrapv3.Bootstrap {
	t.Helper()
	b, warnings, err := bootstrap.Load(opt)
	if err != nil || len(warnings) > 0 {
		t.Fatalf("warnings %v, error:\n%v", warnings, err)
	}
	return b
}

func write(t *testing.T, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, content, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestInventory loads the configuration that the README shows, with extension
// names of old and a filter without typed_config.
func TestInventory(t *testing.T) {
	b := load(t, bootstrap.Options{Path: "testdata/inventory.yaml", ServiceNode: "n", BuildMetadata: map[string]string{"weir.version": "test"}})
	got, err := protoyaml.Marshal(b, " ")
	if err != nil {
		t.Fatal(err)
	}
	golden.Check(t, "testdata/inventory.golden", append(got, '\n'))
}

// TestFormats loads one configuration in every format.
func TestFormats(t *testing.T) {
	want := load(t, bootstrap.Options{Path: "testdata/inventory.yaml"})
	text, err := os.ReadFile("testdata/inventory.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var plain bootstrapv3.Bootstrap
	if _, err := protoyaml.Decode(text, "", &plain, protoyaml.Options{}); err != nil {
		t.Fatal(err)
	}
	asJSON, err := protoyaml.Marshal(&plain, "")
	if err != nil {
		t.Fatal(err)
	}
	binary, err := proto.Marshal(&plain)
	if err != nil {
		t.Fatal(err)
	}
	asText, err := prototext.Marshal(&plain)
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{
		"b.yml": text, "b.YAML": text, "b": text, "b.conf": asJSON, "b.json": asJSON, "plain": asJSON, "b.pb": binary, "b.pb_text": asText,
	} {
		t.Run(name, func(t *testing.T) {
			got := load(t, bootstrap.Options{Path: write(t, name, content)})
			if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	t.Run("inline", func(t *testing.T) {
		got := load(t, bootstrap.Options{InlineYAML: string(text)})
		if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

// TestMerge checks that the inline text replaces values, merges messages and
// appends to lists, and that only the whole has to be valid.
func TestMerge(t *testing.T) {
	b := load(t, bootstrap.Options{
		Path: "testdata/partial.yaml",
		InlineYAML: `
node: {cluster: inline}
static_resources: {clusters: {name: two, type: STATIC, connect_timeout: 1s}}
dynamic_resources: {ads_config: {api_type: DELTA_GRPC, grpc_services: {envoy_grpc: {cluster_name: one}}}}`,
	})
	var names []string
	for _, c := range b.GetStaticResources().GetClusters() {
		names = append(names, c.GetName())
	}
	if diff := cmp.Diff([]string{"one", "two"}, names); diff != "" {
		t.Errorf("clusters (-want +got):\n%s", diff)
	}
	ads := b.GetDynamicResources().GetAdsConfig()
	if ads.GetApiType() != corev3.ApiConfigSource_DELTA_GRPC || len(ads.GetGrpcServices()) != 1 {
		t.Errorf("ads_config is not merged: %v", ads)
	}
	if n := b.GetNode(); n.GetId() != "file" || n.GetCluster() != "inline" || n.GetLocality().GetZone() != "file" {
		t.Errorf("node is not merged: %v", n)
	}
}

// TestNode checks who wins between flags, configuration and program.
func TestNode(t *testing.T) {
	extensions := []*corev3.Extension{{Name: "envoy.filters.http.router", Category: "envoy.filters.http"}}
	b := load(t, bootstrap.Options{
		InlineYAML:  `node: {id: a, cluster: b, locality: {region: r, zone: z}, user_agent_name: mine, client_features: [x]}`,
		ServiceNode: "node", ServiceCluster: "cluster", ServiceZone: "zone",
		Extensions: extensions, ClientFeatures: []string{"x", "y"},
	})
	n := b.GetNode()
	got := []string{n.GetId(), n.GetCluster(), n.GetLocality().GetRegion(), n.GetLocality().GetZone(), n.GetUserAgentName(), strings.Join(n.GetClientFeatures(), " ")}
	if diff := cmp.Diff([]string{"node", "cluster", "r", "zone", "mine", "x y"}, got); diff != "" {
		t.Errorf("node (-want +got):\n%s", diff)
	}
	if v := n.GetUserAgentBuildVersion().GetVersion(); v.GetMajorNumber() != 1 || v.GetMinorNumber() != 32 {
		t.Errorf("build version is %v", v)
	}
	if diff := cmp.Diff(extensions, n.GetExtensions(), protocmp.Transform()); diff != "" {
		t.Errorf("extensions (-want +got):\n%s", diff)
	}
	set := load(t, bootstrap.Options{InlineYAML: `node: {user_agent_build_version: {version: {major_number: 9}}}`, ServiceZone: "z"})
	if v := set.GetNode().GetUserAgentBuildVersion().GetVersion(); v.GetMajorNumber() != 9 || set.GetNode().GetLocality().GetZone() != "z" {
		t.Errorf("node is %v", set.GetNode())
	}
	if name := set.GetNode().GetUserAgentName(); name != "envoy" {
		t.Errorf("user_agent_name is %q", name)
	}
}

func TestErrors(t *testing.T) {
	unknown := append([]byte{}, 0xf8, 0x3f, 0x01) // field 1023, varint 1
	tests := []struct {
		name string
		opt  bootstrap.Options
		want string
	}{
		{"nothing", bootstrap.Options{InlineYAML: " \n"}, "load bootstrap configuration: neither --config-path nor --config-yaml is given"},
		{"no file", bootstrap.Options{Path: "/nowhere/b.yaml"}, "load bootstrap configuration: open /nowhere/b.yaml: no such file or directory"},
		{"inline", bootstrap.Options{InlineYAML: "admn: {}"}, `--config-yaml:1:1: admn: unknown field "admn" in envoy.config.bootstrap.v3.Bootstrap (did you mean "admin"?)`},
		{"both sources are reported", bootstrap.Options{Path: "testdata/wrong.yaml", InlineYAML: "admn: {}"}, "testdata/wrong.yaml:1:7: node: expected"},
		{"both sources are reported, second", bootstrap.Options{Path: "testdata/wrong.yaml", InlineYAML: "admn: {}"}, "--config-yaml:1:1: admn"},
		{"merged", bootstrap.Options{Path: "testdata/inventory.yaml", InlineYAML: "static_resources: {clusters: {name: ''}}"}, "--config-yaml:1:37: static_resources.clusters[1].name: value length"},
		{"binary", bootstrap.Options{Path: write(t, "b.pb", []byte{0xff})}, "proto"},
		{"binary, unknown field", bootstrap.Options{Path: write(t, "b.pb", unknown)}, "b.pb: unknown field number 1023 in envoy.config.bootstrap.v3.Bootstrap"},
		{"text", bootstrap.Options{Path: write(t, "b.pb_text", []byte("admn {}"))}, "unknown field: admn"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b, _, err := bootstrap.Load(tt.opt)
			if err == nil || b != nil {
				t.Fatalf("got %v, error %v", b, err)
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error is\n%v\nwant in it\n%s", err, tt.want)
			}
		})
	}
	_, _, err := bootstrap.Load(bootstrap.Options{Path: "testdata/wrong.yaml"})
	if list := protoyaml.Errors(nil); !errors.As(err, &list) || len(list) != 2 {
		t.Errorf("errors are %v", err)
	}
}

func TestAllowUnknownStatic(t *testing.T) {
	unknown := write(t, "b.pb", []byte{0xf8, 0x3f, 0x01})
	tests := []struct {
		name string
		opt  bootstrap.Options
		want int
	}{
		{"inline", bootstrap.Options{InlineYAML: "admn: {}\nnode: {ids: a}"}, 2},
		{"binary", bootstrap.Options{Path: unknown}, 1},
		{"both", bootstrap.Options{Path: unknown, InlineYAML: "admn: {}"}, 2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.opt.AllowUnknownStatic = true
			_, warnings, err := bootstrap.Load(tt.opt)
			if err != nil || len(warnings) != tt.want {
				t.Errorf("got %d warnings %v, error %v, want %d", len(warnings), warnings, err, tt.want)
			}
		})
	}
}
