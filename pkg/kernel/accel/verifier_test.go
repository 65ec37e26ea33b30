package accel

import (
	"testing"

	"github.com/weir-proxy/weir/pkg/kernel/verifiertest"
	"github.com/weir-proxy/weir/test/golden"
)

func TestVerifierCost(t *testing.T) {
	o, err := load(DefaultLimit)
	noError(t, err)
	t.Cleanup(func() {
		if err := o.close(); err != nil {
			t.Error(err)
		}
	})
	verifiertest.Compare(t, golden.Update(), o.Sockops, o.SockopsFull, o.Send, o.Receive)
}
