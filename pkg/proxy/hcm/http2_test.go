package hcm_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/weir-proxy/weir/pkg/config/model"
)

// http2Client speaks HTTP/2 with prior knowledge.
func http2Client(t *testing.T, addr string) *http.Client {
	tr := &http2.Transport{AllowHTTP: true, DialTLSContext: func(ctx context.Context, _, _ string, _ *tls.Config) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	}}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

func TestHTTP2(t *testing.T) {
	p := start(t, routeConfig(prefix("/", &model.RouteAction{Cluster: "web", Timeout: requestTimeout})),
		options{clusters: map[string]*model.Cluster{"web": static("web", backend(t, echo))}})
	c := http2Client(t, p.addr)
	var wg sync.WaitGroup
	for i := range 20 {
		path := fmt.Sprintf("/a/%d", i)
		wg.Go(func() {
			resp, err := c.Post("http://example.com"+path, "text/plain", strings.NewReader("body"))
			if err != nil {
				t.Error(err)
				return
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			if err != nil || resp.StatusCode != 200 || string(body) != "echo:body" || resp.Header.Get("x-seen-path") != path {
				t.Errorf("%d %q %v", resp.StatusCode, body, err)
			}
		})
	}
	wg.Wait()
	p.logged("POST /a/7 200 - via_upstream 4 9 web")
	p.eventually("all are counted", func() bool { return p.counter("http.test.downstream_rq_http2_total") == 20 })
	if n := p.counter("http.test.downstream_cx_http2_total"); n == 0 {
		t.Error("downstream_cx_http2_total is 0")
	}
}

func TestHTTP2ClientGivesUp(t *testing.T) {
	addr := raw(t, func(c net.Conn, _ int) { _, _ = io.Copy(io.Discard, c) })
	p := start(t, routeConfig(prefix("/", &model.RouteAction{Cluster: "web"})), options{clusters: map[string]*model.Cluster{"web": static("web", addr)}})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		req, _ := http.NewRequestWithContext(ctx, "GET", "http://a/slow", nil)
		resp, err := http2Client(t, p.addr).Do(req)
		if err == nil {
			_ = resp.Body.Close()
		}
		done <- err
	}()
	p.eventually("request is under way", func() bool { return p.counter("cluster.web.upstream_rq_active") == 1 })
	cancel()
	if err := <-done; err == nil {
		t.Error("the client got a response")
	}
	p.logged("GET /slow 0 DR http2.remote_reset")
}

func TestHTTP2Drain(t *testing.T) {
	p := start(t, routeConfig(&model.Route{Direct: &model.DirectResponse{Status: 200}}), options{})
	resp, err := http2Client(t, p.addr).Get("http://a/")
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	close(p.draining)
	p.eventually("connection ends", func() bool { return p.counter("http.test.downstream_cx_http2_active") == 0 })
}

func TestRoutesOverHTTP2LocalReply(t *testing.T) {
	p := start(t, routeConfig(prefix("/", &model.RouteAction{Cluster: "hang", Timeout: 50 * time.Millisecond})), options{
		clusters: map[string]*model.Cluster{"hang": static("hang", raw(t, func(c net.Conn, _ int) { _, _ = io.Copy(io.Discard, c) }))},
	})
	resp, err := http2Client(t, p.addr).Get("http://a/")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, _ := io.ReadAll(resp.Body); resp.StatusCode != 504 || string(body) != "upstream request timeout" {
		t.Errorf("%d %q", resp.StatusCode, body)
	}
}
