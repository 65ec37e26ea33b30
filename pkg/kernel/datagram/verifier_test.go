package datagram

import (
	"testing"

	"github.com/weir-proxy/weir/pkg/kernel/attach"
	"github.com/weir-proxy/weir/pkg/kernel/verifiertest"
	"github.com/weir-proxy/weir/test/golden"
)

func TestVerifierCost(t *testing.T) {
	o, _, err := loadObjects(attach.New(attach.Options{}), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := o.close(); err != nil {
			t.Error(err)
		}
	})
	verifiertest.Compare(t, golden.Update(),
		o.Connect4, o.Connect6, o.Sendmsg4, o.Sendmsg6, o.Recvmsg4, o.Recvmsg6, o.Getpeername4, o.Getpeername6, o.Explain, o.Find)
}
