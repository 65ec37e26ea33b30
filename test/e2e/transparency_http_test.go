package e2e

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-proxy/weir/test/harness"
)

// How a scripted response goes on after its bytes, and where a client waits for a 100.
const (
	thenWait  = "\x00wait"
	thenClose = "\x00close" // the server ends the connection
	thenReset = "\x00reset" // the server resets it
)

// scripted is an HTTP/1 server that keeps the bytes of requests and answers with bytes, by path.
type scripted struct {
	*harness.TCPBackend
	answers map[string]string

	mu       sync.Mutex
	requests []string
}

func startScripted(host *harness.Host, answers map[string]string) *scripted {
	s := &scripted{answers: answers}
	s.TCPBackend = host.TCPBackend("127.0.0.1:0", s.serve)
	return s
}

func (s *scripted) serve(c *net.TCPConn) {
	var raw bytes.Buffer
	in := bufio.NewReader(io.TeeReader(&oneByte{c}, &raw)) // no further than the request
	for {
		raw.Reset()
		req, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		if req.Header.Get("Expect") != "" {
			if _, err := io.WriteString(c, "HTTP/1.1 100 Continue\r\n\r\n"); err != nil {
				return
			}
		}
		if _, err := io.Copy(io.Discard, req.Body); err != nil {
			return
		}
		s.mu.Lock()
		s.requests = append(s.requests, raw.String())
		s.mu.Unlock()
		answer, then, ends := strings.Cut(s.answers[req.URL.Path], "\x00")
		if _, err := io.WriteString(c, answer); err != nil {
			return
		}
		if ends {
			if then == "reset" {
				_ = c.SetLinger(0)
			}
			return
		}
	}
}

// oneByte reads byte by byte, so that nobody reads ahead.
type oneByte struct{ io.Reader }

// Read implements io.Reader.
func (o *oneByte) Read(p []byte) (int, error) { return o.Reader.Read(p[:min(len(p), 1)]) }

// last is the latest request, without what differs from run to run.
func (s *scripted) last() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.requests) == 0 {
		return ""
	}
	return stable(s.requests[len(s.requests)-1])
}

// stable drops the fields whose values differ from run to run.
func stable(message string) string {
	return regexp.MustCompile(`(?mi)^(x-request-id|date|x-envoy-upstream-service-time|x-envoy-expected-rq-timeout-ms): .*\r\n`).ReplaceAllString(message, "")
}

// wireCase is one request on a connection of its own.
type wireCase struct {
	name string
	// listener is one of plain, keep (case kept), trailers, ten (HTTP/1.0), interim (1xx pass).
	listener string
	send     string
	// got is what the backend receives, want what the client does until its connection is closed or it has had that much.
	got, want string
	// cut tells that the client's connection ends in the middle.
	cut bool
}

const (
	added   = "x-forwarded-proto: http\r\n"
	addedUp = "server: envoy\r\n"
)

// transparencyAnswers are what the backend says, by path.
func transparencyAnswers() map[string]string {
	return map[string]string{
		"/ok":       "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
		"/head":     "HTTP/1.1 200 OK\r\ncontent-length: 1234\r\n\r\n",
		"/204":      "HTTP/1.1 204 No Content\r\n\r\n",
		"/304":      "HTTP/1.1 304 Not Modified\r\ncontent-length: 99\r\netag: \"a\"\r\n\r\n",
		"/eof":      "HTTP/1.1 200 OK\r\n\r\nuntil the end" + thenClose,
		"/ten":      "HTTP/1.0 200 OK\r\n\r\nuntil the end" + thenClose,
		"/chunks":   "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3;ext=1\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
		"/trailers": "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx-tail: end\r\n\r\n",
		"/hints":    "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
		"/short":    "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nshort" + thenClose,
		"/cut":      "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n" + thenReset,
		"/reset":    "HTTP/1.1 200 OK\r\n\r\nno end" + thenReset,
		"/fields":   "HTTP/1.1 200 OK\r\nX-Second: 2\r\nX-First: 1\r\nSet-Cookie: a=b\r\nset-cookie: c=d\r\nConnection: X-Hop, keep-alive\r\nX-Hop: here\r\nKeep-Alive: timeout=5\r\nContent-Length: 2\r\n\r\nok",
		"/empty":    "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
	}
}

