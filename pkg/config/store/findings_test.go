package store

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/weir-proxy/weir/pkg/config/protoyaml"
	"github.com/weir-proxy/weir/pkg/config/translate"
	"github.com/weir-proxy/weir/pkg/config/xds"
)

// TestFindings delivers a cluster with a field that weir does not act on, one that is newer than weir, and one that has
// another effect than may be expected: they are taken and counted by kind, or refused where that is asked for.
func TestFindings(t *testing.T) {
	const text = `
"@type": type.googleapis.com/envoy.config.cluster.v3.Cluster
name: plain
type: STATIC
track_cluster_stats: {}
upstream_config: {name: x, typed_config: {"@type": type.googleapis.com/google.protobuf.Struct}}
`
	newer := func(t *testing.T) []xds.Resource {
		list := resources(t, text)
		list[0].Body.Value = protowire.AppendVarint(protowire.AppendTag(list[0].Body.GetValue(), 9999, protowire.VarintType), 1)
		return list
	}
	t.Run("taken", func(t *testing.T) {
		r := newRig(t, nil)
		if err := r.Update(t.Context(), xds.Update{Type: xds.ClusterType, Version: "1", Full: true, Resources: newer(t)}); err != nil {
			t.Fatal(err)
		}
		r.counter(t, "weir.config.unsupported_fields", 1)
		r.counter(t, "server.dynamic_unknown_fields", 1)
	})
	unread := protoyaml.Error{Path: "newer.x", Reason: "unknown field", Code: protoyaml.CodeUnknownField}
	t.Run("of text", func(t *testing.T) {
		r := newRig(t, nil)
		lost := resources(t, text)
		push := func(unknown ...protoyaml.Error) {
			t.Helper()
			lost[0].Unknown = unknown
			if err := r.Update(t.Context(), xds.Update{Type: xds.ClusterType, Version: "1", Full: true, Resources: lost}); err != nil {
				t.Fatal(err)
			}
		}
		paths := func() string {
			var out []string
			for _, w := range r.Dump().Clusters[0].Active.Warnings {
				out = append(out, w.Path)
			}
			return strings.Join(out, " ")
		}
		push(unread)
		r.counter(t, "server.dynamic_unknown_fields", 1)
		if got := paths(); got != "load_assignment newer.x upstream_config" {
			t.Errorf("findings about %s", got)
		}
		push(unread)
		r.counter(t, "server.dynamic_unknown_fields", 1)
		push()
		if got := paths(); got != "load_assignment upstream_config" {
			t.Errorf("findings about %s after it was corrected", got)
		}
	})
	t.Run("of text, refused", func(t *testing.T) {
		r := newRig(t, func(o *Options) { o.RejectUnknown = true })
		list := resources(t, text)
		list[0].Unknown = []protoyaml.Error{unread}
		err := r.Update(t.Context(), xds.Update{Type: xds.ClusterType, Version: "1", Full: true, Resources: list})
		if err == nil || !strings.Contains(err.Error(), "newer.x: unknown field") {
			t.Errorf("error %v", err)
		}
	})
	for name, tc := range map[string]struct {
		tune func(*Options)
		want string
	}{
		"unsupported refused": {func(o *Options) {
			tr, err := translate.New(translate.Options{RejectUnsupported: true})
			if err != nil {
				t.Fatal(err)
			}
			o.Translate = tr
		}, `plain: cluster "plain": upstream_config: not supported by weir`},
		"unknown refused": {func(o *Options) { o.RejectUnknown = true }, "unknown field number 9999 in envoy.config.cluster.v3.Cluster"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, tc.tune)
			err := r.Update(t.Context(), xds.Update{Type: xds.ClusterType, Version: "1", Full: true, Resources: newer(t)})
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want %q", err, tc.want)
			}
			r.counter(t, "weir.config.unsupported_fields", 0)
		})
	}
}
