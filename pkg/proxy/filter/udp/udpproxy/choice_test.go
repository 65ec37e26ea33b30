package udpproxy

import (
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/test/await"
)

// A session whose host has failed its checks begins again at another one, and stays when there is none.
func TestUnhealthyHost(t *testing.T) {
	b := newBed(t)
	first, second := echo(t, "a"), echo(t, "b")
	health := func(unhealthy ...netip.AddrPort) func(*model.Cluster) {
		return func(c *model.Cluster) {
			for _, e := range c.Inline.Localities[0].Endpoints {
				for _, bad := range unhealthy {
					if e.Address == bad {
						e.Health = model.HealthUnhealthy
					}
				}
			}
		}
	}
	b.cluster(health(second), first, second)
	c := dial(t, b.listen(model.UDPProxy{Cluster: "c", IdleTimeout: time.Minute})[0])
	if got := ask(t, c, "x"); got != "ax" {
		t.Fatal(got)
	}
	b.cluster(health(first), first, second)
	if got := ask(t, c, "x"); got != "bx" {
		t.Errorf("with its host unhealthy: %s", got)
	}
	b.cluster(health(first, second), first, second)
	if got := ask(t, c, "x"); got != "bx" && got != "ax" {
		t.Errorf("with all hosts unhealthy: %s", got)
	}
	b.want(map[string]uint64{"udp.p.downstream_sess_active": 1})
}

// Clients of one address go to one host when their address is hashed.
func TestHashSourceIP(t *testing.T) {
	b := newBed(t)
	b.cluster(func(c *model.Cluster) { c.LB, c.HashLB = model.LBMaglev, model.HashBalancer{TableSize: 65537} }, echo(t, "a"), echo(t, "b"), echo(t, "c"))
	addr := b.listen(model.UDPProxy{Cluster: "c", IdleTimeout: time.Minute, HashSourceIP: true})[0]
	want := ask(t, dial(t, addr), "")
	for range 10 {
		if got := ask(t, dial(t, addr), ""); got != want {
			t.Errorf("host %s, before it was %s", got, want)
		}
	}
}

// With use_original_src_ip the host sees the client's address.
func TestOriginalSource(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("IP_TRANSPARENT needs CAP_NET_ADMIN")
	}
	b := newBed(t)
	host, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer host.Close()
	b.cluster(nil, host.LocalAddr().(*net.UDPAddr).AddrPort())
	to := b.listen(model.UDPProxy{Cluster: "c", IdleTimeout: time.Minute, UseOriginalSource: true})[0]
	c, err := net.DialUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 9)}, net.UDPAddrFromAddrPort(to))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	_ = host.SetReadDeadline(time.Now().Add(await.Patience))
	_, from, err := host.ReadFromUDPAddrPort(make([]byte, 10))
	if err != nil || from.Addr() != netip.MustParseAddr("127.0.0.9") {
		t.Errorf("from %s, %v", from, err)
	}
}
