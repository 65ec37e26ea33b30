package e2e

import (
	"net"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/weir-proxy/weir/test/harness"
)

// dnsServer answers every question for an address of IPv4 with 192.0.2.7, and others with nothing. It counts the questions.
func dnsServer(t *testing.T, host *harness.Host) (netip.AddrPort, *atomic.Int64) {
	return dnsServerOf(t, host, func(string) ([4]byte, uint32) { return [4]byte{192, 0, 2, 7}, 60 })
}

// dnsServerOf answers with the address and TTL that find says for a name.
func dnsServerOf(t *testing.T, host *harness.Host, find func(name string) ([4]byte, uint32)) (netip.AddrPort, *atomic.Int64) {
	t.Helper()
	var c *net.UDPConn
	err := host.Do(func() (err error) {
		c, err = net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	var asked atomic.Int64
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 4096)
		for {
			n, from, err := c.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			if answer, ok := dnsAnswer(buf[:n], find); ok {
				asked.Add(1)
				_, _ = c.WriteToUDPAddrPort(answer, from)
			}
		}
	}()
	t.Cleanup(func() { c.Close(); <-done })
	return c.LocalAddr().(*net.UDPAddr).AddrPort(), &asked
}

func dnsAnswer(query []byte, find func(name string) ([4]byte, uint32)) ([]byte, bool) {
	var m dnsmessage.Message
	if m.Unpack(query) != nil || len(m.Questions) != 1 {
		return nil, false
	}
	q := m.Questions[0]
	m.Response, m.RecursionAvailable, m.Additionals = true, true, nil
	if q.Type == dnsmessage.TypeA {
		addr, ttl := find(q.Name.String())
		m.Answers = []dnsmessage.Resource{{
			Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class, TTL: ttl},
			Body:   &dnsmessage.AResource{A: addr},
		}}
	}
	answer, err := m.Pack()
	return answer, err == nil
}

// Resolvers ask whatever server their resolv.conf names, over either family, and get the answer of the cluster's server. The
// configuration is that of examples/dns.
func TestDNSCapture(t *testing.T) {
	t.Parallel()
	harness.NeedInterception(t)
	host, group := harness.NewHost(t), harness.NewCgroup(t)
	server, asked := dnsServer(t, host)
	config, err := os.ReadFile("../../examples/dns/weir.yaml")
	if err != nil {
		t.Fatal(err)
	}
	here := strings.Replace(string(config), "address: 192.0.2.53, port_value: 53", "address: "+server.Addr().String()+", port_value: "+portOf(server), 1)
	if here == string(config) {
		t.Fatal("the example's server is not where it was")
	}
	weir := host.StartWeir(harness.WeirOptions{Config: here, Capture: []*harness.Cgroup{group}})
	for _, nameserver := range []string{"10.99.0.53", "fd00:99::53", "127.0.0.53"} {
		app := host.App().In(group).Resolv("nameserver " + nameserver + "\noptions timeout:5 attempts:1\n")
		before := asked.Load()
		for name, got := range map[string]harness.Result{
			"Go":    app.GoLookup("shop.example."),
			"glibc": app.Run("getent", "hosts", "shop.example"),
		} {
			if got.Status != 0 || !strings.HasPrefix(got.Out, "192.0.2.7") {
				t.Errorf("%s asks %s: %+v\n%s", name, nameserver, got, weir.Log())
			}
		}
		if asked.Load() == before {
			t.Errorf("the server was not asked for %s", nameserver)
		}
	}
	weir.AwaitStat("udp.dns.downstream_sess_total", func(n int) bool { return n >= 6 })
	// With weir killed, nothing is captured any more, and nothing is left behind.
	weir.Kill()
	app := host.App().In(group).Resolv("nameserver 127.0.0.53\noptions timeout:1 attempts:1\n")
	if got := app.GoLookup("shop.example."); got.Status == 0 || !strings.Contains(got.Err, "127.0.0.53:53") {
		t.Errorf("after weir: %+v", got)
	}
}

func portOf(a netip.AddrPort) string {
	_, port, _ := net.SplitHostPort(a.String())
	return port
}
