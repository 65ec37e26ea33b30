package hcm_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/weir-proxy/weir/pkg/config/model"
)

// TestTimeoutsOnceTheResponseBegan checks that request_timeout ends with the beginning of the response, as Envoy documents
// it, so that it does not cut tunnels off, and that this beginning counts as activity for stream_idle_timeout.
func TestTimeoutsOnceTheResponseBegan(t *testing.T) {
	const pause = 200 * time.Millisecond
	addr := raw(t, func(c net.Conn, _ int) {
		br := bufio.NewReader(c)
		req, err := http.ReadRequest(br)
		if err != nil {
			return
		}
		if req.URL.Path == "/late" {
			time.Sleep(pause)
		}
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
		time.Sleep(pause)
		_, _ = io.WriteString(c, "hello")
		_, _ = io.Copy(c, br)
	})
	for _, tc := range []struct {
		name, path string
		cfg        func(*model.HTTPConnectionManager)
	}{
		{"request timeout", "/", func(c *model.HTTPConnectionManager) { c.RequestTimeout = pause * 2 / 3 }},
		{"idle timeout", "/late", func(c *model.HTTPConnectionManager) { c.StreamIdleTimeout = pause * 5 / 3 }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := start(t, routeConfig(prefix("/", &model.RouteAction{Cluster: "web"})), options{
				clusters: map[string]*model.Cluster{"web": static("web", addr)},
				cfg: func(c *model.HTTPConnectionManager) {
					c.Upgrades = []model.Upgrade{{Type: "websocket"}}
					tc.cfg(c)
				},
			})
			c := p.dial()
			c.send(get(tc.path, "Connection: upgrade", "Upgrade: websocket"))
			if resp, err := http.ReadResponse(c.br, nil); err != nil || resp.StatusCode != 101 {
				t.Fatalf("got %v, %v", resp, err)
			}
			got := make([]byte, 5)
			if _, err := io.ReadFull(c.br, got); err != nil || string(got) != "hello" {
				t.Errorf("read %q, %v", got, err)
			}
		})
	}
}
