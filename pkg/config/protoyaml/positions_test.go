package protoyaml

import (
	"fmt"
	"testing"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
)

const positionsText = `node: {id: a}
x: &shared
  name: merged
staticResources:
  clusters:
  - name: one
    connect_timeout: 1s
  - <<: *shared
    type: STATIC
  listeners:
    name: only
    filter_chains:
    - filters:
      - name: f
        typed_config:
          "@type": type.googleapis.com/udpa.type.v1.TypedStruct
          type_url: type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
          value:
            stat_prefix: p
            cluster: one
      - {name: g, typed_config: {"@type": type.googleapis.com/google.protobuf.Struct, value: {a.b: {"c]": 1}}}}
`

// TestPositions finds fields in a file alone, and in a file with a text merged over it.
func TestPositions(t *testing.T) {
	fill := func(file, text string) *Positions {
		p := &Positions{}
		if _, err := Decode([]byte(text), file, &bootstrapv3.Bootstrap{}, Options{AllowUnknown: true, SkipValidation: true, Positions: p}); err != nil {
			t.Fatal(err)
		}
		return p
	}
	alone := fill("f", positionsText)
	merged := alone.Merge(fill("inline", "node:\n  id: b\n  cluster: c\nstatic_resources:\n  clusters: [{name: three}, {name: four}]\n"))
	for _, tc := range []struct{ name, path, alone, merged string }{
		{"root", "", "f:1:1 true", "inline:1:1 true"},
		{"scalar", "node.id", "f:1:12 true", "inline:2:7 true"},
		{"only in the merged text", "node.cluster", "f:1:1 false", "inline:3:12 true"},
		{"key of a block", "static_resources.clusters", "f:5:3 true", "inline:5:3 true"},
		{"element", "static_resources.clusters[0].connect_timeout", "f:7:22 true", "f:7:22 true"},
		{"behind a merge key", "static_resources.clusters[1].name", "f:3:9 true", "f:3:9 true"},
		{"element that was appended", "static_resources.clusters[3].name", "f:4:1 false", "inline:5:36 true"},
		{"missing field", "static_resources.clusters[0].lb_policy", "f:6:5 false", "f:6:5 false"},
		{"single value for a list", "static_resources.listeners[0].name", "f:11:11 true", "f:11:11 true"},
		{"typed struct", "static_resources.listeners[0].filter_chains[0].filters[0].typed_config.cluster", "f:20:22 true", "f:20:22 true"},
		{"typed struct in full", "static_resources.listeners[0].filter_chains[0].filters[0].typed_config.value.cluster", "f:20:22 true", "f:20:22 true"},
		{"map keys", `static_resources.listeners[0].filter_chains[0].filters[1].typed_config.value["a.b"]`, "f:21:95 true", "f:21:95 true"},
		{"odd path", `a[b].["`, "f:1:1 false", "f:1:1 false"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			show := func(p *Positions) string {
				at, exact := p.Find(tc.path)
				return fmt.Sprintf("%s:%d:%d %v", at.File, at.Line, at.Column, exact)
			}
			if got := show(alone); got != tc.alone {
				t.Errorf("alone: %s, want %s", got, tc.alone)
			}
			if got := show(merged); got != tc.merged {
				t.Errorf("merged: %s, want %s", got, tc.merged)
			}
		})
	}
	if at, exact := (*Positions)(nil).Find("a"); at != (Position{}) || exact {
		t.Errorf("nil: %v, %v", at, exact)
	}
}

// FuzzPositions gives arbitrary paths to positions: the answer comes, and lies in the text.
func FuzzPositions(f *testing.F) {
	f.Add("a: [{b: 1}]", "a[0].b")
	f.Add("a: &x {<<: *x}", "a.b.c")
	f.Fuzz(func(t *testing.T, text, path string) {
		p := &Positions{}
		_, _ = Decode([]byte(text), "f", &bootstrapv3.Bootstrap{}, Options{AllowUnknown: true, SkipValidation: true, Positions: p})
		for _, one := range []*Positions{p, p.Merge(p)} {
			if at, _ := one.Find(path); at.Line < 0 || at.Column < 0 {
				t.Errorf("position %+v", at)
			}
		}
	})
}
