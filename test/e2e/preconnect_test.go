package e2e

import (
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"

	"github.com/weir-proxy/weir/test/harness"
)

// numbered is a TCP server that greets each connection with a number, from 1 on, and keeps it until the other side ends it.
type numbered struct {
	*harness.TCPBackend
	next, last, open atomic.Int32
	conns            sync.Map // by greeting
}

func startNumbered(host *harness.Host) *numbered {
	s := &numbered{}
	s.TCPBackend = host.TCPBackend("127.0.0.1:0", func(c *net.TCPConn) {
		s.open.Add(1)
		defer s.open.Add(-1)
		n := s.next.Add(1)
		number := fmt.Sprint(n)
		s.conns.Store(number, c)
		s.last.Add(1)
		_, _ = io.WriteString(c, number)
		_, _ = io.Copy(io.Discard, c)
	})
	return s
}

// greeting is what a client hears first.
func greeting(t *testing.T, c net.Conn) string {
	t.Helper()
	heard := make([]byte, 8)
	n, err := c.Read(heard)
	if err != nil {
		t.Errorf("read the greeting: %v", err)
	}
	return string(heard[:n])
}

// preconnecting is a cluster that has one more connection than are in use.
func preconnecting(s *numbered) string {
	return harness.Cluster("numbers", harness.To(s.Addr), "preconnect_policy: {per_upstream_preconnect_ratio: 2}")
}

// A TCP proxy has a connection to the server before the client comes that uses it.
func TestTCPPreconnect(t *testing.T) {
	t.Parallel()
	s := newDemanded(t)
	first, second := startNumbered(s.host), startNumbered(s.host)
	s.listener(harness.TCP("numbers"))
	announce := func(server *numbered) {
		s.script.Put("numbers", harness.ScriptItem{Announced: true, Message: harness.Resource(t, &clusterv3.Cluster{}, preconnecting(server))})
	}
	announce(first)
	s.start()
	stats := func(active, total, requests int) {
		t.Helper()
		for name, want := range map[string]int{"upstream_cx_active": active, "upstream_cx_total": total, "upstream_rq_total": requests, "upstream_cx_destroy": total - active} {
			s.weir.AwaitStat("cluster.numbers."+name, func(n int) bool { return n == want })
		}
	}
	if n := first.Accepted(); n != 0 {
		t.Errorf("%d connections before there is traffic", n)
	}
	c := s.host.MustDial("127.0.0.1:8080")
	heard := greeting(t, c)
	harness.Eventually(t, "a connection that nobody uses yet", func() bool { return first.last.Load() == 2 })
	stats(2, 2, 1)
	c.Close()
	stats(1, 2, 1)

	next := s.host.MustDial("127.0.0.1:8080")
	if got := greeting(t, next); got != other(heard) {
		t.Errorf("the first client heard %q, the second %q, want what the server had said on the other connection before", heard, got)
	}
	harness.Eventually(t, "one for the third", func() bool { return first.open.Load() == 2 })
	stats(2, 3, 2)

	t.Log("the server goes away")
	announce(second)
	harness.Eventually(t, "the connection that nobody uses to close", func() bool { return first.open.Load() == 1 })
	third := s.host.MustDial("127.0.0.1:8080")
	if got := greeting(t, third); got != "1" && got != "2" {
		t.Errorf("the third client heard %q, want the greeting of the new server", got)
	}
	if _, err := io.WriteString(next, "still there"); err != nil {
		t.Errorf("the second client lost its connection: %v", err)
	}
	if n := first.Accepted(); n != 3 {
		t.Errorf("%d connections to the server that is gone, want 3", n)
	}
}

// other is the other one of the first two greetings.
func other(heard string) string { return map[string]string{"1": "2", "2": "1"}[heard] }

// A connection that the server has closed while nobody used it is not given to a client.
func TestTCPPreconnectDead(t *testing.T) {
	t.Parallel()
	host := harness.NewHost(t)
	server := startNumbered(host)
	weir := host.StartWeir(harness.WeirOptions{Config: harness.Bootstrap{
		Listeners: []string{harness.Listener{Name: "tcp", Address: "127.0.0.1:8080", Chains: []string{harness.Chain(harness.TCP("numbers"))}}.YAML()},
		Clusters:  []string{preconnecting(server)},
	}.YAML()})
	heard := greeting(t, host.MustDial("127.0.0.1:8080"))
	harness.Eventually(t, "a connection that nobody uses yet", func() bool { return server.last.Load() == 2 })
	unused, ok := server.conns.Load(other(heard))
	if !ok {
		t.Fatalf("the first client heard %q", heard)
	}
	if err := unused.(*net.TCPConn).CloseWrite(); err != nil { // the server loses patience
		t.Fatal(err)
	}
	weir.AwaitStat("cluster.numbers.upstream_cx_destroy_remote", func(n int) bool { return n == 1 })
	if got := greeting(t, host.MustDial("127.0.0.1:8080")); got != "3" && got != "4" {
		t.Errorf("the second client heard %q, want the greeting of a new connection", got)
	}
}
