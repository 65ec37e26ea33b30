package main

import (
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestNoDrift fails when go.mod moved to a go-control-plane with other
// packages and the list was not generated again (go generate ./pkg/config/apitypes).
func TestNoDrift(t *testing.T) {
	want, err := Generate()
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("../imports.go")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("imports.go is stale (-want +got):\n%s", diff)
	}
}
