package e2e

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/weir-proxy/weir/test/harness"
)

// breaks answers by path in ways that end before their time.
func breaks(w *wire2, stream uint32, fields map[string]string) error {
	begin := func() error {
		if err := w.headers(stream, false, ":status", "200", "x-begun", "yes"); err != nil {
			return err
		}
		return w.WriteData(stream, false, []byte("the beginning"))
	}
	switch fields[":path"] {
	case "/reset":
		return w.WriteRSTStream(stream, http2.ErrCodeInternal)
	case "/refuse":
		return w.WriteRSTStream(stream, http2.ErrCodeRefusedStream)
	case "/late":
		if err := begin(); err != nil {
			return err
		}
		return w.WriteRSTStream(stream, http2.ErrCodeCancel)
	case "/close":
		if err := begin(); err != nil {
			return err
		}
		return io.EOF
	case "/begin":
		return begin()
	case "/trailers":
		if err := begin(); err != nil {
			return err
		}
		return w.headers(stream, true, "x-tail", "end")
	case "/only":
		return w.headers(stream, true, ":status", "200", "grpc-status", "5")
	case "/early":
		if err := w.headers(stream, true, ":status", "403"); err != nil {
			return err
		}
		return w.WriteRSTStream(stream, http2.ErrCodeNo)
	case "/hints":
		if err := w.headers(stream, false, ":status", "103", "link", "</a>"); err != nil {
			return err
		}
		fallthrough
	default:
		return w.headers(stream, true, ":status", "204")
	}
}

// startBreaks is a weir in front of such a host.
func startBreaks(t *testing.T, fields ...string) (*harness.Host, *harness.Weir, *host2) {
	t.Helper()
	host := harness.NewHost(t)
	backend := startHost2(host, &host2{answer: breaks})
	manager := harness.HTTPManager(append(fields, "route_config: "+harness.RouteConfig("local_route", harness.RouteTo("/", "backend")))...)
	weir := host.StartWeir(harness.WeirOptions{Config: harness.Bootstrap{
		Listeners: []string{harness.Listener{Name: "main", Address: "127.0.0.1:8080", Chains: []string{harness.Chain(manager)}}.YAML()},
		Clusters:  []string{harness.Cluster("backend", harness.To(backend.Addr), harness.HTTP2())},
	}.YAML()})
	return host, weir, backend
}

// wantLine waits for a line of the access log, given as a regular expression.
func wantLine(t *testing.T, weir *harness.Weir, line string) {
	t.Helper()
	re := regexp.MustCompile(line)
	harness.EventuallyNil(t, "the access log", func() error {
		if !re.MatchString(weir.Stdout()) {
			return fmt.Errorf("no line like %s in:\n%s", re, weir.Stdout())
		}
		return nil
	})
}

// A host's reset is the client's, never an end that looks whole.
func TestHTTP2ResetsFromHosts(t *testing.T) {
	t.Parallel()
	host, weir, _ := startBreaks(t)
	for path, want := range map[string]struct{ answer, flags string }{
		"/reset":  {"remote reset", "503 UR"},
		"/refuse": {"remote refused stream reset", "503 UR"},
		"/late":   {"", "200 UR"},
		"/close":  {"", "200 UC"},
	} {
		t.Run(path, func(t *testing.T) {
			w := dial2(t, host, "127.0.0.1:8080")
			if err := w.get(1, path); err != nil {
				t.Fatal(err)
			}
			r := w.mustReply(t, 1)
			switch {
			case want.answer != "":
				if r.status() != "503" || !strings.HasSuffix(string(r.body), "reset reason: "+want.answer) {
					t.Errorf("got %s %q", r.status(), r.body)
				}
			case r.status() != "200" || string(r.body) != "the beginning" || r.reset == nil:
				t.Errorf("got %+v %q, want the beginning and a reset", r, r.body)
			}
			wantLine(t, weir, `"GET `+path+` HTTP/2" `+want.flags+` `)
			if want.answer != "" {
				return
			}
			conn := host.MustDial("127.0.0.1:8080")
			fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nhost: x\r\n\r\n", path)
			all, _ := io.ReadAll(conn)
			if text := string(all); !strings.HasPrefix(text, "HTTP/1.1 200 OK\r\n") || !strings.Contains(text, "d\r\nthe beginning\r\n") || strings.Contains(text, "\r\n0\r\n") {
				t.Errorf("over HTTP/1.1: %q, want no last chunk", text)
			}
		})
	}
	weir.AwaitStat("cluster.backend.http2.rx_reset", func(n int) bool { return n == 4 })
	weir.AwaitStat("cluster.backend.upstream_rq_active", func(n int) bool { return n == 0 })
}

