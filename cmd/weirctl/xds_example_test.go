package main

import (
	"log/slog"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-proxy/weir/pkg/controlplane"
)

// The example of a fleet in the documentation is good, for weir too.
func TestXDSExample(t *testing.T) {
	check, err := xdsArguments{}.checker()
	if err != nil {
		t.Fatal(err)
	}
	by, err := controlplane.ParseGroupBy("cluster")
	if err != nil {
		t.Fatal(err)
	}
	s := controlplane.New(controlplane.Options{Log: slog.New(slog.NewTextHandler(t.Output(), nil)), GroupBy: by, Check: check})
	if err := s.LoadDir(filepath.Join("..", "..", "test", "e2e", "testdata", "fleet")); err != nil {
		t.Fatal(err)
	}
	if w := s.LoadState().Warnings; len(w) > 0 {
		t.Errorf("warnings: %q", w)
	}
	got := map[string][]string{}
	for group, types := range s.Groups() {
		for _, x := range types {
			got[group] = append(got[group], x.Type)
		}
	}
	shared := []string{"Cluster", "ClusterLoadAssignment"}
	want := map[string][]string{
		"":      append(slices.Clone(shared), "Listener", "Runtime"),
		"web":   append(slices.Clone(shared), "Listener", "RouteConfiguration", "Runtime"),
		"batch": append(slices.Clone(shared), "Runtime"),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
