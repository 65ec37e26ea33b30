package hcm_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/filter"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
)

func TestUpgrade(t *testing.T) {
	addr := raw(t, func(c net.Conn, _ int) {
		br := bufio.NewReader(c)
		r, err := http.ReadRequest(br)
		if err != nil || r.Header.Get("Upgrade") != "websocket" {
			return
		}
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
		_, _ = io.Copy(c, br)
	})
	p := start(t, routeConfig(prefix("/", &model.RouteAction{Cluster: "web", Timeout: 50 * time.Millisecond})), options{
		clusters: map[string]*model.Cluster{"web": static("web", addr)},
		cfg:      func(c *model.HTTPConnectionManager) { c.Upgrades = []model.Upgrade{{Type: "websocket"}} },
	})
	c := p.dial()
	c.send(get("/chat", "Connection: upgrade", "Upgrade: websocket"))
	resp, err := http.ReadResponse(c.br, nil)
	if err != nil || resp.StatusCode != 101 {
		t.Fatalf("got %v, %v", resp, err)
	}
	for _, text := range []string{"hello", "again"} {
		c.send(text)
		got := make([]byte, len(text))
		if _, err := io.ReadFull(c.br, got); err != nil || string(got) != text {
			t.Fatalf("got %q, %v", got, err)
		}
	}
	if n := p.counter("http.test.downstream_cx_upgrades_active"); n != 1 {
		t.Errorf("upgrades_active = %d", n)
	}
	_ = c.Close()
	p.logged("GET /chat 101 ")
	p.eventually("tunnel ends", func() bool { return p.counter("http.test.downstream_cx_upgrades_active") == 0 })
}

func TestRouteSwap(t *testing.T) {
	direct := func(status int) *model.RouteConfig {
		return routeConfig(&model.Route{Direct: &model.DirectResponse{Status: status}})
	}
	p := start(t, direct(201), options{})
	c := p.dial()
	c.send(get("/"))
	if resp, _ := c.read("GET"); resp.StatusCode != 201 {
		t.Fatalf("before: %d", resp.StatusCode)
	}
	p.swap(direct(202))
	c.send(get("/"))
	if resp, _ := c.read("GET"); resp.StatusCode != 202 {
		t.Fatalf("after, on the same connection: %d", resp.StatusCode)
	}
}

func TestDrain(t *testing.T) {
	p := start(t, routeConfig(&model.Route{Direct: &model.DirectResponse{Status: 200}}), options{})
	c := p.dial()
	c.send(get("/"))
	c.read("GET")
	close(p.draining)
	if _, err := c.br.ReadByte(); err != io.EOF {
		t.Errorf("idle connection: %v", err)
	}
	p.eventually("connection ends", func() bool { return p.counter("http.test.downstream_cx_active") == 0 })
	if p.counter("http.test.downstream_cx_drain_close") != 1 {
		t.Error("drain_close was not counted")
	}
}

// A client whose first request crosses with the drain of its new connection gets an answer, and one that sends none is not
// waited for long.
func TestDrainBeforeTheFirstRequest(t *testing.T) {
	for _, tc := range []struct {
		name  string
		codec model.CodecType
	}{{"protocol by the first bytes", model.CodecAuto}, {"protocol known", model.CodecHTTP1}} {
		t.Run(tc.name, func(t *testing.T) {
			p := start(t, routeConfig(&model.Route{Direct: &model.DirectResponse{Status: 200}}), options{
				cfg: func(c *model.HTTPConnectionManager) { c.CodecType = tc.codec },
			})
			asks, silent := p.dial(), p.dial()
			p.eventually("connections", func() bool { return p.counter("http.test.downstream_cx_active") == 2 })
			close(p.draining)
			p.eventually("drain begins", func() bool { return p.counter("http.test.downstream_cx_drain_close") == 2 })
			asks.send(get("/"))
			if resp, _ := asks.read("GET"); resp.StatusCode != 200 || !resp.Close {
				t.Errorf("answer %d, close %v", resp.StatusCode, resp.Close)
			}
			if _, err := silent.br.ReadByte(); err != io.EOF {
				t.Errorf("silent connection: %v", err)
			}
			p.eventually("connections end", func() bool { return p.counter("http.test.downstream_cx_active") == 0 })
		})
	}
}

func TestConnectionTimeouts(t *testing.T) {
	for _, tc := range []struct {
		name, stat, send string
		cfg              func(*model.HTTPConnectionManager)
	}{
		{"idle", "downstream_cx_idle_timeout", get("/"), func(c *model.HTTPConnectionManager) { c.IdleTimeout = 40 * time.Millisecond }},
		{"duration", "downstream_cx_max_duration_reached", get("/"), func(c *model.HTTPConnectionManager) { c.MaxConnectionDuration = 40 * time.Millisecond }},
		{"headers", "downstream_rq_header_timeout", "GET / HTTP/1.1\r\nHo", func(c *model.HTTPConnectionManager) { c.RequestHeadersTimeout = 40 * time.Millisecond }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := start(t, routeConfig(&model.Route{Direct: &model.DirectResponse{Status: 200}}), options{cfg: tc.cfg})
			c := p.dial()
			c.send(tc.send)
			if tc.name != "headers" {
				c.read("GET")
			}
			if tc.name == "headers" {
				resp, body := c.read("GET")
				if resp.StatusCode != 408 || body != "request header timeout" || !resp.Close {
					t.Errorf("got %d %q", resp.StatusCode, body)
				}
				p.logged("- - 408 - request_header_timeout")
			}
			if _, err := io.Copy(io.Discard, c.br); err != nil {
				t.Errorf("connection ended with %v", err)
			}
			_ = c.Close()
			p.eventually("a local close is counted", func() bool { return p.counter("http.test.downstream_cx_destroy_local") == 1 })
			if p.counter("http.test."+tc.stat) != 1 {
				t.Errorf("%s was not counted", tc.stat)
			}
		})
	}
}

