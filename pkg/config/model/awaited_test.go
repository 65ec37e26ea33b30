package model

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestFilterNames checks that what /init_dump lists is what is waited for: not a filter that serves with its default meanwhile.
func TestFilterNames(t *testing.T) {
	l := &Listener{FilterChains: []*FilterChain{{Filters: []*NetworkFilter{
		{Name: "late", Discovery: &FilterDiscovery{WithoutWarming: true}}, {Name: "b", Discovery: &FilterDiscovery{}}, {Name: "a", Discovery: &FilterDiscovery{}},
	}}}}
	if diff := cmp.Diff([]string{"a", "b"}, l.FilterNames()); diff != "" {
		t.Error(diff)
	}
}
