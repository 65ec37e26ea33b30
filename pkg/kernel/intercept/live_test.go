package intercept

import (
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/weir-proxy/weir/pkg/kernel/sockdiag"
	"github.com/weir-proxy/weir/pkg/kernel/steer"
)

// TestLiveSockets looks at a captured and at an offloaded connection while their clients wait.
func TestLiveSockets(t *testing.T) {
	b := newBench(t)
	b.capture(t)
	seen := make(chan []LiveSocket, 1)
	look := func(conn net.Conn) {
		sockets, err := b.LiveSockets()
		if err != nil {
			t.Error(err)
		}
		seen <- sockets
		io.WriteString(conn, "seen")
	}
	endpoint := serve(t, "127.0.0.1:0", look)
	b.apply(t, b.offloadPlan("192.0.2.80/32"))
	b.applyServices(t, offloaded("shop", steer.RoundRobin, endpoint))
	if ans := client(t, b.dir, request{Addr: nowhere4}); ans.Greeting != "seen" {
		t.Fatalf("client: %+v", ans)
	}
	one := only(t, <-seen, endpoint)
	if !one.Offloaded || one.Service != "shop" || one.Dst != netip.MustParseAddrPort(nowhere4) || one.State != sockdiag.Established {
		t.Errorf("offloaded: %+v", one)
	}
	if one.Age < 0 || one.Age > time.Minute || one.Sent != 0 {
		t.Errorf("offloaded: %d bytes sent in %v", one.Sent, one.Age)
	}
	if one.Inode == 0 || one.Cgroup == 0 || one.RTT <= 0 {
		t.Errorf("offloaded: inode %d, cgroup %d, round-trip time %v", one.Inode, one.Cgroup, one.RTT)
	}
}

// only is the one socket that was sent to peer.
func only(t *testing.T, sockets []LiveSocket, peer netip.AddrPort) LiveSocket {
	t.Helper()
	var found []LiveSocket
	for _, s := range sockets {
		if s.Peer == peer {
			found = append(found, s)
		}
	}
	if len(found) != 1 {
		t.Fatalf("%d sockets lead to %s in %+v", len(found), peer, sockets)
	}
	return found[0]
}
