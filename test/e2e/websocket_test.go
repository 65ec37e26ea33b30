package e2e

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/websocket"

	"github.com/weir-proxy/weir/test/harness"
)

// sockets is a weir in front of a WebSocket server. /chat is allowed by its route, /plain by nothing; whatever enters at 8081,
// where the connection manager allows WebSockets, may also go a second time through weir on HTTP/2.
type sockets struct {
	host    *harness.Host
	weir    *harness.Weir
	backend *harness.HTTPBackend
}

func startSockets(t *testing.T) *sockets {
	t.Helper()
	s := &sockets{host: harness.NewHost(t)}
	echo := websocket.Server{Handler: func(ws *websocket.Conn) {
		ws.PayloadType = websocket.BinaryFrame
		_, _ = io.Copy(ws, ws) // until the client closes
	}}
	s.backend = s.host.HTTPBackend("backend", "127.0.0.1:0", harness.WithHandler("/chat", echo.ServeHTTP), harness.WithHandler("/again", echo.ServeHTTP))
	two := s.host.TCPBackend("127.0.0.1:0", serveTunnels2)
	const upgrades, connect2 = "upgrade_configs: [{upgrade_type: websocket}]", "http2_protocol_options: {allow_connect: true}"
	manager := func(more string, routes ...string) string {
		return harness.HTTPManager(connect2, more+"route_config: "+harness.RouteConfig("local_route", routes...))
	}
	up2 := harness.UpstreamHTTP("explicit_http_config: {" + connect2 + "}")
	s.weir = s.host.StartWeir(harness.WeirOptions{Config: harness.Bootstrap{
		Listeners: []string{
			harness.Listener{Name: "routes", Address: "127.0.0.1:8080", Chains: []string{harness.Chain(manager(
				"",
				"{match: {prefix: /chat}, route: {cluster: backend, "+upgrades+"}}",
				harness.RouteTo("/plain", "backend"),
			))}}.YAML(),
			harness.Listener{Name: "manager", Address: "127.0.0.1:8081", Chains: []string{harness.Chain(manager(
				upgrades+", ",
				harness.RouteTo("/chat", "backend"), harness.RouteTo("/two", "two"),
				"{match: {prefix: /again}, route: {cluster: again, prefix_rewrite: /chat}}",
				"{match: {prefix: /off}, route: {cluster: backend, upgrade_configs: [{upgrade_type: websocket, enabled: false}]}}",
			))}}.YAML(),
			harness.Listener{Name: "none", Address: "127.0.0.1:8082", Chains: []string{harness.Chain(harness.HTTP(harness.RouteTo("/", "backend")))}}.YAML(),
		},
		Clusters: []string{
			harness.Cluster("backend", harness.To(s.backend.Addr)), harness.Cluster("two", harness.To(two.Addr), up2),
			`{name: again, type: STATIC, load_assignment: {cluster_name: again, endpoints: [{lb_endpoints: [{endpoint: {address: ` +
				harness.Address("127.0.0.1:8080") + `}}]}]}, ` + up2 + `}`,
		},
	}.YAML()})
	return s
}

// serveTunnels2 is an HTTP/2 server that accepts extended CONNECT and echoes each tunnel's bytes as WebSocket messages would
// be: frames come unmasked. Other requests get 400.
func serveTunnels2(conn *net.TCPConn) {
	w := newWire2(conn)
	preface := make([]byte, len(http2.ClientPreface))
	if _, err := io.ReadFull(conn, preface); err != nil {
		return
	}
	if w.WriteSettings(http2.Setting{ID: http2.SettingEnableConnectProtocol, Val: 1}, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 20}) != nil {
		return
	}
	if w.WriteWindowUpdate(0, 1<<20) != nil {
		return
	}
	for {
		f, err := w.next()
		if err != nil {
			return
		}
		switch f := f.(type) {
		case *http2.HeadersFrame:
			fields, err := w.decode(f)
			answer := "200"
			if err != nil || fields[":method"] != "CONNECT" || fields[":protocol"] != "websocket" || fields["upgrade"] != "" || fields["connection"] != "" {
				answer = "400"
			}
			err = w.headers(f.StreamID, answer != "200", ":status", answer, "x-path", fields[":path"])
			if err != nil {
				return
			}
		case *http2.DataFrame:
			if n := f.Header().Length; n > 0 {
				if w.WriteWindowUpdate(0, n) != nil || !f.StreamEnded() && w.WriteWindowUpdate(f.StreamID, n) != nil {
					return
				}
			}
			if w.WriteData(f.StreamID, f.StreamEnded(), f.Data()) != nil {
				return
			}
		}
	}
}

