package e2e

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/weir-proxy/weir/test/harness"
)

// Many streams of one HTTP/2 connection, on to one HTTP/2 or HTTP/1.1 backend, with bodies both ways. Each answer must be the
// one to its request.
func TestHTTP2Streams(t *testing.T) {
	t.Parallel()
	ca := harness.NewCA(t)
	for name, protocols := range map[string][]string{"to HTTP/2": {"h2"}, "to HTTP/1.1": {"http/1.1"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			host := harness.NewHost(t)
			echo := harness.WithHandler("/echo", func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("X-Id", r.Header.Get("X-Id"))
				w.Header().Set("Trailer", "X-Sum")
				_ = http.NewResponseController(w).EnableFullDuplex()
				n, _ := io.Copy(w, r.Body) // a body cut short shows at the client
				w.Header().Set("X-Sum", fmt.Sprint(n))
			})
			backend := host.HTTPBackend("backend", "127.0.0.1:0", echo, harness.WithTLS(ca.Issue("backend.test").Server(protocols...)))
			more := []string{harness.UpstreamTLS(ca.Trust(), "sni: backend.test")}
			if protocols[0] == "h2" {
				more = []string{harness.UpstreamTLS(ca.Trust()+", alpn_protocols: [h2]", "sni: backend.test"), harness.HTTP2()}
			}
			weir := host.StartWeir(harness.WeirOptions{Config: reverseProxy(backend, more...)})
			client := host.HTTP2Client()
			var all sync.WaitGroup
			for worker := range 8 {
				all.Go(func() {
					for n := range 25 {
						if err := echoed(t.Context(), client, fmt.Sprint(worker, "-", n), 1<<(n%18)); err != nil {
							t.Errorf("request %d-%d: %v", worker, n, err)
						}
					}
				})
			}
			all.Wait()
			if n := weir.Stat("http.ingress.downstream_cx_http2_total"); n != 1 {
				t.Errorf("%d connections downstream, want 1", n)
			}
			weir.AwaitStat("http.ingress.downstream_rq_active", func(n int) bool { return n == 0 })
			weir.AwaitStat("cluster.backend.upstream_rq_active", func(n int) bool { return n == 0 })
		})
	}
}

// echoed sends a body that tells requests apart, and expects it back.
func echoed(ctx context.Context, client *http.Client, id string, size int) error {
	body := strings.Repeat(id+".", size/len(id)+1)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, plainURL+"echo", strings.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("X-Id", id)
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return err
	case resp.StatusCode != http.StatusOK || resp.Header.Get("X-Id") != id || resp.Header.Get("Server") != "envoy":
		return fmt.Errorf("status %d, header %v", resp.StatusCode, resp.Header)
	case string(got) != body:
		return fmt.Errorf("got %d bytes, want %d", len(got), len(body))
	}
	return nil
}

// Connections that send garbage, hang up early or stay silent disturb nobody.
func TestBadClients(t *testing.T) {
	t.Parallel()
	host := harness.NewHost(t)
	backend := host.HTTPBackend("backend", "127.0.0.1:0")
	weir := host.StartWeir(harness.WeirOptions{Config: reverseProxy(backend)})
	for _, text := range []string{
		"", "G", "GET / HT", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff",
		"\x00\x01\x02\x03", strings.Repeat("A", 200_000), "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nabc",
		"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
	} {
		conn, err := host.Dial(t.Context(), "tcp", "127.0.0.1:8080")
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(conn, text) // weir may have hung up
		if tcp, ok := conn.(*net.TCPConn); ok && len(text)%2 == 0 {
			_ = tcp.SetLinger(0)
		}
		conn.Close()
	}
	wantOK(t, host.App().Curl(plainURL), "backend")
	weir.AwaitStat("http.ingress.downstream_cx_active", func(n int) bool { return n == 0 })
	weir.AwaitStat("cluster.backend.upstream_rq_active", func(n int) bool { return n == 0 })
}
