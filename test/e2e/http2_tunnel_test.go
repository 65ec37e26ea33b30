package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/weir-proxy/weir/test/harness"
)

// connectProxy is a forward proxy by hand on HTTP/1.1: it accepts every CONNECT, says to where, and echoes.
func connectProxy(c *net.TCPConn) {
	in := bufio.NewReader(c)
	req, err := http.ReadRequest(in)
	if err != nil || req.Method != http.MethodConnect {
		_, _ = io.WriteString(c, "HTTP/1.1 405 Method Not Allowed\r\ncontent-length: 0\r\n\r\n")
		return
	}
	if _, err := fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nx-target: %s\r\n\r\n", req.RequestURI); err != nil {
		return
	}
	_, _ = io.Copy(c, in) // the peer sees what is missing
	_ = c.CloseWrite()
}

// startTunnels is a weir at 8080 that terminates CONNECT to "tcp", passes it on to "one" (HTTP/1.1) and through itself on
// HTTP/2 to "again".
func startTunnels(t *testing.T, tcp func(*net.TCPConn)) (*harness.Host, *harness.Weir) {
	t.Helper()
	host := harness.NewHost(t)
	target, proxy := host.TCPBackend("127.0.0.1:0", tcp), host.TCPBackend("127.0.0.1:0", connectProxy)
	route := func(host, cluster, more string) string {
		return fmt.Sprintf(`{match: {connect_matcher: {}, headers: [{name: ":authority", string_match: {prefix: %q}}]}, route: {cluster: %s, upgrade_configs: [{upgrade_type: CONNECT%s}]}}`, host, cluster, more)
	}
	const connect2 = "http2_protocol_options: {allow_connect: true}"
	manager := harness.HTTPManager(connect2, "route_config: "+harness.RouteConfig("local_route",
		route("tcp.", "tcp", ", connect_config: {}"), route("again.", "again", ""), route("one.", "one", "")))
	inner := harness.HTTPManager(connect2, "route_config: "+harness.RouteConfig("inner", route("again.", "one", "")))
	weir := host.StartWeir(harness.WeirOptions{Config: harness.Bootstrap{
		Listeners: []string{
			harness.Listener{Name: "main", Address: "127.0.0.1:8080", Chains: []string{harness.Chain(manager)}}.YAML(),
			harness.Listener{Name: "inner", Address: "127.0.0.1:8081", Chains: []string{harness.Chain(inner)}}.YAML(),
		},
		Clusters: []string{
			harness.Cluster("tcp", harness.To(target.Addr)), harness.Cluster("one", harness.To(proxy.Addr)),
			`{name: again, type: STATIC, load_assignment: {cluster_name: again, endpoints: [{lb_endpoints: [{endpoint: {address: ` +
				harness.Address("127.0.0.1:8081") + `}}]}]}, ` + harness.UpstreamHTTP("explicit_http_config: {"+connect2+"}") + `}`,
		},
	}.YAML()})
	return host, weir
}

// CONNECT from HTTP/1.1 and HTTP/2, ended by weir or passed on, over HTTP/1.1 or HTTP/2.
func TestConnect(t *testing.T) {
	t.Parallel()
	host, weir := startTunnels(t, harness.Echo)
	for target, says := range map[string]string{"tcp.test:80": "", "one.test:81": "one.test:81", "again.test:82": "again.test:82"} {
		t.Run("HTTP1 "+target, func(t *testing.T) {
			conn := host.MustDial("127.0.0.1:8080")
			if err := conn.SetDeadline(time.Now().Add(harness.Patience)); err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(conn, "CONNECT %s HTTP/1.1\r\nhost: %s\r\n\r\n", target, target)
			in := bufio.NewReader(conn)
			resp, err := http.ReadResponse(in, &http.Request{Method: http.MethodConnect})
			if err != nil || resp.StatusCode != http.StatusOK || resp.Header.Get("X-Target") != says {
				t.Fatalf("the answer is %+v, %v", resp, err)
			}
			echoes(t, in, conn, conn.CloseWrite)
		})
		t.Run("HTTP2 "+target, func(t *testing.T) {
			w := dial2(t, host, "127.0.0.1:8080")
			if err := w.headers(1, false, ":method", "CONNECT", ":authority", target); err != nil {
				t.Fatal(err)
			}
			tunnel, r := w.tunnel(t, 1)
			if r.status() != "200" || r.head["x-target"] != says || r.head["content-length"] != "" || r.head["transfer-encoding"] != "" {
				t.Fatalf("the answer is %+v", r)
			}
			echoes(t, tunnel, tunnel, func() error { return w.WriteData(1, true, nil) })
		})
	}
	for _, name := range []string{"http.ingress.downstream_rq_active", "cluster.tcp.upstream_cx_active", "cluster.one.upstream_rq_active", "cluster.again.upstream_rq_active"} {
		weir.AwaitStat(name, func(n int) bool { return n == 0 })
	}
}

