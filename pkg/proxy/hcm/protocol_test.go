package hcm_test

import (
	"io"
	"net"
	"net/http"
	"testing"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/observe/accesslog"
	"github.com/weir-proxy/weir/pkg/observe/format"
)

// TestProtocolsInTheLog checks what the access log says of the protocols of both legs, also when there is none.
func TestProtocolsInTheLog(t *testing.T) {
	f, err := format.Compile("%REQ(:METHOD)% %REQ(:PATH)% %RESPONSE_CODE% %PROTOCOL% %UPSTREAM_PROTOCOL%\n")
	if err != nil {
		t.Fatal(err)
	}
	echo := raw(t, func(c net.Conn, _ int) { _, _ = io.Copy(c, c) })
	web := raw(t, func(c net.Conn, _ int) {
		_, _ = c.Read(make([]byte, 4096))
		_, _ = io.WriteString(c, "HTTP/1.0 200 OK\r\n\r\n")
	})
	p := start(t, routeConfig(
		&model.Route{Match: model.RouteMatch{Kind: model.PathConnect}, Action: &model.RouteAction{
			Cluster: "echo", GRPCTimeoutMax: -1, Upgrades: []model.Upgrade{{Type: "CONNECT", Terminate: true}},
		}},
		prefix("/", &model.RouteAction{Cluster: "web"}),
	), options{
		clusters: map[string]*model.Cluster{"echo": static("echo", echo), "web": static("web", web)},
		cfg: func(c *model.HTTPConnectionManager) {
			c.Upgrades = []model.Upgrade{{Type: "CONNECT"}}
			c.AccessLogs = []*model.AccessLog{{Config: &accesslog.File{Path: "/dev/stdout", Format: f}}}
		},
	})
	for _, tc := range []struct{ name, request, method, log string }{
		{"requests", get("/"), "GET", "GET / 200 HTTP/1.1 HTTP/1.1"},
		{"tunnel to an upstream", "CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n", "CONNECT", "CONNECT - 200 HTTP/1.1 -"},
		{"old request", "GET /old HTTP/1.0\r\n\r\n", "GET", "GET /old 426 HTTP/1.0 -"},
		{"no request", "\x16\x03\x01\n", "GET", "- - 400 - -"},
		{"request of a version that there is not", "PUT / HTTP/7.0\r\n\r\n", "GET", "- - 400 - -"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := p.dial()
			c.send(tc.request)
			if _, err := http.ReadResponse(c.br, &http.Request{Method: tc.method}); err != nil {
				t.Fatal(err)
			}
			_ = c.Close() // ends the tunnel
			p.logged(tc.log)
		})
	}
}
