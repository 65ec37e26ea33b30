package protoyaml_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"

	"github.com/weir-proxy/weir/pkg/config/protoyaml"
)

// TestLimits checks that hostile input ends in a short error, and soon.
func TestLimits(t *testing.T) {
	// Far beyond what any of them takes, so that only a runaway fails.
	const soon = 30 * time.Second
	deep := func(open, end string, n int) string { return strings.Repeat(open, n) + strings.Repeat(end, n) }
	tests := []struct {
		name, file, src string
		want            string
		most            int
	}{
		{"deep JSON lists", "a.json", `{"node":{"metadata":{"a":` + deep("[", "]", 900) + `}}}`, "nested more than 200 levels deep", 1},
		{"deeper JSON lists", "a.json", deep("[", "]", 1_000_000), "nested more than 1000 levels deep", 1},
		{"deep YAML lists", "a.yaml", "node: {metadata: {a: " + deep("[", "]", 5000) + "}}", "nested more than 200 levels deep", 1},
		{"too deep for YAML", "a.yaml", deep("[", "]", 20_000), "exceeded max depth", 1},
		{"deep Anys", "a.yaml", "bootstrap_extensions: {typed_config: " + deep(`{"@type": type.googleapis.com/google.protobuf.Any, value: `, "}", 300) + "}", "nested more than 200 levels deep", 2},
		{"many unknown fields", "a.yaml", strings.Repeat("node: {bad: 1}\n", 200_000), "errors are not listed", 1001},
		{"many unknown types", "a.yaml", "bootstrap_extensions:\n" + strings.Repeat("- {name: x, typed_config: {'@type': a.b/envoy.config.Nothing}}\n", 20_000), "errors are not listed", 1001},
		{"one long line", "a.json", `{"stats_sinks":[` + strings.Repeat(`{"name":"x"},`, 400_000) + `{"nme":"x"}]}`, `(did you mean "name"?)`, 1},
		{"long key", "a.yaml", "? " + strings.Repeat("a", 1_000_000) + "\n: 1", `unknown field "aaaa`, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			start := time.Now()
			_, err := protoyaml.Decode([]byte(tt.src), tt.file, &bootstrapv3.Bootstrap{}, protoyaml.Options{})
			took := time.Since(start)
			t.Logf("%d bytes took %v", len(tt.src), took)
			if took > soon {
				t.Errorf("took %v", took)
			}
			var list protoyaml.Errors
			if !errors.As(err, &list) {
				t.Fatalf("error is %v", err)
			}
			if len(list) > tt.most {
				t.Errorf("got %d errors, want %d at most", len(list), tt.most)
			}
			if text := list.Error(); !strings.Contains(text, tt.want) {
				t.Errorf("error is %.300s, want %q in it", text, tt.want)
			}
			for _, e := range list {
				if len(e.Error()) > 2000 {
					t.Errorf("error of %d bytes: %.100s", len(e.Error()), e.Error())
				}
			}
		})
	}
}
