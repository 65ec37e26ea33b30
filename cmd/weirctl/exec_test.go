package main

import (
	"strings"
	"testing"

	"github.com/weir-proxy/weir/pkg/kernel/cgroup"
)

// TestExecWithoutWeir names the cgroups that a running weir captures, among which that of commands is missing.
func TestExecWithoutWeir(t *testing.T) {
	_, name, _ := pinning(t)
	h, err := cgroup.Find()
	if err != nil {
		t.Fatal(err)
	}
	got := notTaken(h).Error()
	for _, want := range []string{"no running weir takes connections of this command: captured are ", name, "add weir.exec to the cgroups of weir.interception"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q does not say %q", got, want)
		}
	}
}
