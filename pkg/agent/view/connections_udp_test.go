package view

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/weir-proxy/weir/pkg/kernel/intercept"
	"github.com/weir-proxy/weir/pkg/proxy/listener"
)

// A session of UDP has a row of its own, also when a connection of TCP comes from the same port.
func TestSessionsAreNotConnections(t *testing.T) {
	client, to := netip.MustParseAddrPort("127.0.0.1:4000"), netip.MustParseAddrPort("10.0.0.1:53")
	v := Connections{
		Live: func(int) []listener.Live {
			return []listener.Live{{ID: 1, Client: client, Destination: to, Redirected: true, Datagrams: true, Listener: "dns", Cluster: "c", Received: 9}}
		},
		Sockets: func() ([]NamespaceSocket, error) {
			return []NamespaceSocket{{LiveSocket: intercept.LiveSocket{Local: client, Dst: netip.MustParseAddrPort("10.0.0.2:80")}}}, nil
		},
	}
	got := v.LiveConnections(10).(*connectionList)
	if got.Total != 2 || got.Connections[0].Protocol != "udp" || got.Connections[0].socket != nil || got.Connections[1].Protocol != "" {
		t.Errorf("%+v", got)
	}
	if text := got.Text(); !strings.Contains(text, "captured udp") {
		t.Error(text)
	}
}