// A client's reset reaches the host: as a reset on HTTP/2, as the end of the connection on HTTP/1.1.
func TestHTTP2ResetsFromClients(t *testing.T) {
	t.Parallel()
	host, weir, backend := startBreaks(t)
	w := dial2(t, host, "127.0.0.1:8080")
	if err := w.get(1, "/begin"); err != nil {
		t.Fatal(err)
	}
	harness.Eventually(t, "the request arrives", func() bool { return len(backend.requests()) == 1 })
	if err := w.WriteRSTStream(1, http2.ErrCodeCancel); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	harness.Eventually(t, "the reset arrives", func() bool { return len(backend.cut()) == 1 })
	t.Logf("the reset took %v", time.Since(start))
	wantLine(t, weir, `"GET /begin HTTP/2" (0|200) DR `)
	if err := w.get(3, "/next"); err != nil {
		t.Fatal(err)
	}
	if r := w.mustReply(t, 3); r.status() != "204" {
		t.Errorf("the next request got %+v", r)
	}
	// The same when the connection ends, and when the client speaks HTTP/1.1.
	if err := w.get(5, "/begin"); err != nil {
		t.Fatal(err)
	}
	harness.Eventually(t, "the request arrives", func() bool { return len(backend.requests()) == 3 })
	w.Close()
	harness.Eventually(t, "the reset arrives", func() bool { return len(backend.cut()) == 2 })
	conn := host.MustDial("127.0.0.1:8080")
	fmt.Fprint(conn, "GET /begin HTTP/1.1\r\nhost: x\r\n\r\n")
	harness.Eventually(t, "the request arrives", func() bool { return len(backend.requests()) == 4 })
	conn.Close()
	harness.Eventually(t, "the reset arrives", func() bool { return len(backend.cut()) == 3 })
	if n := backend.Accepted(); n != 1 {
		t.Errorf("%d connections to the host: a reset stream cost one", n)
	}
	weir.AwaitStat("http.ingress.downstream_rq_rx_reset", func(n int) bool { return n == 3 })
	weir.AwaitStat("cluster.backend.http2.tx_reset", func(n int) bool { return n == 3 })
	weir.AwaitStat("cluster.backend.upstream_rq_active", func(n int) bool { return n == 0 })
}

func TestHTTP2ResetEndsHTTP1(t *testing.T) {
	t.Parallel()
	host := harness.NewHost(t)
	ended := make(chan struct{})
	backend := host.TCPBackend("127.0.0.1:0", func(c *net.TCPConn) {
		_, _ = io.Copy(io.Discard, c) // until weir closes
		close(ended)
	})
	startUpstream(t, host, backend.Addr, "explicit_http_config: {http_protocol_options: {}}")
	w := dial2(t, host, "127.0.0.1:8080")
	if err := w.get(1, "/"); err != nil {
		t.Fatal(err)
	}
	harness.Eventually(t, "the request arrives", func() bool { return backend.Accepted() == 1 })
	if err := w.WriteRSTStream(1, http2.ErrCodeCancel); err != nil {
		t.Fatal(err)
	}
	<-ended
}

