package hcm_test

import (
	"io"
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
