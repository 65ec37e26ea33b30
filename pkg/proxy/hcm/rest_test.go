package hcm_test

import (
	"bufio"
	"crypto/tls"
	"crypto/x509/pkix"
	"io"
	"testing"

	"github.com/weir-proxy/weir/pkg/config/model"
)

// TestIdleConnectionsRest checks that a connection which has been idle for a while gives up its goroutine, and goes on as
// if nothing had been when a request, a drain, the client's close or the end of the process comes.
func TestIdleConnectionsRest(t *testing.T) {
	server := &tls.Config{Certificates: []tls.Certificate{certificate(t, pkix.Name{CommonName: "server"}, "spiffe://here/server")}}
	for _, secure := range []*tls.Config{nil, server} {
		p := start(t, routeConfig(prefix("/", &model.RouteAction{Cluster: "web"})),
			options{clusters: map[string]*model.Cluster{"web": static("web", backend(t, echo))}, tls: secure})
		dial := func() *client {
			t.Helper()
			c := p.dial()
			if secure != nil {
				over := tls.Client(c.Conn, &tls.Config{InsecureSkipVerify: true})
				c = &client{Conn: over, t: t, br: bufio.NewReader(over)}
			}
			return c
		}
		rests := func(n int64) {
			t.Helper()
			p.eventually("the connection rests", func() bool { return p.rests.Load() >= n })
		}
		c := dial()
		for i := range 2 {
			c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
			if resp, _ := c.read("GET"); resp.StatusCode != 200 {
				t.Fatalf("got %d", resp.StatusCode)
			}
			rests(int64(i + 1))
		}
		_ = c.Close()
		p.eventually("the close was seen", func() bool { return p.counter("http.test.downstream_cx_destroy_remote") == 1 })

		c = dial()
		c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		c.read("GET")
		rests(3)
		close(p.draining)
		if rest, err := io.ReadAll(c); len(rest) > 0 || err != nil {
			t.Errorf("at the drain: %q, %v", rest, err)
		}
		if got := p.counter("http.test.downstream_cx_total"); got != 2 {
			t.Errorf("%d connections were counted, want 2", got)
		}
	}
}

// TestRestingConnectionsTimeOut checks that the idle timeout reaches connections without a goroutine.
func TestRestingConnectionsTimeOut(t *testing.T) {
	p := start(t, routeConfig(prefix("/", &model.RouteAction{Cluster: "web"})), options{
		clusters: map[string]*model.Cluster{"web": static("web", backend(t, echo))},
		cfg:      func(c *model.HTTPConnectionManager) { c.IdleTimeout, c.DrainTimeout = 700e6, 100e6 },
	})
	c := p.dial()
	c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	c.read("GET")
	if rest, err := io.ReadAll(c); len(rest) > 0 || err != nil {
		t.Errorf("at the timeout: %q, %v", rest, err)
	}
	if p.rests.Load() == 0 || p.counter("http.test.downstream_cx_idle_timeout") != 1 {
		t.Errorf("rested %d times, timed out %d times", p.rests.Load(), p.counter("http.test.downstream_cx_idle_timeout"))
	}
}
