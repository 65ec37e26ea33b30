package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/weir-proxy/weir/test/harness"
)

// web is a host with a weir whose routes show what the router does.
type web struct {
	host    *harness.Host
	weir    *harness.Weir
	backend *harness.HTTPBackend
	app     harness.App
}

func startWeb(t *testing.T) *web {
	t.Helper()
	host := harness.NewHost(t)
	w := &web{host: host, app: host.App()}
	failures := 0
	w.backend = host.HTTPBackend(
		"backend", "127.0.0.1:0",
		harness.WithHandler("/hang", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }),
		harness.WithHandler("/flaky", func(rw http.ResponseWriter, _ *http.Request) {
			if failures++; failures%3 != 0 {
				rw.WriteHeader(http.StatusServiceUnavailable)
			}
			fmt.Fprintln(rw, "attempt", failures)
		}),
		harness.WithHandler("/teapot", func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(http.StatusTeapot) }),
		harness.WithHandler("/ws", serveWebSocket),
	)
	refusing := host.RefusingAddr("127.0.0.1")
	routes := []string{
		`{match: {path: /exact}, direct_response: {status: 202, body: {inline_string: "direct"}}}`,
		`{match: {prefix: /moved}, redirect: {host_redirect: other.test, path_redirect: /new, response_code: FOUND}}`,
		`{match: {prefix: /secure}, redirect: {https_redirect: true}}`,
		`{match: {safe_regex: {regex: "/item/[0-9]+"}}, route: {cluster: backend, prefix_rewrite: /stock}}`,
		`{match: {prefix: /headers}, route: {cluster: backend, host_rewrite_literal: inner.test}, ` +
			`request_headers_to_add: [{header: {key: x-added, value: "%PROTOCOL%"}}], request_headers_to_remove: [x-secret], ` +
			`response_headers_to_add: [{header: {key: x-answer, value: "yes"}}, {header: {key: x-code, value: "%RESPONSE_CODE%"}}], response_headers_to_remove: [x-backend]}`,
		`{match: {prefix: /refused}, route: {cluster: refusing}}`,
		`{match: {prefix: /nobody}, route: {cluster: empty}}`,
		`{match: {prefix: /missing}, route: {cluster_header: x-cluster}}`,
		`{match: {prefix: /hang}, route: {cluster: backend, timeout: 0.3s}}`,
		`{match: {prefix: /flaky}, route: {cluster: backend, retry_policy: {retry_on: 5xx, num_retries: 4}}}`,
		`{match: {prefix: /failover}, route: {cluster: half, retry_policy: {retry_on: connect-failure, num_retries: 5}}}`,
		`{match: {prefix: /ws}, route: {cluster: backend, upgrade_configs: [{upgrade_type: websocket}]}}`,
		`{match: {prefix: /only, headers: [{name: x-which, string_match: {exact: query}}], query_parameters: [{name: q, string_match: {prefix: a}}]}, route: {cluster: backend}}`,
		`{match: {prefix: /teapot}, route: {cluster: backend}}`,
		`{match: {prefix: /plain}, route: {cluster: backend}}`,
	}
	w.weir = host.StartWeir(harness.WeirOptions{Config: harness.Bootstrap{
		Listeners: []string{harness.Listener{Name: "main", Address: "127.0.0.1:8080", Chains: []string{harness.Chain(harness.HTTP(routes...))}}.YAML()},
		Clusters: []string{
			harness.Cluster("backend", harness.To(w.backend.Addr)), harness.Cluster("refusing", harness.To(refusing)),
			harness.Cluster("empty", nil), harness.Cluster("half", harness.To(refusing, w.backend.Addr)),
		},
	}.YAML()})
	return w
}

// accessLine is a line of Envoy's default format: method, path, protocol, status, flags.
func (w *web) wantLogged(t *testing.T, path string, status int, flags string) {
	t.Helper()
	line := regexp.MustCompile(fmt.Sprintf(`(?m)^\[\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z\] "GET %s HTTP/1.1" %d %s \d+ \d+ \d+ (\d+|-) "-" "curl/[\d.]+" "[0-9a-f-]{36}" "127\.0\.0\.1:8080" "(\d+\.\d+\.\d+\.\d+:\d+|-)"$`,
		regexp.QuoteMeta(path), status, flags))
	harness.EventuallyNil(t, "the access log", func() error {
		if !line.MatchString(w.weir.Stdout()) {
			return fmt.Errorf("no line like %s in:\n%s", line, w.weir.Stdout())
		}
		return nil
	})
}

