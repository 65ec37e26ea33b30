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
)

func direct200() *model.RouteConfig {
	return routeConfig(&model.Route{Direct: &model.DirectResponse{Status: 200}})
}

// TestDrainTimeout checks that a connection which is to end goes on for the drain timeout, and that a response says so.
func TestDrainTimeout(t *testing.T) {
	for _, tc := range []struct {
		name, stat string
		cfg        func(*model.HTTPConnectionManager)
	}{
		{"idle", "idle_timeout", func(c *model.HTTPConnectionManager) { c.IdleTimeout = 30 * time.Millisecond }},
		{"duration", "max_duration_reached", func(c *model.HTTPConnectionManager) { c.MaxConnectionDuration = 30 * time.Millisecond }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := start(t, direct200(), options{cfg: func(c *model.HTTPConnectionManager) {
				c.DrainTimeout = 10 * time.Second
				tc.cfg(c)
			}})
			c := p.dial()
			c.send(get("/"))
			c.read("GET")
			p.eventually("told", func() bool { return p.counter("http.test.downstream_cx_"+tc.stat) == 1 })
			c.send(get("/"))
			if resp, _ := c.read("GET"); resp.StatusCode != 200 || !resp.Close {
				t.Errorf("got %d, close %v", resp.StatusCode, resp.Close)
			}
			if _, err := c.br.ReadByte(); err != io.EOF {
				t.Errorf("connection: %v", err)
			}
		})
	}
	t.Run("over", func(t *testing.T) {
		const drain = 150 * time.Millisecond
		p := start(t, direct200(), options{cfg: func(c *model.HTTPConnectionManager) {
			c.IdleTimeout, c.DrainTimeout, c.CodecType = 20*time.Millisecond, drain, model.CodecHTTP1
		}})
		begun := time.Now()
		c := p.dial()
		if _, err := c.br.ReadByte(); err != io.EOF {
			t.Errorf("connection: %v", err)
		}
		if took := time.Since(begun); took < drain {
			t.Errorf("ended after %v", took)
		}
	})
}

func TestSafeMaxConnectionDuration(t *testing.T) {
	p := start(t, direct200(), options{cfg: func(c *model.HTTPConnectionManager) {
		c.MaxConnectionDuration, c.SafeMaxConnectionDuration = 20*time.Millisecond, true
	}})
	c := p.dial()
	c.send(get("/"))
	c.read("GET")
	p.eventually("too old", func() bool { return p.counter("http.test.downstream_cx_max_duration_reached") == 1 })
	if err := c.SetReadDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.br.ReadByte(); !timedOut(err) {
		t.Fatalf("an idle connection was ended: %v", err)
	}
	if err := c.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	c.send(get("/"))
	if resp, _ := c.read("GET"); !resp.Close {
		t.Error("the response does not say that it is the last")
	}
}

func timedOut(err error) bool {
	ne, ok := err.(net.Error)
	return ok && ne.Timeout()
}

// TestSilentConnection checks that a client which never says anything is counted, times out and drains.
func TestSilentConnection(t *testing.T) {
	for _, tc := range []struct {
		name string
		idle time.Duration
		end  func(*proxy)
	}{
		{"idle timeout", 30 * time.Millisecond, func(*proxy) {}},
		{"drain", time.Hour, func(p *proxy) { close(p.draining) }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := start(t, direct200(), options{cfg: func(c *model.HTTPConnectionManager) {
				c.IdleTimeout, c.DrainTimeout = tc.idle, time.Hour
			}})
			c := p.dial()
			p.eventually("counted", func() bool { return p.counter("http.test.downstream_cx_total") == 1 })
			tc.end(p)
			if _, err := c.br.ReadByte(); err != io.EOF {
				t.Errorf("connection: %v", err)
			}
			p.eventually("a local close is counted", func() bool { return p.counter("http.test.downstream_cx_destroy_local") == 1 })
			if n := p.counter("http.test.downstream_cx_active"); n != 0 {
				t.Errorf("%d active", n)
			}
		})
	}
}

// TestIdleTimeoutBeginsWithTheLastResponse keeps a connection busy for longer than its idle timeout.
func TestIdleTimeoutBeginsWithTheLastResponse(t *testing.T) {
	const idle = 400 * time.Millisecond
	p := start(t, direct200(), options{cfg: func(c *model.HTTPConnectionManager) { c.IdleTimeout = idle }})
	c := p.dial()
	last := time.Now()
	for begun := last; time.Since(begun) < 2*idle; {
		c.send(get("/"))
		if resp, _ := c.read("GET"); resp.Close {
			t.Fatal("a busy connection was told to end")
		}
		last = time.Now()
		<-time.After(idle / 8) // between two requests
	}
	if _, err := c.br.ReadByte(); err != io.EOF {
		t.Fatalf("connection: %v", err)
	}
	if took := time.Since(last); took < idle/2 {
		t.Errorf("ended %v after the last request", took)
	}
}

func TestTunnelIsLogged(t *testing.T) {
	addr := raw(t, func(c net.Conn, _ int) {
		br := bufio.NewReader(c)
		if _, err := http.ReadRequest(br); err != nil {
			return
		}
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
		_, _ = io.Copy(c, br)
	})
	p := start(t, routeConfig(prefix("/", &model.RouteAction{Cluster: "web"})), options{
		clusters: map[string]*model.Cluster{"web": static("web", addr)},
		cfg: func(c *model.HTTPConnectionManager) {
			c.Upgrades, c.AccessLogs, c.LogOnTunnel = []model.Upgrade{{Type: "websocket"}}, kindLog(t), true
		},
	})
	c := p.dial()
	c.send(get("/chat", "Connection: upgrade", "Upgrade: websocket"))
	if resp, err := http.ReadResponse(c.br, nil); err != nil || resp.StatusCode != 101 {
		t.Fatalf("got %v, %v", resp, err)
	}
	want := []string{"DownstreamTunnelSuccessfullyEstablished /chat"}
	if got := p.kinds(); !slices.Equal(got, want) {
		t.Errorf("while it lasts %q", got)
	}
	_ = c.Close()
	p.eventually("last entry", func() bool { return slices.Equal(p.kinds(), append(want, "DownstreamEnd /chat")) })
}

// TestStreamDurationIsExact checks that a stream whose time is up between two looks at the connection does not wait for
// the next one: deadlines of gRPC calls are bounds of this kind. The fastest of a few runs counts, for the sake of busy hosts.
func TestStreamDurationIsExact(t *testing.T) {
	const life = 280 * time.Millisecond // looks are at 250 and 500 ms
	hang := raw(t, func(c net.Conn, _ int) { _, _ = io.Copy(io.Discard, c) })
	p := start(t, routeConfig(prefix("/", &model.RouteAction{Cluster: "web", MaxStreamDuration: life, HasMaxStreamDuration: true})),
		options{clusters: map[string]*model.Cluster{"web": static("web", hang)}})
	fastest := time.Hour
	for range 5 {
		begin := time.Now()
		if resp, _ := p.do(get("/")); resp.StatusCode != 504 {
			t.Fatalf("got %d", resp.StatusCode)
		}
		if fastest = min(fastest, time.Since(begin)); fastest < life+100*time.Millisecond {
			break
		}
	}
	if fastest < life || fastest >= life+150*time.Millisecond {
		t.Errorf("a stream of %v ended after %v", life, fastest)
	}
}
