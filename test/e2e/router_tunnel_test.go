package e2e

import (
	"bufio"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/weir-proxy/weir/test/harness"
)

// A CONNECT that the route terminates becomes a TCP connection to the upstream, and so does a POST where it may.
func TestRouterTerminatesConnect(t *testing.T) {
	t.Parallel()
	host := harness.NewHost(t)
	echo := host.TCPBackend("127.0.0.1:0", harness.Echo)
	greets := host.TCPBackend("127.0.0.1:0", harness.Greets("hello from tcp\n"))
	r := startRig(t, host, rigConfig{
		routes: []string{
			"{match: {connect_matcher: {}, headers: [{name: x-where, string_match: {exact: refused}}]}, route: {cluster: refusing, upgrade_configs: [{upgrade_type: CONNECT, connect_config: {}}]}}",
			"{match: {connect_matcher: {}}, route: {cluster: greets, upgrade_configs: [{upgrade_type: CONNECT, connect_config: {}}]}}",
			"{match: {prefix: /post}, route: {cluster: echo, upgrade_configs: [{upgrade_type: CONNECT, connect_config: {allow_post: true}}]}}",
		},
		clusters: []string{
			harness.Cluster("greets", harness.To(greets.Addr)), harness.Cluster("echo", harness.To(echo.Addr)),
			harness.Cluster("refusing", harness.To(host.RefusingAddr("127.0.0.1"))),
		},
		manager: "upgrade_configs: [{upgrade_type: CONNECT}]",
	})
	conn := host.MustDial("127.0.0.1:8080")
	if _, err := io.WriteString(conn, "CONNECT greets.test:80 HTTP/1.1\r\nHost: greets.test:80\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	br := bufio.NewReader(conn)
	resp, err := http.ReadResponse(br, &http.Request{Method: "CONNECT"})
	if err != nil || resp.StatusCode != 200 {
		t.Fatalf("connect: %v, %v", resp, err)
	}
	if line, err := br.ReadString('\n'); err != nil || line != "hello from tcp\n" {
		t.Errorf("through the tunnel came %q, %v", line, err)
	}
	_ = conn.Close()
	refused := host.MustDial("127.0.0.1:8080")
	if _, err := io.WriteString(refused, "CONNECT a.test:80 HTTP/1.1\r\nHost: a.test:80\r\nx-where: refused\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if resp, err := http.ReadResponse(bufio.NewReader(refused), &http.Request{Method: "CONNECT"}); err != nil || resp.StatusCode != 503 {
		t.Errorf("to a port that refuses: %v, %v", resp, err)
	}
	payload := strings.Repeat("tunnelled ", 10000)
	if resp, got := r.send("POST", "/post", payload); resp.StatusCode != 200 || got != payload {
		t.Errorf("status %d, %d bytes of %d came back", resp.StatusCode, len(got), len(payload))
	}
	r.stats(map[string]int{
		"cluster.greets.upstream_rq_active": 0, "cluster.echo.upstream_rq_active": 0, "cluster.echo.upstream_rq_200": 1,
		"cluster.greets.upstream_cx_active": 0, "cluster.echo.upstream_cx_active": 0, "cluster.refusing.upstream_rq_503": 1,
	})
}