func TestHTTP(t *testing.T) {
	t.Parallel()
	w := startWeb(t)
	for _, tc := range []struct {
		path   string
		args   []string
		status int
		flags  string
		body   string // "" leaves it open
		header string // a line that there must be, as a regular expression
	}{
		{path: "/plain", status: 200, flags: "-", body: "backend", header: "x-backend: backend"},
		{path: "/unknown", status: 404, flags: "NR", header: "content-length: 0|server: envoy"},
		{path: "/exact", status: 202, flags: "-", body: "direct", header: "content-type: text/plain"},
		{path: "/moved/a", status: 302, flags: "-", header: "location: http://other.test/new"},
		{path: "/secure/a?b=c", status: 301, flags: "-", header: "location: https://127.0.0.1(:8080)?/secure/a[?]b=c"},
		{path: "/refused", status: 503, flags: "UF", body: "upstream connect error or disconnect/reset before headers. " +
			"reset reason: remote connection failure, transport failure reason: delayed connect error: Connection refused"},
		{path: "/nobody", status: 503, flags: "UH", body: "no healthy upstream"},
		{path: "/missing", args: []string{"-H", "x-cluster: nowhere"}, status: 503, flags: "NC"},
		{path: "/hang", status: 504, flags: "UT", body: "upstream request timeout"},
		{path: "/flaky", status: 200, flags: "-", body: "attempt 3"},
		{path: "/failover", status: 200, flags: "-", body: "backend"},
		{path: "/teapot", status: 418, flags: "-", header: "content-length: 0"},
		{path: "/only?q=abc", args: []string{"-H", "x-which: query"}, status: 200, flags: "-", body: "backend"},
		{path: "/only?q=bc", args: []string{"-H", "x-which: query"}, status: 404, flags: "NR"},
		{path: "/only?q=abcd", status: 404, flags: "NR"},
	} {
		t.Run(tc.path, func(t *testing.T) {
			got := w.app.Curl(append(tc.args, "-i", "http://127.0.0.1:8080"+tc.path)...)
			head, body, _ := strings.Cut(got.Out, "\r\n\r\n")
			if !strings.HasPrefix(head, fmt.Sprintf("HTTP/1.1 %d ", tc.status)) || tc.body != "" && strings.TrimSpace(body) != tc.body {
				t.Errorf("got %s\nwant status %d, body %q", got.Out, tc.status, tc.body)
			}
			if tc.header != "" && !regexp.MustCompile(`(?m)^(`+tc.header+`)\r?$`).MatchString(head) {
				t.Errorf("no header %s in\n%s", tc.header, head)
			}
			w.wantLogged(t, tc.path, tc.status, tc.flags)
		})
	}
	w.checkCounters(t)
}

func (w *web) checkCounters(t *testing.T) {
	t.Helper()
	for name, want := range map[string]int{
		"http.ingress.no_route":                        3,
		"http.ingress.rq_direct_response":              1,
		"http.ingress.rq_redirect":                     2,
		"http.ingress.downstream_rq_5xx":               4,
		"http.ingress.no_cluster":                      1,
		"cluster.backend.upstream_rq_timeout":          1,
		"cluster.backend.upstream_rq_retry":            2,
		"cluster.backend.upstream_rq_retry_success":    1,
		"cluster.empty.upstream_cx_none_healthy":       1,
		"cluster.backend.upstream_rq_4xx":              1,
		"http.ingress.downstream_rq_active":            0,
		"listener.127.0.0.1_8080.downstream_cx_active": 0,
	} {
		w.weir.AwaitStat(name, func(n int) bool { return n == want })
	}
}