func TestConnectionEndsCounted(t *testing.T) {
	hang := func(t *testing.T) string { return raw(t, func(c net.Conn, _ int) { _, _ = io.Copy(io.Discard, c) }) }
	breakOff := func(t *testing.T) string {
		return raw(t, func(c net.Conn, _ int) {
			if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
				_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart")
			}
		})
	}
	for _, tc := range []struct {
		name     string
		upstream func(*testing.T) string
		leave    bool // the client closes when the request is under way
		want     []string
	}{
		{"client leaves", hang, true, []string{"destroy_active_rq", "destroy_remote", "destroy_remote_active_rq"}},
		{"upstream breaks off", breakOff, false, []string{"destroy_active_rq", "destroy_local", "destroy_local_active_rq"}},
		{"answered", func(t *testing.T) string { return backend(t, echo) }, false, []string{"destroy_local"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := start(t, routeConfig(prefix("/", &model.RouteAction{Cluster: "web"})), options{
				clusters: map[string]*model.Cluster{"web": static("web", tc.upstream(t))},
				cfg:      func(c *model.HTTPConnectionManager) { c.MaxRequestsPerConnection = 1 },
			})
			c := p.dial()
			c.send(get("/"))
			if tc.leave {
				p.eventually("request is under way", func() bool { return p.counter("cluster.web.upstream_rq_active") == 1 })
				_ = c.Close()
			} else {
				_, _ = io.Copy(io.Discard, c.br)
				_ = c.Close()
			}
			p.eventually("connection ends", func() bool { return p.counter("http.test.downstream_cx_destroy") == 1 })
			for _, name := range []string{"destroy_active_rq", "destroy_local", "destroy_local_active_rq", "destroy_remote", "destroy_remote_active_rq"} {
				want := uint64(0)
				if slices.Contains(tc.want, name) {
					want = 1
				}
				if got := p.counter("http.test.downstream_cx_" + name); got != want {
					t.Errorf("%s is %d, want %d", name, got, want)
				}
			}
			if p.counter("http.test.downstream_cx_max_requests_reached") != 1 {
				t.Error("max_requests_reached was not counted")
			}
		})
	}
}

// ok answers every request with an empty 200.
type ok struct{}

// Handle implements filter.HTTP.
func (ok) Handle(s *filter.Stream) (*message.Response, error) {
	s.Response.Reset()
	s.Response.Status = 200
	return s.Response, nil
}

func TestNoAllocations(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector makes pools allocate")
	}
	p := start(t, routeConfig(prefix("/", &model.RouteAction{Cluster: "web"})), options{cfg: func(c *model.HTTPConnectionManager) {
		c.HTTPFilters = []*model.HTTPFilter{{Name: "ok", Config: ok{}}}
		c.UseRemoteAddress = true
		c.NormalizePath = true
	}})
	c := p.dial()
	request := []byte(get("/index.html?a=b", "user-agent: test", "accept: */*"))
	buf := make([]byte, 4096)
	once := func() {
		if _, err := c.Write(request); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Conn.Read(buf); err != nil {
			t.Fatal(err)
		}
	}
	for range 200 {
		once()
	}
	if n := testing.AllocsPerRun(2000, once); n > 0.5 {
		t.Errorf("%v allocations per request", n)
	}
}

func TestNoAllocationsForwarding(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector makes pools allocate")
	}
	answer := []byte("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello")
	addr := raw(t, func(c net.Conn, _ int) {
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
	p := start(t, routeConfig(prefix("/", &model.RouteAction{Cluster: "web", Timeout: requestTimeout})),
		options{clusters: map[string]*model.Cluster{"web": static("web", addr)}})
	c := p.dial()
	request := []byte(get("/index.html"))
	buf := make([]byte, 4096)
	once := func() {
		if _, err := c.Write(request); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Conn.Read(buf); err != nil {
			t.Fatal(err)
		}
	}
	for range 200 {
		once()
	}
	if n := testing.AllocsPerRun(2000, once); n > 0.5 {
		t.Errorf("%v allocations per forwarded request", n)
	}
}

// A response tells that its connection drains, before anything else does.
func TestDrainIsDueWithResponse(t *testing.T) {
	p := start(t, routeConfig(&model.Route{Direct: &model.DirectResponse{Status: 200}}), options{})
	p.busyTold.Store(true)
	c := p.dial()
	c.send(get("/"))
	if resp, _ := c.read("GET"); resp.StatusCode != 200 || !resp.Close {
		t.Errorf("%d, close %v", resp.StatusCode, resp.Close)
	}
	resp, err := http2Client(t, p.addr).Get("http://a/")
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	p.eventually("both connections end", func() bool { return p.counter("http.test.downstream_cx_active") == 0 })
	if n := p.counter("http.test.downstream_cx_drain_close"); n != 2 {
		t.Errorf("drain_close is %d", n)
	}
}
