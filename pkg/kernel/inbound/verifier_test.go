package inbound

import (
	"testing"

	"github.com/weir-proxy/weir/pkg/kernel/verifiertest"
	"github.com/weir-proxy/weir/test/golden"
)

func TestVerifierCost(t *testing.T) {
	o, err := loadObjects(nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := o.close(); err != nil {
			t.Error(err)
		}
	})
	lookup, err := o.loadLookup(1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := lookup.Close(); err != nil {
			t.Error(err)
		}
	})
	verifiertest.Compare(t, golden.Update(), o.Ops, o.Release, o.Edit, o.Explain, o.Peer4, o.Peer6, lookup)
}