// A real client and one by hand, over HTTP/1.1.
func TestWebSocketHTTP1(t *testing.T) {
	t.Parallel()
	s := startSockets(t)
	t.Run("library", func(t *testing.T) {
		config, err := websocket.NewConfig("ws://127.0.0.1:8080/chat", "http://x/")
		if err != nil {
			t.Fatal(err)
		}
		ws, err := websocket.NewClient(config, s.host.MustDial("127.0.0.1:8080"))
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range []string{"one", strings.Repeat("long ", 20_000), "end"} {
			if _, err := io.WriteString(ws, text); err != nil {
				t.Fatal(err)
			}
			got := make([]byte, len(text))
			if _, err := io.ReadFull(ws, got); err != nil || string(got) != text {
				t.Fatalf("echo: %d bytes, %v", len(got), err)
			}
		}
		if err := ws.Close(); err != nil {
			t.Error(err)
		}
	})
	for name, addr := range map[string]string{
		"by the route": "127.0.0.1:8080/chat", "by the manager": "127.0.0.1:8081/chat", "through HTTP/2 inside": "127.0.0.1:8081/again",
	} {
		t.Run(name, func(t *testing.T) {
			// The connection of the case before may not have been let go of yet.
			s.settled()
			to, path, _ := strings.Cut(addr, "/")
			ws, resp := dialWebSocket(t, s.host.MustDial(to), "/"+path, "X-Custom: yes")
			if resp.StatusCode != http.StatusSwitchingProtocols {
				t.Fatalf("status %d", resp.StatusCode)
			}
			if got := s.backend.Last(t).Header.Get("X-Custom"); got != "yes" {
				t.Errorf("the backend did not get the header: %q", got)
			}
			ws.converse(t)
			if n := s.weir.Stat("http.ingress.downstream_cx_upgrades_active"); n == 0 {
				t.Error("downstream_cx_upgrades_active is 0 while an upgraded connection is open")
			}
			ws.close(t)
		})
	}
	s.settled()
}

func (s *sockets) settled() {
	for _, name := range []string{"http.ingress.downstream_cx_upgrades_active", "http.ingress.downstream_rq_active", "cluster.backend.upstream_rq_active", "cluster.two.upstream_rq_active", "cluster.again.upstream_rq_active"} {
		s.weir.AwaitStat(name, func(n int) bool { return n == 0 })
	}
}

// WebSockets as streams of HTTP/2 (RFC 8441), as browsers open them: without a key, and several on one connection.
func TestWebSocketHTTP2(t *testing.T) {
	t.Parallel()
	s := startSockets(t)
	for _, path := range []string{"/chat", "/again"} {
		t.Run("to HTTP/1.1 "+path, func(t *testing.T) {
			w := dial2(t, s.host, "127.0.0.1:8081")
			if w.settings[http2.SettingEnableConnectProtocol] != 1 {
				t.Fatalf("the server's settings are %v", w.settings)
			}
			for n := range uint32(2) {
				tunnel, r := open2(t, w, 2*n+1, path)
				if r.status() != "200" || r.head["upgrade"] != "" || r.head["connection"] != "" || r.head["sec-websocket-accept"] != "" {
					t.Fatalf("the answer is %+v", r)
				}
				ws := newWebSocket(tunnel)
				ws.converse(t)
				ws.close(t)
			}
		})
	}
	t.Run("to HTTP/2", func(t *testing.T) {
		w := dial2(t, s.host, "127.0.0.1:8081")
		tunnel, r := open2(t, w, 1, "/two/x")
		if r.status() != "200" || r.head["x-path"] != "/two/x" {
			t.Fatalf("the answer is %+v", r)
		}
		for n := range 5 {
			text := strings.Repeat(fmt.Sprint(n), 50_000)
			if _, err := io.WriteString(tunnel, text); err != nil {
				t.Fatal(err)
			}
			got := make([]byte, len(text))
			if _, err := io.ReadFull(tunnel, got); err != nil || string(got) != text {
				t.Fatalf("echo: %v", err)
			}
		}
		if err := w.WriteData(1, true, []byte("bye")); err != nil {
			t.Fatal(err)
		}
		if rest, err := io.ReadAll(tunnel); err != nil || string(rest) != "bye" {
			t.Errorf("the end is %q, %v", rest, err)
		}
	})
	s.settled()
}

// Where nothing allows an upgrade there is none, and nothing reaches the backend.
func TestWebSocketRefused(t *testing.T) {
	t.Parallel()
	s := startSockets(t)
	for _, addr := range []string{"127.0.0.1:8080/plain", "127.0.0.1:8082/chat", "127.0.0.1:8081/off"} {
		to, path, _ := strings.Cut(addr, "/")
		if _, resp := dialWebSocket(t, s.host.MustDial(to), "/"+path); resp.StatusCode != http.StatusForbidden {
			t.Errorf("%s: status %d", addr, resp.StatusCode)
		}
	}
	for _, path := range []string{"/plain"} {
		if _, r := open2(t, dial2(t, s.host, "127.0.0.1:8080"), 1, path); r.status() != "403" {
			t.Errorf("%s: %+v", path, r)
		}
	}
	// Without allow_connect the request is malformed: RFC 8441 section 3.
	w := dial2(t, s.host, "127.0.0.1:8082")
	if v := w.settings[http2.SettingEnableConnectProtocol]; v != 0 {
		t.Errorf("SETTINGS_ENABLE_CONNECT_PROTOCOL is %d without allow_connect", v)
	}
	if err := w.headers(1, false, ":method", "CONNECT", ":protocol", "websocket", ":scheme", "http", ":authority", "x", ":path", "/chat"); err != nil {
		t.Fatal(err)
	}
	if r, err := w.reply(1); err == nil && (r.reset == nil || r.head != nil) {
		t.Errorf("extended CONNECT where it is not allowed: %+v", r)
	}
	if n := s.backend.Count(); n != 0 {
		t.Errorf("the backend got %d requests", n)
	}
	s.weir.AwaitStat("http.ingress.downstream_rq_ws_on_non_ws_route", func(n int) bool { return n == 4 })
}
