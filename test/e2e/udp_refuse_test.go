package e2e

import (
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/weir-proxy/weir/test/harness"
)

// An application with a connected socket learns that the host behind the proxy refuses its datagrams, as it would without the proxy.
func TestUDPRefusedUpstream(t *testing.T) {
	t.Parallel()
	harness.NeedInterception(t)
	host, group := harness.NewHost(t), harness.NewCgroup(t)
	var nobody netip.AddrPort
	err := host.Do(func() error {
		c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err == nil {
			nobody = c.LocalAddr().(*net.UDPAddr).AddrPort()
			err = c.Close()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	weir := host.StartWeir(harness.WeirOptions{
		Config: harness.Bootstrap{
			Listeners: []string{udpListener("v4", "0.0.0.0:53", true, "cluster: nobody"), udpListener("v6", "[::]:53", true, "cluster: nobody")},
			Clusters:  []string{harness.Cluster("nobody", harness.To(nobody))},
		}.YAML(),
		Capture: []*harness.Cgroup{group}, Interception: "udp: {}",
	})
	for _, ip := range []string{"10.99.0.1", "fd00:99::1"} {
		got := host.App().In(group).Python(`
import socket, sys
s = socket.socket(socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(5); s.connect((sys.argv[1], 53))
for _ in range(2):
    s.send(b"x")
    try:
        s.recv(9)
    except OSError as e:
        print(type(e).__name__)`, ip)
		if want := "ConnectionRefusedError ConnectionRefusedError"; strings.Join(strings.Fields(got.Out), " ") != want {
			t.Errorf("%s: %+v\n%s", ip, got, weir.Log())
		}
	}
	weir.AwaitStat("cluster.nobody.udp.sess_rx_errors", func(n int) bool { return n >= 4 })
}
