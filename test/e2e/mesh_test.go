package e2e

import (
	"fmt"
	"io"
	"net"
	"path/filepath"
	"testing"

	"github.com/weir-proxy/weir/test/harness"
)

// TLS that the application speaks itself is captured, looked into for its name, and sent on unopened.
func TestCapturedTLSByName(t *testing.T) {
	t.Parallel()
	harness.NeedInterception(t)
	host, ca := harness.NewHost(t), harness.NewCA(t)
	one := host.HTTPBackend("one", "127.0.0.1:0", harness.WithTLS(ca.Issue("one.test").Server("h2", "http/1.1")))
	two := host.HTTPBackend("two", "127.0.0.1:0", harness.WithTLS(ca.Issue("two.test").Server("h2", "http/1.1")))
	group := harness.NewCgroup(t)
	weir := host.StartWeir(harness.WeirOptions{
		Config: harness.Bootstrap{
			Listeners: []string{harness.Listener{Name: "https", Address: "0.0.0.0:443", Virtual: true, InspectTLS: true, Chains: []string{
				harness.Chain(harness.TCP("one"), "filter_chain_match: {server_names: [one.test], transport_protocol: tls}"),
				harness.Chain(harness.TCP("two"), "filter_chain_match: {server_names: [two.test], transport_protocol: tls}"),
			}}.YAML()},
			Clusters: []string{harness.Cluster("one", harness.To(one.Addr)), harness.Cluster("two", harness.To(two.Addr))},
		}.YAML(),
		Capture: []*harness.Cgroup{group},
	})
	file := filepath.Join(harness.Dir(t), "ca.pem")
	harness.WriteFile(t, file, ca.PEM)
	app := host.App().In(group)
	for _, name := range []string{"one", "two"} {
		got := app.Curl("--cacert", file, "--resolve", name+".test:443:10.99.0.1", "-w", "%{http_version} %{remote_ip}", "https://"+name+".test/")
		wantOK(t, got, name+"\n2 10.99.0.1")
	}
	if got := app.Curl("--cacert", file, "--resolve", "three.test:443:10.99.0.1", "https://three.test/"); got.Status == 0 {
		t.Errorf("a name that no chain is for got %q", got.Out)
	}
	if n := weir.Stat("cluster.one.upstream_cx_total"); n != 1 {
		t.Errorf("%d connections to one, want 1", n)
	}
}

// Many connections at once: each gets its own answer, and none is left afterwards.
func TestManyConnections(t *testing.T) {
	t.Parallel()
	host := harness.NewHost(t)
	backend := host.TCPBackend("127.0.0.1:0", harness.Echo)
	weir := host.StartWeir(harness.WeirOptions{Config: harness.Bootstrap{
		Listeners: []string{harness.Listener{Name: "tcp", Address: "127.0.0.1:8080", Chains: []string{harness.Chain(harness.TCP("backend"))}}.YAML()},
		Clusters:  []string{harness.Cluster("backend", harness.To(backend.Addr))},
	}.YAML()})
	const many = 400
	var conns []*net.TCPConn
	for range many {
		conns = append(conns, host.MustDial("127.0.0.1:8080"))
	}
	for i, conn := range conns {
		if _, err := fmt.Fprintf(conn, "%04d", i); err != nil {
			t.Fatal(err)
		}
	}
	for i, conn := range conns {
		var got int
		if _, err := fmt.Fscanf(conn, "%4d", &got); err != nil || got != i {
			t.Fatalf("connection %d: got %d, %v", i, got, err)
		}
	}
	if n := weir.Stat("listener.127.0.0.1_8080.downstream_cx_active"); n != many {
		t.Errorf("%d connections are active, want %d", n, many)
	}
	for _, conn := range conns {
		conn.Close()
	}
	weir.AwaitStat("listener.127.0.0.1_8080.downstream_cx_active", func(n int) bool { return n == 0 })
	weir.AwaitStat("cluster.backend.upstream_cx_active", func(n int) bool { return n == 0 })
	for name, want := range map[string]int{"tcp.tcp.downstream_cx_rx_bytes_total": 4 * many, "tcp.tcp.downstream_cx_tx_bytes_total": 4 * many, "cluster.backend.upstream_cx_total": many} {
		if n := weir.Stat(name); n != want {
			t.Errorf("%s is %d, want %d", name, n, want)
		}
	}
}

// Circuit breakers hold: a request beyond those that may be under way and those that may wait is refused at once, with the header.
func TestCircuitBreaker(t *testing.T) {
	t.Parallel()
	host := harness.NewHost(t)
	silent := host.TCPBackend("127.0.0.1:0", func(c *net.TCPConn) { _, _ = io.Copy(io.Discard, c) }) // until the peer ends
	weir := host.StartWeir(harness.WeirOptions{Config: harness.Bootstrap{
		Listeners: []string{harness.Listener{Name: "main", Address: "127.0.0.1:8080", Chains: []string{harness.Chain(harness.HTTP(harness.RouteTo("/", "backend")))}}.YAML()},
		Clusters:  []string{harness.Cluster("backend", harness.To(silent.Addr), "circuit_breakers: {thresholds: [{max_connections: 1, max_pending_requests: 1, max_requests: 1}]}")},
	}.YAML()})
	first, second := host.MustDial("127.0.0.1:8080"), host.MustDial("127.0.0.1:8080")
	fmt.Fprint(first, "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\n") // holds its connection until the body comes
	weir.AwaitStat("cluster.backend.upstream_rq_active", func(n int) bool { return n == 1 })
	fmt.Fprint(second, "GET / HTTP/1.1\r\nhost: x\r\n\r\n") // waits for the connection
	weir.AwaitStat("cluster.backend.upstream_rq_pending_active", func(n int) bool { return n == 1 })
	got := host.App().Curl("-i", "--max-time", "10", plainURL)
	wantContains(t, "answer", got.Out, "HTTP/1.1 503", "x-envoy-overloaded: true", "upstream connect error or disconnect/reset before headers. reset reason: overflow")
}
