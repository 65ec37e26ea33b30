package intercept

import (
	"flag"
	"testing"

	"github.com/weir-proxy/weir/pkg/kernel/verifiertest"
)

var update = flag.Bool("update", false, "write the golden files")

func TestVerifierCost(t *testing.T) {
	i, _, _ := newDecider(t)
	o := i.objects
	verifiertest.Compare(t, *update, o.Connect4, o.Connect6, o.Explain, o.Getpeername4, o.Getpeername6, o.Release, o.Sockops)
}
