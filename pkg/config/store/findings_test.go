package store

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

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
