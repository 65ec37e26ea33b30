package hcm_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"testing"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/filter"
	httprouter "github.com/weir-proxy/weir/pkg/proxy/filter/http/router"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
)

// TestOrigin checks what a request may say about where it comes from. The client is 127.0.0.1.
func TestOrigin(t *testing.T) {
	const none = "\x00"
	edge := func(c *model.HTTPConnectionManager) { c.UseRemoteAddress = true }
	for _, tc := range []struct {
		name    string
		cfg     func(*model.HTTPConnectionManager)
		headers []string
		want    map[string]string // as the upstream sees them; none: absent
	}{
		{name: "no forwarding, nothing said", want: map[string]string{"X-Forwarded-For": none, "X-Envoy-Internal": none, "X-Forwarded-Proto": "http"}},
		{
			name: "trusted internal address", headers: []string{"x-forwarded-for: 10.0.0.1"},
			want: map[string]string{"X-Forwarded-For": "10.0.0.1", "X-Envoy-Internal": "true"},
		},
		{
			name: "two addresses are not internal", headers: []string{"x-forwarded-for: 8.8.8.8, 10.0.0.1", "x-envoy-max-retries: 3"},
			want: map[string]string{"X-Envoy-Internal": none, "X-Envoy-Max-Retries": none},
		},
		{name: "claim is not believed", headers: []string{"x-envoy-internal: true"}, want: map[string]string{"X-Envoy-Internal": none}},
		{name: "edge", cfg: edge, want: map[string]string{"X-Forwarded-For": "127.0.0.1", "X-Envoy-Internal": "true"}},
		{
			name: "edge appends", cfg: edge, headers: []string{"x-forwarded-for: 10.0.0.1", "x-forwarded-proto: https", "x-request-id: mine", "x-envoy-original-path: /x"},
			want: map[string]string{
				"X-Forwarded-For": "10.0.0.1,127.0.0.1", "X-Envoy-Internal": none, "X-Forwarded-Proto": "http",
				"X-Envoy-External-Address": "127.0.0.1", "X-Envoy-Original-Path": none,
			},
		},
		{
			name: "edge keeps the id when told", cfg: func(c *model.HTTPConnectionManager) { c.UseRemoteAddress, c.PreserveRequestID = true, true },
			headers: []string{"x-forwarded-for: 1.1.1.1", "x-request-id: mine"}, want: map[string]string{"X-Request-Id": "mine"},
		},
		{
			name: "kept id is not traced", cfg: func(c *model.HTTPConnectionManager) {
				c.UseRemoteAddress, c.PreserveRequestID, c.PackTraceReason = true, true, true
			},
			headers: []string{"x-forwarded-for: 1.1.1.1", "x-request-id: 12345678-1234-9234-8234-123456789012"},
			want:    map[string]string{"X-Request-Id": "12345678-1234-4234-8234-123456789012"},
		},
		{
			name: "kept id stays traced", cfg: func(c *model.HTTPConnectionManager) { c.UseRemoteAddress, c.PreserveRequestID = true, true },
			headers: []string{"x-forwarded-for: 1.1.1.1", "x-request-id: 12345678-1234-9234-8234-123456789012"},
			want:    map[string]string{"X-Request-Id": "12345678-1234-9234-8234-123456789012"},
		},
		{
			name: "skip append", cfg: func(c *model.HTTPConnectionManager) { c.UseRemoteAddress, c.SkipXFFAppend = true, true },
			headers: []string{"x-forwarded-for: 1.1.1.1"}, want: map[string]string{"X-Forwarded-For": "1.1.1.1"},
		},
		{
			name: "trusted hop", cfg: func(c *model.HTTPConnectionManager) { c.UseRemoteAddress, c.XFFNumTrustedHops = true, 1 },
			headers: []string{"x-forwarded-for: 9.9.9.9, 8.8.8.8", "x-forwarded-proto: https"},
			want:    map[string]string{"X-Envoy-External-Address": "8.8.8.8", "X-Forwarded-Proto": "https"},
		},
		{name: "id is generated once", headers: []string{"x-request-id: mine"}, want: map[string]string{"X-Request-Id": "mine"}},
		{name: "client certificate header", headers: []string{"x-forwarded-client-cert: By=me"}, want: map[string]string{"X-Forwarded-Client-Cert": none}},
		{name: "via", cfg: func(c *model.HTTPConnectionManager) { c.Via = "weir" }, headers: []string{"via: 1.0 a"}, want: map[string]string{"Via": "1.0 a, weir"}},
		{name: "referer", headers: []string{"referer: https://a.test/b?c"}, want: map[string]string{"Referer": "https://a.test/b?c"}},
		{name: "referer of an app", headers: []string{"referer: android-app://a.b/"}, want: map[string]string{"Referer": "android-app://a.b/"}},
		{name: "relative referer", headers: []string{"referer: /b"}, want: map[string]string{"Referer": none}},
		{name: "referer without host", headers: []string{"referer: http:///b"}, want: map[string]string{"Referer": none}},
		{name: "two referers", headers: []string{"referer: http://a", "referer: http://b"}, want: map[string]string{"Referer": none}},
		{name: "internal only headers", headers: []string{"x-secret: 1"}, want: map[string]string{"X-Secret": none}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			routes := routeConfig(prefix("/", &model.RouteAction{Cluster: "web"}))
			routes.InternalOnlyHeaders = []string{"x-secret"}
			p := start(t, routes, options{cfg: tc.cfg, clusters: map[string]*model.Cluster{"web": static("web", backend(t, echo))}})
			resp, _ := p.do(get("/", tc.headers...))
			for name, want := range tc.want {
				got, ok := resp.Header["Seen-"+name]
				switch {
				case want == none && ok:
					t.Errorf("%s = %q, want none", name, got)
				case want != none && (!ok || got[0] != want):
					t.Errorf("%s = %q, want %q", name, got, want)
				}
			}
		})
	}
}

