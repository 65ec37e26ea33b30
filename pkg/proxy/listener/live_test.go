package listener

import (
	"io"
	"net/netip"
	"testing"

	"github.com/weir-proxy/weir/pkg/config/model"
)

func TestLive(t *testing.T) {
	b := newBed(t, nil)
	captured := bound("shop", "10.0.0.1:80", plainChain("main", model.FilterChainMatch{}))
	captured.BindToPort = false
	if err := b.OpenCapture(); err != nil {
		t.Fatal(err)
	}
	b.mustApply(bound("web", "127.0.0.1:0", plainChain("plain", model.FilterChainMatch{})), captured)
	if got := b.Live(10); len(got) != 0 {
		t.Fatalf("before the first connection: %+v", got)
	}
	direct := dial(t, b.address("web"))
	line(t, direct)
	b.dst.set("10.0.0.1:80")
	v4, _ := b.CaptureAddrs()
	redirected := dial(t, v4.String())
	line(t, redirected)
	io.WriteString(redirected, "hello\n")
	line(t, redirected)
	live := map[string]Live{}
	for _, l := range b.Live(10) {
		live[l.Listener] = l
	}
	if len(live) != 2 {
		t.Fatalf("got %+v, want two connections", live)
	}
	web, shop := live["web"], live["shop"]
	if web.Redirected || web.FilterChain != "plain" || web.Client.String() != direct.LocalAddr().String() {
		t.Errorf("bound: %+v", web)
	}
	if !shop.Redirected || shop.Destination != netip.MustParseAddrPort("10.0.0.1:80") || shop.Socket != v4 {
		t.Errorf("captured: %+v", shop)
	}
	if shop.Received != 6 || shop.Sent == 0 || shop.Age <= 0 {
		t.Errorf("captured: %d bytes received, %d sent, age %v", shop.Received, shop.Sent, shop.Age)
	}
	if got := b.Live(1); len(got) != 1 {
		t.Errorf("with a limit of 1: %d connections", len(got))
	}
}
