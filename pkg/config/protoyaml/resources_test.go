package protoyaml_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-proxy/weir/pkg/config/protoyaml"
)

const clusterURL = "type.googleapis.com/envoy.config.cluster.v3.Cluster"

func TestDecodeResources(t *testing.T) {
	cluster := func(name string) string { return `{"@type": ` + clusterURL + `, name: ` + name + `}` }
	const wrapper = "type.googleapis.com/envoy.service.discovery.v3.Resource"
	tests := []struct {
		name, src string
		want      string
		err       string
	}{
		{name: "empty", src: "# none\n---\n"},
		{name: "one", src: cluster("a"), want: "1:1  a\n"},
		{name: "documents", src: cluster("a") + "\n---\n\n" + cluster("b"), want: "1:1  a\n4:1  b\n"},
		{name: "list", src: "- " + cluster("a") + "\n- " + cluster("b"), want: "1:3 [0] a\n2:3 [1] b\n"},
		{
			name: "response", src: "version_info: '1'\nnonce: x\nresources:\n- " + cluster("a") + "\n- " + cluster("b"),
			want: "4:3 resources[0] a\n5:3 resources[1] b\n",
		},
		{name: "response with type", src: "'@type': type.googleapis.com/envoy.service.discovery.v3.DiscoveryResponse\nresources: " + cluster("a"), want: "2:12 resources[0] a\n"},
		{name: "response without resources", src: "resources: null"},
		{name: "JSON", src: `{"resources": [{"@type": "` + clusterURL + `", "name": "a"}]}`, want: "1:16 resources[0] a\n"},
		{
			name: "wrapped", src: `{"@type": ` + wrapper + `, name: nn, version: v, resource: ` + cluster("a") + `}`,
			want: "1:1  a in nn v\n",
		},
		{
			name: "wrapper without resource", src: `{"@type": ` + wrapper + `, name: nn}`,
			err: "r.yaml:1:1: the wrapper holds no resource",
		},
		{
			name: "good ones beside bad ones",
			src:  "resources:\n- " + cluster("a") + "\n- {name: x}\n- {'@type': " + clusterURL + ", nme: x}\n- text\n- " + cluster("''") + "\n- " + cluster("b"),
			want: "2:3 resources[0] a\n7:3 resources[5] b\n",
			err: `r.yaml:3:3: resources[1]: "@type" is missing: it says what kind of resource this is` + "\n" +
				`r.yaml:4:66: resources[2].nme: unknown field "nme" in envoy.config.cluster.v3.Cluster (did you mean "name"?)` + "\n" +
				`r.yaml:5:3: resources[3]: expected a resource with "@type", got the string "text"` + "\n" +
				`r.yaml:6:72: resources[4].name: value length must be at least 1 runes`,
		},
		{name: "wrong key beside resources", src: "versoin_info: 1\nresources: []", err: `r.yaml:1:1: versoin_info: unknown field "versoin_info" in envoy.service.discovery.v3.DiscoveryResponse (did you mean "version_info"?)`},
		{name: "text", src: "text", err: `r.yaml:1:1: expected a resource, a list of resources or a mapping with resources, got the string "text"`},
		{name: "syntax", src: "a: [", err: "r.yaml:1: not valid YAML: did not find expected node content"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			resources, _, err := protoyaml.DecodeResources([]byte(tt.src), "r.yaml", protoyaml.Options{})
			var got strings.Builder
			for _, r := range resources {
				fmt.Fprintf(&got, "%d:%d %s %s", r.Line, r.Column, r.Path, r.Message.(interface{ GetName() string }).GetName())
				if r.Wrapper != nil {
					fmt.Fprintf(&got, " in %s %s", r.Wrapper.GetName(), r.Wrapper.GetVersion())
				}
				got.WriteByte('\n')
			}
			if diff := cmp.Diff(tt.want, got.String()); diff != "" {
				t.Errorf("resources (-want +got):\n%s", diff)
			}
			checkText(t, "error", text(err), tt.err)
		})
	}
}

func TestDecodeResourcesWarnings(t *testing.T) {
	src := "- {'@type': " + clusterURL + ", name: a, future: 1}"
	resources, warnings, err := protoyaml.DecodeResources([]byte(src), "r.yaml", protoyaml.Options{AllowUnknown: true})
	if err != nil || len(resources) != 1 || len(warnings) != 1 {
		t.Errorf("got %d resources, warnings %v, error %v", len(resources), warnings, err)
	}
}