func TestPathAndHostAreNormalized(t *testing.T) {
	p := start(t, routeConfig(prefix("/b", &model.RouteAction{Cluster: "web"})), options{
		clusters: map[string]*model.Cluster{"web": static("web", backend(t, echo))},
		cfg: func(c *model.HTTPConnectionManager) {
			c.NormalizePath, c.StripAnyHostPort, c.StripTrailingDot = true, true, true
			c.EscapedSlashes = model.EscapedUnescapeRedirect
		},
	})
	resp, _ := p.do("GET /a/../b?q HTTP/1.1\r\nHost: example.com.:99\r\n\r\n")
	if resp.Header.Get("x-seen-path") != "/b?q" || resp.Header.Get("x-seen-host") != "example.com" {
		t.Errorf("upstream saw %v", resp.Header)
	}
	resp, _ = p.do(get("/a%2Fb"))
	if resp.StatusCode != 307 || resp.Header.Get("location") != "/a/b" {
		t.Errorf("got %d to %q", resp.StatusCode, resp.Header.Get("location"))
	}
}

func TestRequestIDInResponse(t *testing.T) {
	for _, tc := range []struct {
		name   string
		always bool
		header string
		want   bool
	}{
		{"not asked for", false, "x-a: b", false},
		{"always", true, "x-a: b", true},
		{"forced trace", false, "x-envoy-force-trace: true", true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := start(t, routeConfig(&model.Route{Direct: &model.DirectResponse{Status: 200}}), options{
				cfg: func(c *model.HTTPConnectionManager) { c.ResponseRequestID = tc.always },
			})
			resp, _ := p.do(get("/", internal, "x-request-id: mine", tc.header))
			if got := resp.Header.Get("x-request-id") == "mine"; got != tc.want {
				t.Errorf("headers %v", resp.Header)
			}
		})
	}
}

