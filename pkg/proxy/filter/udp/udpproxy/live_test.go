package udpproxy

import (
	"net"
	"testing"

	"github.com/weir-proxy/weir/pkg/config/model"
)

// The sessions of a listener are listed with where they go and what they carried, up to a limit.
func TestLive(t *testing.T) {
	b := newBed(t)
	host := echo(t, "h")
	b.cluster(nil, host)
	addr := b.listen(model.UDPProxy{Cluster: "c"})[0]
	buf := make([]byte, 99)
	for range 3 {
		c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(addr))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		if _, err := c.Write([]byte("hello")); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Read(buf); err != nil {
			t.Fatal(err)
		}
	}
	all := b.udp.Live(100)
	if len(all) != 3 {
		t.Fatalf("%d sessions", len(all))
	}
	for _, s := range all {
		if s.Listener != "l" || s.Cluster != "c" || s.Endpoint != host || s.Destination != addr || s.Captured || s.Received != 5 || !s.Client.IsValid() || s.ID == 0 {
			t.Errorf("%+v", s)
		}
	}
	if n := len(b.udp.Live(2)); n != 2 {
		t.Errorf("%d sessions of 2", n)
	}
	if n := len(b.udp.Live(-1)); n != 0 {
		t.Errorf("%d sessions of none", n)
	}
}
