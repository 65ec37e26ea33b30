package intercept

import (
	"testing"

	"github.com/weir-proxy/weir/pkg/kernel/verifiertest"
	"github.com/weir-proxy/weir/test/golden"
)

func TestVerifierCost(t *testing.T) {
	i, _, _ := newDecider(t)
	o := i.objects
	verifiertest.Compare(t, golden.Update(), o.Connect4, o.Connect6, o.Explain, o.Getpeername4, o.Getpeername6, o.Release, o.Sockops)
}
