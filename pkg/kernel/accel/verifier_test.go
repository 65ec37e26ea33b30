package accel

import (
	"flag"
	"testing"

	"github.com/weir-proxy/weir/pkg/kernel/verifiertest"
)

var update = flag.Bool("update", false, "write the golden files")

func TestVerifierCost(t *testing.T) {
	o, err := load(DefaultLimit)
	noError(t, err)
	t.Cleanup(func() {
		if err := o.close(); err != nil {
			t.Error(err)
		}
	})
	verifiertest.Compare(t, *update, o.Sockops, o.SockopsFull, o.Send, o.Receive)
}