// TestConnectKeepsItsPort checks that the target of CONNECT is matched as it is.
func TestConnectKeepsItsPort(t *testing.T) {
	routes := routeConfig(&model.Route{Match: model.RouteMatch{Kind: model.PathConnect}, Direct: &model.DirectResponse{Status: 200}})
	routes.VirtualHosts[0].Domains = []string{"example.com:443"}
	p := start(t, routes, options{cfg: func(c *model.HTTPConnectionManager) {
		c.StripAnyHostPort, c.Upgrades = true, []model.Upgrade{{Type: "CONNECT"}}
	}})
	c := p.dial()
	c.send("CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n")
	if resp, _ := c.read("CONNECT"); resp.StatusCode != 200 {
		t.Errorf("got %d", resp.StatusCode)
	}
}

func TestUnixSocketClients(t *testing.T) {
	for _, internal := range []bool{false, true} {
		p := start(t, routeConfig(prefix("/", &model.RouteAction{Cluster: "web"})), options{
			nameless: true, clusters: map[string]*model.Cluster{"web": static("web", backend(t, echo))},
			cfg: func(c *model.HTTPConnectionManager) { c.UseRemoteAddress, c.InternalUnixSockets = true, internal },
		})
		resp, _ := p.do(get("/"))
		if got := resp.Header.Get("Seen-X-Envoy-Internal") == "true"; got != internal || resp.Header.Get("Seen-X-Forwarded-For") != "" {
			t.Errorf("unix_sockets %v: upstream saw %v", internal, resp.Header)
		}
	}
}

// marker adds a header to what passes.
type marker struct{ name string }

// Handle implements filter.HTTP.
func (m marker) Handle(s *filter.Stream) (*message.Response, error) {
	s.Request.Headers.Add(m.name, "yes")
	return s.Next()
}

// TestUpgradeFilters checks that an upgrade runs through the filters that it is given, and other requests do not.
func TestUpgradeFilters(t *testing.T) {
	seen := make(chan string, 2)
	addr := raw(t, func(c net.Conn, _ int) {
		br := bufio.NewReader(c)
		for {
			r, err := http.ReadRequest(br)
			if err != nil {
				return
			}
			seen <- r.URL.Path + " usual=" + r.Header.Get("x-usual") + " upgrade=" + r.Header.Get("x-upgrade")
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
		}
	})
	router := &model.HTTPFilter{Name: "router", Config: &httprouter.Config{}}
	p := start(t, routeConfig(prefix("/", &model.RouteAction{Cluster: "web"})), options{
		clusters: map[string]*model.Cluster{"web": static("web", addr)},
		filters:  []*model.HTTPFilter{{Name: "usual", Config: marker{"x-usual"}}},
		cfg: func(c *model.HTTPConnectionManager) {
			c.Upgrades = []model.Upgrade{
				{Type: "WebSocket", Filters: []*model.HTTPFilter{{Name: "upgrade", Config: marker{"x-upgrade"}}, router}},
				{Type: "other", Disabled: true},
			}
		},
	})
	p.do(get("/plain"))
	p.do(get("/chat", "Connection: upgrade", "Upgrade: websocket"))
	for _, want := range []string{"/plain usual=yes upgrade=", "/chat usual= upgrade=yes"} {
		if got := <-seen; got != want {
			t.Errorf("upstream saw %q, want %q", got, want)
		}
	}
	for _, kind := range []string{"other", "unknown"} {
		if resp, _ := p.do(get("/", "Connection: upgrade", "Upgrade: "+kind)); resp.StatusCode != 403 {
			t.Errorf("%s: got %d", kind, resp.StatusCode)
		}
	}
	if n := p.counter("http.test.downstream_rq_ws_on_non_ws_route"); n != 2 {
		t.Errorf("ws_on_non_ws_route is %d", n)
	}
}
