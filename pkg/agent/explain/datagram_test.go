package explain_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/weir-proxy/weir/pkg/agent/explain"
	"github.com/weir-proxy/weir/pkg/config/model"
)

// TestDatagramSessions shows how many sessions a cluster has, and what bounds them.
func TestDatagramSessions(t *testing.T) {
	b := newBed(t)
	b.opt.Datagrams = &explain.Datagrams{
		Kernel: func() explain.DatagramKernel { return nil },
		Bound: func(netip.AddrPort) *model.Listener {
			return &model.Listener{ListenerFilters: []*model.ListenerFilter{{Config: &model.UDPProxy{StatPrefix: "dns", Cluster: "tcp"}}}}
		},
	}
	for range 5 {
		if err := b.clusters.Get("tcp").TryConnection(); err != nil {
			t.Fatal(err)
		}
	}
	const want = "sessions and TCP connections 5 of 7 (max_connections); no other bound holds for sessions"
	text := strings.Join(strings.Fields(ask(t, explain.New(b.opt), "udp=true&dst=192.0.2.1:53").Text()), " ")
	if !strings.Contains(text, want) || strings.Contains(text, "pending requests") {
		t.Errorf("no %q in\n%s", want, text)
	}
}