// What is particular about messages on HTTP/2 arrives as it was sent.
func TestHTTP2Transparency(t *testing.T) {
	t.Parallel()
	host, _, backend := startBreaks(t, "proxy_100_continue: true")
	w := dial2(t, host, "127.0.0.1:8080")
	ask := func(stream uint32, path string, more ...string) *reply {
		t.Helper()
		if err := w.get(stream, path, more...); err != nil {
			t.Fatal(err)
		}
		return w.mustReply(t, stream)
	}
	if r := ask(1, "/trailers", "te", "trailers"); r.status() != "200" || string(r.body) != "the beginning" || r.trailers["x-tail"] != "end" {
		t.Errorf("trailers: %+v", r)
	}
	if r := ask(3, "/only"); r.head["grpc-status"] != "5" || r.trailers != nil || r.body != nil {
		t.Errorf("a head that ends the stream: %+v", r)
	}
	if r := ask(5, "/hints"); len(r.interim) != 1 || r.interim[0][":status"] != "103" || r.interim[0]["link"] != "</a>" || r.status() != "204" {
		t.Errorf("early hints: %+v", r)
	}
	if r := ask(7, "/", "cookie", "a=b", "x-many", "1", "cookie", "c=d", "x-many", "2"); r.status() != "204" {
		t.Errorf("many fields: %+v", r)
	}
	if got := backend.requests()[3]; got["x-many"] != "1,2" || got["cookie"] != "a=b; c=d" && got["cookie"] != "a=b,c=d" {
		t.Errorf("the host got %v", got)
	}
	// The host may answer before it has the whole request, and need not want the rest.
	if err := w.headers(9, false, ":method", "POST", ":scheme", "http", ":authority", "x", ":path", "/early"); err != nil {
		t.Fatal(err)
	}
	if r := w.mustReply(t, 9); r.status() != "403" {
		t.Errorf("an early answer: %+v", r)
	}
	if r := ask(11, "/"); r.status() != "204" {
		t.Errorf("afterwards: %+v", r)
	}
	if n := backend.Accepted(); n != 1 {
		t.Errorf("%d connections to the host", n)
	}
	// :authority may be missing where there is a host.
	if err := w.headers(13, true, ":method", "GET", ":scheme", "http", ":path", "/", "host", "by-host"); err != nil {
		t.Fatal(err)
	}
	if r := w.mustReply(t, 13); r.status() != "204" {
		t.Errorf("host without :authority: %+v", r)
	}
	if all := backend.requests(); all[len(all)-1][":authority"] != "by-host" {
		t.Errorf("the host got %v", all[len(all)-1])
	}
}

// What HTTP/1.1 says with fields of the connection, HTTP/2 says otherwise or not at all.
func TestHTTP2ToHTTP1Fields(t *testing.T) {
	t.Parallel()
	host := harness.NewHost(t)
	backend := startScripted(host, map[string]string{
		"/": "HTTP/1.1 200 OK\r\nConnection: keep-alive, X-Hop\r\nKeep-Alive: timeout=5\r\nX-Hop: here\r\nX-Upper: Value\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
	})
	startUpstream(t, host, backend.Addr, "explicit_http_config: {http_protocol_options: {}}")
	w := dial2(t, host, "127.0.0.1:8080")
	if err := w.get(1, "/", "cookie", "a=b", "te", "trailers", "cookie", "c=d"); err != nil {
		t.Fatal(err)
	}
	r := w.mustReply(t, 1)
	for _, hop := range []string{"connection", "keep-alive", "x-hop", "transfer-encoding"} {
		if v, there := r.head[hop]; there {
			t.Errorf("%s: %s is of HTTP/1.1", hop, v)
		}
	}
	if r.head["x-upper"] != "Value" || string(r.body) != "ok" {
		t.Errorf("got %+v", r)
	}
	got := backend.last()
	if !strings.Contains(got, "\r\ncookie: a=b; c=d\r\n") || !strings.HasPrefix(got, "GET / HTTP/1.1\r\nhost: x\r\n") {
		t.Errorf("the host got\n%s", got)
	}
	if strings.Contains(got, "transfer-encoding") || strings.Contains(got, "content-length") {
		t.Errorf("a request without body got a framing:\n%s", got)
	}
	if status := fmt.Sprint(http.StatusOK); r.status() != status {
		t.Errorf("status %s", r.status())
	}
}