func TestHTTPHeaders(t *testing.T) {
	t.Parallel()
	w := startWeb(t)
	got := w.app.Curl("-i", "-H", "X-Secret: s", "-H", "X-Keep: k", "http://127.0.0.1:8080/headers/a?b=c")
	if head := strings.ToLower(got.Out); !strings.Contains(head, "x-answer: yes") || !strings.Contains(head, "x-code: 200") || strings.Contains(head, "x-backend") {
		t.Errorf("response:\n%s", got.Out)
	}
	request := w.backend.Last(t)
	if request.Host != "inner.test" || request.RequestURI != "/headers/a?b=c" {
		t.Errorf("backend got %s %s", request.Host, request.RequestURI)
	}
	for name, want := range map[string]string{"X-Added": "HTTP/1.1", "X-Keep": "k", "X-Secret": ""} {
		if got := request.Header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	wantOK(t, w.app.Curl("http://127.0.0.1:8080/item/42"), "backend")
	if request := w.backend.Last(t); request.RequestURI != "/stock" && request.RequestURI != "/item/42" {
		t.Errorf("regex route: backend got %s", request.RequestURI)
	}
}

// A body passes through in both directions, in chunks and with a length.
func TestHTTPBodies(t *testing.T) {
	t.Parallel()
	w := startWeb(t)
	client := w.host.Client()
	for name, length := range map[string]int64{"length": 300_000, "chunks": -1} {
		t.Run(name, func(t *testing.T) {
			body := strings.Repeat("abcdefgh", 37_500)
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://127.0.0.1:8080/plain", strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			req.ContentLength = length
			resp, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if got := w.backend.Last(t); got.Body != body || got.ContentLength != length {
				t.Errorf("backend got %d bytes, length %d", len(got.Body), got.ContentLength)
			}
		})
	}
}

func serveWebSocket(w http.ResponseWriter, r *http.Request) {
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	if !strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
		_, _ = rw.WriteString("HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
		_ = rw.Flush()
		return
	}
	_, _ = rw.WriteString("HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\r\n")
	if rw.Flush() == nil {
		_, _ = io.Copy(conn, rw) // echoes until the client ends
	}
}

func TestWebSocket(t *testing.T) {
	t.Parallel()
	w := startWeb(t)
	conn := w.host.MustDial("127.0.0.1:8080")
	upgrade := "GET %s HTTP/1.1\r\nhost: x\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
	fmt.Fprintf(conn, upgrade, "/ws")
	in := bufio.NewReader(conn)
	resp, err := http.ReadResponse(in, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols || !strings.EqualFold(resp.Header.Get("Upgrade"), "websocket") {
		t.Fatalf("upgrade: %v, %v", resp, err)
	}
	for _, text := range []string{"one", "two"} {
		fmt.Fprint(conn, text)
		buf := make([]byte, len(text))
		if _, err := io.ReadFull(in, buf); err != nil || string(buf) != text {
			t.Fatalf("echo of %q: %q, %v", text, buf, err)
		}
	}
	if n := w.weir.Stat("http.ingress.downstream_cx_upgrades_active"); n != 1 {
		t.Errorf("downstream_cx_upgrades_active is %d", n)
	}
	conn.Close()
	w.weir.AwaitStat("http.ingress.downstream_cx_upgrades_active", func(n int) bool { return n == 0 })
	refused := w.host.MustDial("127.0.0.1:8080")
	fmt.Fprintf(refused, upgrade, "/plain")
	if resp, err := http.ReadResponse(bufio.NewReader(refused), nil); err != nil || resp.StatusCode != http.StatusForbidden {
		t.Errorf("an upgrade where none is allowed: %v, %v", resp, err)
	}
}

// Requests that two parsers could read in two ways end the connection, and nothing of them reaches the backend.
func TestSmuggling(t *testing.T) {
	t.Parallel()
	w := startWeb(t)
	for name, text := range map[string]string{
		"length and chunks":  "POST /plain HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
		"two lengths":        "POST /plain HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\ncontent-length: 5\r\n\r\nabcde",
		"space before colon": "GET /plain HTTP/1.1\r\nhost : x\r\n\r\n",
		"chunks, not last":   "POST /plain HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n",
		"folded line":        "GET /plain HTTP/1.1\r\nhost: x\r\na: b\r\n c\r\n\r\n",
		"signed length":      "POST /plain HTTP/1.1\r\nhost: x\r\ncontent-length: +4\r\n\r\nabcd",
		"no request at all":  "\x16\x03\x01\x02\x00\x01\x00\r\n\r\n",
		"two hosts":          "GET /plain HTTP/1.1\r\nhost: x\r\nhost: y\r\n\r\n",
		"NUL in a value":     "GET /plain HTTP/1.1\r\nhost: x\r\na: b\x00c\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			conn := w.host.MustDial("127.0.0.1:8080")
			fmt.Fprint(conn, text+"GET /smuggled HTTP/1.1\r\nhost: x\r\n\r\n")
			answer, err := io.ReadAll(conn)
			if err != nil || !regexp.MustCompile(`^HTTP/1.1 (400|501) `).Match(answer) || strings.Count(string(answer), "HTTP/1.1 ") != 1 {
				t.Errorf("got %q, %v; want 400, or 501 for a coding that there is not, and the end", answer, err)
			}
		})
	}
	if n := w.backend.Count(); n != 0 {
		t.Errorf("the backend got %d requests", n)
	}
	w.weir.AwaitStat("http.ingress.downstream_cx_protocol_error", func(n int) bool { return n >= 8 })
}

