package hcm_test

import (
	"io"
	"net"
	"testing"
	"time"

	"github.com/weir-proxy/weir/pkg/config/model"
)

// TestHTTP2Timeouts checks that an HTTP/2 connection ends with its idle time or its life.
func TestHTTP2Timeouts(t *testing.T) {
	for _, tc := range []struct {
		stat string
		cfg  func(*model.HTTPConnectionManager)
	}{
		{"idle_timeout", func(c *model.HTTPConnectionManager) { c.IdleTimeout = 40 * time.Millisecond }},
		{"max_duration_reached", func(c *model.HTTPConnectionManager) { c.MaxConnectionDuration = 40 * time.Millisecond }},
	} {
		t.Run(tc.stat, func(t *testing.T) {
			p := start(t, direct200(), options{cfg: func(c *model.HTTPConnectionManager) {
				c.SafeMaxConnectionDuration = true // of HTTP/1 only
				tc.cfg(c)
			}})
			resp, err := http2Client(t, p.addr).Get("http://a/")
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			p.eventually("connection ends", func() bool {
				return p.counter("http.test.downstream_cx_"+tc.stat) == 1 && p.counter("http.test.downstream_cx_http2_active") == 0
			})
		})
	}
}

func TestHTTP2ViolationIsCounted(t *testing.T) {
	p := start(t, routeConfig(), options{})
	c := p.dial()
	c.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + "\x00\x00\x00\x04\x00\x00\x00\x00\x00" + "\x00\x00\x01\x04\x00\x00\x00\x00\x00x")
	_, _ = io.Copy(io.Discard, c.br)
	p.eventually("it is counted", func() bool { return p.counter("http.test.downstream_cx_protocol_error") == 1 })
}

// TestHTTP2HeadTimeout checks that a head which does not come to its end is given up although another stream is under way.
func TestHTTP2HeadTimeout(t *testing.T) {
	hang := raw(t, func(c net.Conn, _ int) { _, _ = io.Copy(io.Discard, c) })
	p := start(t, routeConfig(prefix("/", &model.RouteAction{Cluster: "hang"})), options{
		clusters: map[string]*model.Cluster{"hang": static("hang", hang)},
		cfg:      func(c *model.HTTPConnectionManager) { c.RequestHeadersTimeout = 60 * time.Millisecond },
	})
	const (
		settings = "\x00\x00\x00\x04\x00\x00\x00\x00\x00"
		whole    = "\x00\x00\x06\x01\x05\x00\x00\x00\x01\x82\x86\x84\x41\x01a" // GET http://a/, ends the stream
		part     = "\x00\x00\x01\x01\x01\x00\x00\x00\x03\x82"                  // without END_HEADERS
	)
	c := p.dial()
	c.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + settings + whole)
	p.eventually("the first stream", func() bool { return p.counter("cluster.hang.upstream_rq_active") == 1 })
	if p.counter("http.test.downstream_rq_header_timeout") != 0 {
		t.Error("a whole head was late")
	}
	c.send(part)
	p.eventually("the second is late", func() bool { return p.counter("http.test.downstream_rq_header_timeout") == 1 })
	p.logged("- - 408 - request_header_timeout")
	_ = c.Close()
}