// echoes sends a lot, ends its direction, and wants all of it back.
func echoes(t *testing.T, in io.Reader, out io.Writer, end func() error) {
	t.Helper()
	text := strings.Repeat("0123456789abcdef", 4096)
	for range 4 {
		if _, err := io.WriteString(out, text); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, len(text))
		if _, err := io.ReadFull(in, got); err != nil || string(got) != text {
			t.Fatalf("echo: %v", err)
		}
	}
	if err := end(); err != nil {
		t.Fatal(err)
	}
	if rest, err := io.ReadAll(in); err != nil || len(rest) > 0 {
		t.Errorf("at the end came %d bytes, %v", len(rest), err)
	}
}

// A server that speaks first, and one that answers only when the client has ended its direction: half-close goes through
// HTTP/2, in which END_STREAM says it.
func TestConnectHalfClose(t *testing.T) {
	t.Parallel()
	host, _ := startTunnels(t, func(c *net.TCPConn) {
		_, _ = io.WriteString(c, "hello ") // the peer sees what is missing
		harness.EchoAtEnd(c)
	})
	w := dial2(t, host, "127.0.0.1:8080")
	if err := w.headers(1, false, ":method", "CONNECT", ":authority", "tcp.test:80"); err != nil {
		t.Fatal(err)
	}
	tunnel, r := w.tunnel(t, 1)
	if r.status() != "200" {
		t.Fatalf("the answer is %+v", r)
	}
	first := make([]byte, 6)
	if _, err := io.ReadFull(tunnel, first); err != nil || string(first) != "hello " {
		t.Fatalf("first came %q, %v", first, err)
	}
	if err := w.WriteData(1, true, []byte("question")); err != nil {
		t.Fatal(err)
	}
	if rest, err := io.ReadAll(tunnel); err != nil || string(rest) != `you said "question"` {
		t.Errorf("then came %q, %v", rest, err)
	}
}

// curl through weir as its proxy.
func TestCurlThroughConnect(t *testing.T) {
	t.Parallel()
	host := harness.NewHost(t)
	backend := host.HTTPBackend("backend", "127.0.0.1:0")
	host.StartWeir(harness.WeirOptions{Config: harness.Bootstrap{
		Listeners: []string{harness.Listener{Name: "main", Address: "127.0.0.1:8080", Chains: []string{harness.Chain(harness.HTTP(
			`{match: {connect_matcher: {}}, route: {cluster: backend, upgrade_configs: [{upgrade_type: CONNECT, connect_config: {}}]}}`))}}.YAML()},
		Clusters: []string{harness.Cluster("backend", harness.To(backend.Addr))},
	}.YAML()})
	got := host.App().Run("curl", "-q", "-sS", "--max-time", "20", "--proxytunnel", "-x", "http://127.0.0.1:8080", "http://somewhere.test/")
	wantOK(t, got, "backend")
	if r := backend.Last(t); r.Host != "somewhere.test" || r.Header.Get("X-Forwarded-Proto") != "" {
		t.Errorf("the backend got %s with %v: the tunnel was looked into", r.Host, r.Header)
	}
}

// Upgrades have filters of their own where that is configured, and ordinary requests theirs.
func TestUpgradeFilters(t *testing.T) {
	t.Parallel()
	host := harness.NewHost(t)
	backend := host.HTTPBackend("backend", "127.0.0.1:0", harness.WithHandler("/ws", echoUpgraded))
	marks := func(value string) string {
		return harness.HTTPFilter("mark", harness.HTTPFilterConfig("header_mutation.v3.HeaderMutation",
			"mutations: {request_mutations: [{append: {header: {key: x-chain, value: "+value+"}}}]}"))
	}
	host.StartWeir(harness.WeirOptions{Config: harness.Bootstrap{
		Listeners: []string{harness.Listener{Name: "main", Address: "127.0.0.1:8080", Chains: []string{harness.Chain(harness.HTTPFilters(
			[]string{marks("ordinary")},
			"http2_protocol_options: {allow_connect: true}",
			"upgrade_configs: [{upgrade_type: WebSocket, filters: ["+marks("upgraded")+", {name: envoy.filters.http.router}]}, {upgrade_type: other}]",
			"route_config: "+harness.RouteConfig("r", harness.RouteTo("/", "backend"))))}}.YAML()},
		Clusters: []string{harness.Cluster("backend", harness.To(backend.Addr))},
	}.YAML()})
	for kind, want := range map[string]string{"websocket": "upgraded", "other": "ordinary"} {
		conn := host.MustDial("127.0.0.1:8080")
		fmt.Fprintf(conn, "GET /ws HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: %s\r\n\r\n", kind)
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
			t.Fatalf("%s: %v, %v", kind, resp, err)
		}
		if got := backend.Last(t).Header.Get("X-Chain"); got != want {
			t.Errorf("%s went through %q", kind, got)
		}
	}
	wantOK(t, host.App().Curl("http://127.0.0.1:8080/"), "backend")
	if got := backend.Last(t).Header.Get("X-Chain"); got != "ordinary" {
		t.Errorf("an ordinary request went through %q", got)
	}
	if _, r := open2(t, dial2(t, host, "127.0.0.1:8080"), 1, "/ws"); r.status() != "200" {
		t.Errorf("over HTTP/2: %+v", r)
	}
	if got := backend.Last(t).Header.Get("X-Chain"); got != "upgraded" {
		t.Errorf("a WebSocket over HTTP/2 went through %q", got)
	}
}