// HTTP/2 with prior knowledge on both sides of the proxy.
func TestHTTP2(t *testing.T) {
	t.Parallel()
	w := startWeb(t)
	wantOK(t, w.app.Curl("--http2-prior-knowledge", "-w", "%{http_version}", "http://127.0.0.1:8080/plain"), "backend\n2")
	got := w.app.Curl("--http2-prior-knowledge", "-i", "http://127.0.0.1:8080/unknown")
	wantContains(t, "answer", got.Out, "HTTP/2 404", "server: envoy")
}

// A client that goes away takes its upstream request with it.
func TestClientGoesAway(t *testing.T) {
	t.Parallel()
	host := harness.NewHost(t)
	ended := make(chan struct{})
	backend := host.HTTPBackend("backend", "127.0.0.1:0", harness.WithHandler("/wait", func(_ http.ResponseWriter, r *http.Request) {
		<-r.Context().Done()
		close(ended)
	}))
	weir := host.StartWeir(harness.WeirOptions{Config: reverseProxy(backend)})
	conn := host.MustDial("127.0.0.1:8080")
	fmt.Fprint(conn, "GET /wait HTTP/1.1\r\nhost: x\r\n\r\n")
	harness.Eventually(t, "the request arrives", func() bool { return backend.Count() == 1 })
	conn.Close()
	select {
	case <-ended:
	case <-time.After(harness.Patience):
		t.Fatal("the upstream request lives on")
	}
	harness.Eventually(t, "the log tells", func() bool { return strings.Contains(weir.Stdout(), `"GET /wait HTTP/1.1" 0 DC`) })
}

// reverseProxy is one listener on 127.0.0.1:8080 and one backend.
func reverseProxy(backend *harness.HTTPBackend, more ...string) string {
	return harness.Bootstrap{
		Listeners: []string{harness.Listener{Name: "main", Address: "127.0.0.1:8080", Chains: []string{harness.Chain(harness.HTTP(harness.RouteTo("/", "backend")))}}.YAML()},
		Clusters:  []string{harness.Cluster("backend", harness.To(backend.Addr), more...)},
	}.YAML()
}

// A reader that is slow holds the sender back, and gets everything.
func TestSlowReader(t *testing.T) {
	t.Parallel()
	host := harness.NewHost(t)
	const total = 32 << 20
	sent := make(chan int64, 1)
	backend := host.TCPBackend("127.0.0.1:0", func(conn *net.TCPConn) {
		n, _ := io.CopyN(conn, zeros{}, total) // n tells
		sent <- n
	})
	weir := host.StartWeir(harness.WeirOptions{Config: harness.Bootstrap{
		Listeners: []string{harness.Listener{Name: "tcp", Address: "127.0.0.1:8080", Chains: []string{harness.Chain(harness.TCP("backend"))}}.YAML()},
		Clusters:  []string{harness.Cluster("backend", harness.To(backend.Addr))},
	}.YAML()})
	conn := host.MustDial("127.0.0.1:8080")
	harness.Eventually(t, "the connection is through", func() bool { return backend.Accepted() == 1 })
	select {
	case n := <-sent:
		t.Errorf("the backend got rid of %d bytes while nobody read", n)
	case <-time.After(300 * time.Millisecond):
	}
	if n := weir.Stat("server.memory_physical_size"); n > 200<<20 {
		t.Errorf("weir holds %d bytes", n)
	}
	if n, err := io.Copy(io.Discard, conn); n != total || err != nil {
		t.Errorf("got %d bytes, %v", n, err)
	}
}

// zeros is endless.
type zeros struct{}

// Read implements io.Reader.
func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
