package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/weir-proxy/weir/test/harness"
)

// wantLog waits for a line of the log that harness.HTTPFilters configures.
func wantLog(t *testing.T, weir *harness.Weir, line string) {
	t.Helper()
	harness.EventuallyNil(t, "the access log", func() error {
		if !strings.Contains("\n"+weir.Stdout(), "\n"+line+"\n") {
			return fmt.Errorf("no line %q in:\n%s", line, weir.Stdout())
		}
		return nil
	})
}

// perFilter is the field typed_per_filter_config.
func perFilter(name, config string) string {
	return "typed_per_filter_config: {" + name + ": " + config + "}"
}

// echoUpgraded switches to whatever protocol the client wants, and echoes.
func echoUpgraded(w http.ResponseWriter, r *http.Request) {
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	fmt.Fprintf(rw, "HTTP/1.1 101 Switching Protocols\r\nupgrade: %s\r\nconnection: Upgrade\r\n\r\n", r.Header.Get("upgrade"))
	if rw.Flush() == nil {
		_, _ = io.Copy(conn, rw) // until the client ends
	}
}

func TestFilterBuffer(t *testing.T) {
	t.Parallel()
	host := harness.NewHost(t)
	backend := host.HTTPBackend("backend", "127.0.0.1:0", harness.WithHandler("/ws", echoUpgraded))
	perRoute := func(fields string) string {
		return perFilter("buf", harness.HTTPFilterConfig("buffer.v3.BufferPerRoute", fields))
	}
	weir := host.StartWeir(harness.WeirOptions{Config: harness.Bootstrap{
		Listeners: []string{harness.Listener{Name: "main", Address: "127.0.0.1:8080", Chains: []string{harness.Chain(harness.HTTPFilters(
			[]string{harness.HTTPFilter("buf", harness.HTTPFilterConfig("buffer.v3.Buffer", "max_request_bytes: 1000"))},
			"upgrade_configs: [{upgrade_type: websocket}, {upgrade_type: other, filters: ["+harness.HTTPFilter("hm", says("upgraded"))+", {name: envoy.filters.http.router}]}]", "route_config: "+harness.RouteConfig("r",
				`{match: {prefix: /off}, route: {cluster: backend}, `+perRoute("disabled: true")+`}`,
				`{match: {prefix: /more}, route: {cluster: backend}, `+perRoute("buffer: {max_request_bytes: 100000}")+`}`,
				harness.RouteTo("/", "backend"),
			)))}}.YAML()},
		Clusters: []string{harness.Cluster("backend", harness.To(backend.Addr))},
	}.YAML()})
	app := host.App()
	long := strings.Repeat("x", 5000)

	t.Run("length is set", func(t *testing.T) {
		wantOK(t, app.Curl("-H", "transfer-encoding: chunked", "-d", "hello", "http://127.0.0.1:8080/"), "backend")
		if r := backend.Last(t); r.ContentLength != 5 || len(r.TransferEncoding) > 0 || r.Body != "hello" {
			t.Errorf("length %d, %v, body %q", r.ContentLength, r.TransferEncoding, r.Body)
		}
	})
	t.Run("too large", func(t *testing.T) {
		for _, framing := range []string{"transfer-encoding: chunked", "x-none: 1"} {
			wantOK(t, app.Curl("-w", " %{http_code}", "-H", framing, "-H", "expect:", "-d", long, "http://127.0.0.1:8080/large"), "Payload Too Large 413")
		}
		wantLog(t, weir, "413 - request_payload_too_large /large")
		weir.AwaitStat("http.ingress.downstream_rq_too_large", func(n int) bool { return n == 2 })
	})
	t.Run("routes", func(t *testing.T) {
		for path, length := range map[string]int64{"/off": -1, "/more": 5000} {
			wantOK(t, app.Curl("-H", "transfer-encoding: chunked", "-H", "expect:", "-d", long, "http://127.0.0.1:8080"+path), "backend")
			if r := backend.Last(t); r.ContentLength != length || r.Body != long {
				t.Errorf("%s: length %d, body of %d bytes", path, r.ContentLength, len(r.Body))
			}
		}
	})
	t.Run("waits for the end", func(t *testing.T) {
		before := weir.Stat("cluster.backend.upstream_rq_total")
		conn := host.MustDial("127.0.0.1:8080")
		fmt.Fprint(conn, "POST /slow HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nhalf ")
		weir.AwaitStat("http.ingress.downstream_rq_active", func(n int) bool { return n == 1 })
		if n := weir.Stat("cluster.backend.upstream_rq_total"); n != before {
			t.Error("the upstream was asked before the request was complete")
		}
		fmt.Fprint(conn, "whole")
		if resp, err := http.ReadResponse(bufio.NewReader(conn), nil); err != nil || resp.StatusCode != 200 {
			t.Fatalf("%v, %v", resp, err)
		}
		if r := backend.Last(t); r.Body != "half whole" {
			t.Errorf("body %q", r.Body)
		}
	})
	for kind, header := range map[string]string{"websocket": "", "other": "upgraded"} {
		t.Run(kind, func(t *testing.T) {
			conn := host.MustDial("127.0.0.1:8080")
			fmt.Fprintf(conn, "GET /ws HTTP/1.1\r\nhost: x\r\nconnection: Upgrade\r\nupgrade: %s\r\n\r\n", kind)
			in := bufio.NewReader(conn)
			resp, err := http.ReadResponse(in, nil)
			if err != nil || resp.StatusCode != http.StatusSwitchingProtocols || resp.Header.Get("says") != header {
				t.Fatalf("%v, %v", resp, err)
			}
			fmt.Fprint(conn, long)
			got := make([]byte, len(long))
			if _, err := io.ReadFull(in, got); err != nil || string(got) != long {
				t.Errorf("echo: %v", err)
			}
		})
	}
}