func transparencyCases() []wireCase {
	const ok = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n" + addedUp + "\r\nok"
	return []wireCase{
		{"no body", "plain", "GET /ok HTTP/1.1\r\nhost: x\r\n\r\n", "GET /ok HTTP/1.1\r\nhost: x\r\n" + added + "\r\n", ok, false},
		{
			"empty body", "plain", "POST /ok HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n",
			"POST /ok HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n" + added + "\r\n", ok, false,
		},
		{"HEAD", "plain", "HEAD /head HTTP/1.1\r\nhost: x\r\n\r\n", "", "HTTP/1.1 200 OK\r\ncontent-length: 1234\r\n" + addedUp + "\r\n", false},
		{"204", "plain", "GET /204 HTTP/1.1\r\nhost: x\r\n\r\n", "", "HTTP/1.1 204 No Content\r\n" + addedUp + "\r\n", false},
		{"304", "plain", "GET /304 HTTP/1.1\r\nhost: x\r\n\r\n", "", "HTTP/1.1 304 Not Modified\r\ncontent-length: 99\r\netag: \"a\"\r\n" + addedUp + "\r\n", false},
		{"empty response", "plain", "GET /empty HTTP/1.1\r\nhost: x\r\n\r\n", "", "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n" + addedUp + "\r\n", false},
		{
			"until the end", "plain", "GET /eof HTTP/1.1\r\nhost: x\r\n\r\n", "",
			"HTTP/1.1 200 OK\r\n" + addedUp + "transfer-encoding: chunked\r\n\r\nd\r\nuntil the end\r\n0\r\n\r\n", false,
		},
		{
			"a host of HTTP/1.0", "plain", "GET /ten HTTP/1.1\r\nhost: x\r\n\r\n", "",
			"HTTP/1.1 200 OK\r\n" + addedUp + "transfer-encoding: chunked\r\n\r\nd\r\nuntil the end\r\n0\r\n\r\n", false,
		},
		{"length cut short", "plain", "GET /short HTTP/1.1\r\nhost: x\r\n\r\n", "", "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n" + addedUp + "\r\nshort", true},
		{"chunks cut short", "plain", "GET /cut HTTP/1.1\r\nhost: x\r\n\r\n", "", "HTTP/1.1 200 OK\r\n" + addedUp + "transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n", true},
		{"reset", "plain", "GET /reset HTTP/1.1\r\nhost: x\r\n\r\n", "", "HTTP/1.1 200 OK\r\n" + addedUp + "transfer-encoding: chunked\r\n\r\n6\r\nno end\r\n", true},
		{
			"trailers dropped", "plain", "GET /trailers HTTP/1.1\r\nhost: x\r\n\r\n", "",
			"HTTP/1.1 200 OK\r\n" + addedUp + "transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", false,
		},
		{
			"trailers", "trailers", "POST /trailers HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nx-end: yes\r\n\r\n",
			"POST /trailers HTTP/1.1\r\nhost: x\r\n" + added + "transfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nx-end: yes\r\n\r\n",
			"HTTP/1.1 200 OK\r\n" + addedUp + "transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx-tail: end\r\n\r\n", false,
		},
		{
			"fields", "plain", "GET /fields HTTP/1.1\r\nX-Z: 1\r\nHost: x\r\nX-A: 2\r\nx-z: 3\r\nConnection: X-Gone\r\nX-Gone: here\r\nProxy-Connection: keep-alive\r\n\r\n",
			"GET /fields HTTP/1.1\r\nhost: x\r\nx-z: 1\r\nx-a: 2\r\nx-z: 3\r\n" + added + "\r\n",
			"HTTP/1.1 200 OK\r\nx-second: 2\r\nx-first: 1\r\nset-cookie: a=b\r\nset-cookie: c=d\r\ncontent-length: 2\r\n" + addedUp + "\r\nok", false,
		},
		{
			"case kept", "keep", "GET /fields HTTP/1.1\r\nX-Z: 1\r\nHost: x\r\nX-A: 2\r\nx-z: 3\r\n\r\n",
			"GET /fields HTTP/1.1\r\nHost: x\r\nX-Z: 1\r\nX-A: 2\r\nx-z: 3\r\n" + added + "\r\n",
			"HTTP/1.1 200 OK\r\nX-Second: 2\r\nX-First: 1\r\nSet-Cookie: a=b\r\nset-cookie: c=d\r\nContent-Length: 2\r\n" + addedUp + "\r\nok", false,
		},
		{
			"absolute form", "plain", "GET http://y:81/ok?a=b HTTP/1.1\r\nhost: x\r\n\r\n",
			"GET /ok?a=b HTTP/1.1\r\nhost: y:81\r\n" + added + "\r\n", ok, false,
		},
		{"interim dropped", "plain", "GET /hints HTTP/1.1\r\nhost: x\r\n\r\n", "", ok, false},
		{
			"interim passed", "interim", "GET /hints HTTP/1.1\r\nhost: x\r\n\r\n", "",
			"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n" + ok, false,
		},
		{
			"continue answered", "plain", "POST /ok HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n" + thenWait + "hi",
			"POST /ok HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n" + added + "\r\nhi", "HTTP/1.1 100 Continue\r\n\r\n" + ok, false,
		},
		{
			"continue passed", "interim", "POST /ok HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n" + thenWait + "hi",
			"POST /ok HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 2\r\n" + added + "\r\nhi", "HTTP/1.1 100 Continue\r\n\r\n" + ok, false,
		},
		{"HTTP/1.0", "ten", "GET /ok HTTP/1.0\r\nhost: x\r\n\r\n", "GET /ok HTTP/1.1\r\nhost: x\r\n" + added + "\r\n", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n" + addedUp + "connection: close\r\n\r\nok", true},
		{
			"HTTP/1.0 without host", "ten", "GET /ok HTTP/1.0\r\n\r\n",
			"GET /ok HTTP/1.1\r\nhost: default.test\r\n" + added + "\r\n", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n" + addedUp + "connection: close\r\n\r\nok", true,
		},
		{
			"HTTP/1.0 kept alive", "ten", "GET /ok HTTP/1.0\r\nhost: x\r\nconnection: keep-alive\r\n\r\n", "",
			"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n" + addedUp + "connection: keep-alive\r\n\r\nok", false,
		},
		{
			"chunks for HTTP/1.0", "ten", "GET /chunks HTTP/1.0\r\nhost: x\r\n\r\n", "",
			"HTTP/1.1 200 OK\r\n" + addedUp + "connection: close\r\n\r\nabcde", true,
		},
		{
			"pipelining", "plain", "GET /chunks HTTP/1.1\r\nhost: x\r\n\r\nGET /ok HTTP/1.1\r\nhost: x\r\n\r\nHEAD /head HTTP/1.1\r\nhost: x\r\n\r\n", "",
			"HTTP/1.1 200 OK\r\n" + addedUp + "transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n" + ok +
				"HTTP/1.1 200 OK\r\ncontent-length: 1234\r\n" + addedUp + "\r\n", false,
		},
	}
}

// What a client and a host say to each other arrives, byte by byte, as HTTP asks of a proxy and as Envoy does it.
func TestHTTPTransparency(t *testing.T) {
	t.Parallel()
	host := harness.NewHost(t)
	backend := startScripted(host, transparencyAnswers())
	const keep = "header_key_format: {stateful_formatter: {name: preserve_case, typed_config: {\"@type\": " +
		"type.googleapis.com/envoy.extensions.http.header_formatters.preserve_case.v3.PreserveCaseFormatterConfig}}}"
	addrs := map[string]string{}
	var listeners []string
	for i, l := range []struct{ name, fields, cluster string }{
		{"plain", "server_name: envoy", "plain"},
		{"keep", "http_protocol_options: {" + keep + "}", "keep"},
		{"trailers", trailers1, "trailers"},
		{"ten", "http_protocol_options: {accept_http_10: true, default_host_for_http_10: default.test}", "plain"},
		{"interim", "proxy_100_continue: true", "plain"},
	} {
		addrs[l.name] = fmt.Sprint("127.0.0.1:", 8080+i)
		manager := harness.HTTPManager(l.fields, "route_config: "+harness.RouteConfig("local_route",
			`{match: {path: /last}, direct_response: {status: 418}}`, harness.RouteTo("/", l.cluster)))
		listeners = append(listeners, harness.Listener{Name: l.name, Address: addrs[l.name], Chains: []string{harness.Chain(manager)}}.YAML())
	}
	host.StartWeir(harness.WeirOptions{Config: harness.Bootstrap{Listeners: listeners, Clusters: []string{
		harness.Cluster("plain", harness.To(backend.Addr)),
		harness.Cluster("keep", harness.To(backend.Addr), harness.UpstreamHTTP("explicit_http_config: {http_protocol_options: {"+keep+"}}")),
		harness.Cluster("trailers", harness.To(backend.Addr), harness.UpstreamHTTP("explicit_http_config: {"+trailers1+"}")),
	}}.YAML()})
	for _, tc := range transparencyCases() {
		t.Run(tc.name, func(t *testing.T) {
			conn := host.MustDial(addrs[tc.listener])
			first, _, _ := strings.Cut(tc.send, thenWait)
			fmt.Fprint(conn, first)
			got := hear(t, conn, tc)
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("the client got (-want +got)\n%s", diff)
			}
			if tc.got == "" {
				return
			}
			if diff := cmp.Diff(tc.got, backend.last()); diff != "" {
				t.Errorf("the backend got (-want +got)\n%s", diff)
			}
		})
	}
}

// hear reads what the client gets: until the connection ends, or until it has what it wants and an answer to a last request.
func hear(t *testing.T, conn net.Conn, tc wireCase) string {
	t.Helper()
	if err := conn.SetDeadline(time.Now().Add(harness.Patience)); err != nil {
		t.Fatal(err)
	}
	var all bytes.Buffer
	buf := make([]byte, 4096)
	asked := false
	_, late, waits := strings.Cut(tc.send, thenWait)
	for {
		if waits && strings.Contains(all.String(), " 100 ") {
			if _, err := io.WriteString(conn, late); err != nil {
				t.Fatal(err)
			}
			waits = false
		}
		if n := len(stable(all.String())); !tc.cut && n >= len(tc.want) && !asked {
			// A request that is answered tells that the one before is over, and that the connection is in order.
			if _, err := io.WriteString(conn, "GET /last HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"); err != nil {
				t.Fatal(err)
			}
			asked = true
		}
		n, err := conn.Read(buf)
		all.Write(buf[:n])
		if err == nil {
			continue
		}
		got, _, answered := strings.Cut(stable(all.String()), "HTTP/1.1 418")
		if answered == tc.cut {
			t.Errorf("the connection lives: %t, then %v", answered, err)
		}
		return got
	}
}
