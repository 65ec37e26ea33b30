package hcm_test

import (
	"net"
	"testing"

	"github.com/weir-proxy/weir/pkg/config/model"
)

// BenchmarkForward is one keep-alive client through the manager to one backend, access log included.
func BenchmarkForward(b *testing.B) {
	answer := []byte("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello")
	addr := raw(b, func(c net.Conn, _ int) {
		buf := make([]byte, 4096)
		for {
			if _, err := c.Read(buf); err != nil {
				return
			}
			if _, err := c.Write(answer); err != nil {
				return
			}
		}
	})
	p := start(b, routeConfig(prefix("/", &model.RouteAction{Cluster: "web", Timeout: requestTimeout})),
		options{clusters: map[string]*model.Cluster{"web": static("web", addr)}})
	c := p.dial()
	request := []byte(get("/index.html"))
	buf := make([]byte, 4096)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Write(request); err != nil {
			b.Fatal(err)
		}
		if _, err := c.Conn.Read(buf); err != nil {
			b.Fatal(err)
		}
	}
}
