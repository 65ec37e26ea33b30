package e2e

import (
	"bufio"
	"bytes"
	"cmp"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/weir-proxy/weir/test/harness"
)

// wireLog is a backend that keeps every byte it gets, and answers what Go's server takes for requests.
type wireLog struct {
	*harness.TCPBackend
	mu  sync.Mutex
	all bytes.Buffer
}

func startWireLog(host *harness.Host) *wireLog {
	w := &wireLog{}
	w.TCPBackend = host.TCPBackend("127.0.0.1:0", func(c *net.TCPConn) {
		in := bufio.NewReader(io.TeeReader(c, w))
		for {
			req, err := http.ReadRequest(in)
			if err != nil {
				return
			}
			if _, err := io.Copy(io.Discard, req.Body); err != nil {
				return
			}
			if _, err := io.WriteString(c, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"); err != nil {
				return
			}
		}
	})
	return w
}

// Write implements io.Writer.
func (w *wireLog) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.all.Write(p)
}

// take returns what came since the last call.
func (w *wireLog) take() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	defer w.all.Reset()
	return w.all.String()
}

// strictManager is a connection manager that adds little to requests and logs status, flags and details. Envoy's field for
// the format lies in the access logger.
func strictManager(fields ...string) string {
	const (
		manager = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
		router  = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
		stdout  = "type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog"
		format  = `%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%\n`
	)
	return fmt.Sprintf(`{name: http, typed_config: {"@type": %s, stat_prefix: ingress, generate_request_id: false, `+
		`http_filters: [{name: envoy.filters.http.router, typed_config: {"@type": %s, suppress_envoy_headers: true}}], `+
		`access_log: [{name: log, typed_config: {"@type": %s, log_format: {text_format_source: {inline_string: "%s"}}}}], %s}}`,
		manager, router, stdout, format, strings.Join(fields, ", "))
}

// strictProxy forwards everything on 127.0.0.1:8080 to one backend.
func strictProxy(backend *harness.TCPBackend, cluster string, fields ...string) string {
	fields = append([]string{"route_config: " + harness.RouteConfig("r", harness.RouteTo("/", "backend"))}, fields...)
	clusters := []string{}
	if cluster != "" {
		clusters = append(clusters, cluster)
	}
	return harness.Bootstrap{
		Listeners: []string{harness.Listener{Name: "main", Address: "127.0.0.1:8080", Chains: []string{harness.Chain(strictManager(fields...))}}.YAML()},
		Clusters:  []string{harness.Cluster("backend", harness.To(backend.Addr), clusters...)},
	}.YAML()
}

func crlf(s string) string { return strings.ReplaceAll(s, "~", "\r\n") }

// smuggled follows each bad request on its connection, and must never be taken for one.
const smuggled = "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"

// Requests that two parsers could read in two ways, and all others that are not in order, are answered with the right
// status, counted and logged with their reason, and end the connection; nothing of them reaches the backend.
func TestSmugglingByHeads(t *testing.T) {
	t.Parallel()
	host := harness.NewHost(t)
	backend := startWireLog(host)
	weir := host.StartWeir(harness.WeirOptions{Config: strictProxy(backend.TCPBackend, "")})
	logged, counted, violations := map[string]int{}, map[string]int{}, 0
	cases := append(append([]refused{}, framingCases...), syntaxCases...)
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			conn := host.MustDial("127.0.0.1:8080")
			if _, err := io.WriteString(conn, crlf(c.in)+smuggled); err != nil {
				t.Fatal(err)
			}
			answer, err := io.ReadAll(conn)
			if err != nil || !strings.HasPrefix(string(answer), fmt.Sprintf("HTTP/1.1 %d ", c.status)) || strings.Count(string(answer), "HTTP/1.1 ") != 1 {
				t.Errorf("got %q, %v; want one answer %d and the end", answer, err, c.status)
			}
			if !strings.Contains(string(answer), "\r\nconnection: close\r\n") {
				t.Errorf("the answer does not tell that it is the last: %q", answer)
			}
			counted[c.reason]++
			name := "http.ingress.weir.http1.rejected." + c.reason
			if n := weir.Stat(name); n != counted[c.reason] {
				t.Errorf("%s is %d, want %d", name, n, counted[c.reason])
			}
		})
		if c.details == "low_version" || c.details == "missing_host_header" { // no protocol errors, as in Envoy
			logged[fmt.Sprintf("%d - %s", c.status, c.details)]++
			continue
		}
		logged[fmt.Sprintf("%d DPE %s", c.status, c.details)]++
		violations++
	}
	if n := backend.Accepted(); n != 0 || backend.take() != "" {
		t.Errorf("the backend got %d connections", n)
	}
	if n := weir.Stat("http.ingress.downstream_cx_protocol_error"); n != violations {
		t.Errorf("downstream_cx_protocol_error is %d, want %d", n, violations)
	}
	harness.EventuallyNil(t, "the access log", func() error { return wantLines(weir.Stdout(), logged) })
}

// wantLines compares lines by how often they occur.
func wantLines(text string, want map[string]int) error {
	got := map[string]int{}
	for line := range strings.Lines(text) {
		got[strings.TrimSpace(line)]++
	}
	if !maps.Equal(got, want) {
		return fmt.Errorf("%s", gocmp.Diff(want, got))
	}
	return nil
}

// A body that goes wrong ends the request on both sides.
func TestSmugglingByBodies(t *testing.T) {
	t.Parallel()
	host := harness.NewHost(t)
	backend := startWireLog(host)
	weir := host.StartWeir(harness.WeirOptions{Config: strictProxy(backend.TCPBackend, "", "http_protocol_options: {enable_trailers: true}")})
	const head = "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
	special := map[string]string{
		"trailers_too_large": "431 DPE " + tooLarge, "too_many_headers": "431 DPE " + tooMany, "bad_header_value": "400 DPE " + badChars,
	}
	logged, counted := map[string]int{}, map[string]int{}
	for _, c := range bodyCases {
		t.Run(c.name, func(t *testing.T) {
			conn := host.MustDial("127.0.0.1:8080")
			if _, err := io.WriteString(conn, head+crlf(c.in)+smuggled); err != nil {
				t.Fatal(err)
			}
			answer, err := io.ReadAll(conn)
			if err != nil || strings.Count(string(answer), "HTTP/1.1 ") != 1 || !strings.HasPrefix(string(answer), "HTTP/1.1 4") ||
				!strings.Contains(string(answer), "\r\nconnection: close\r\n") {
				t.Errorf("got %q, %v; want one answer and the end", answer, err)
			}
			counted[c.reason]++
			name := "http.ingress.weir.http1.rejected." + c.reason
			if n := weir.Stat(name); n != counted[c.reason] {
				t.Errorf("%s is %d, want %d", name, n, counted[c.reason])
			}
			if got := backend.take(); strings.Contains(got, "smuggled") || strings.Contains(got, "\r\n0\r\n") {
				t.Errorf("the backend got %q", got)
			}
		})
		logged[cmp.Or(special[c.reason], "400 DPE "+codecError)]++
	}
	if n := weir.Stat("http.ingress.downstream_cx_protocol_error"); n != len(bodyCases) {
		t.Errorf("downstream_cx_protocol_error is %d, want %d", n, len(bodyCases))
	}
	harness.EventuallyNil(t, "the access log", func() error { return wantLines(weir.Stdout(), logged) })
}

// What is passed on is framed anew, so that the backend reads it as weir did.
func TestSmugglingIsReframed(t *testing.T) {
	t.Parallel()
	host := harness.NewHost(t)
	backend := startWireLog(host)
	host.StartWeir(harness.WeirOptions{Config: strictProxy(
		backend.TCPBackend, harness.UpstreamHTTP("explicit_http_config: {http_protocol_options: {enable_trailers: true}}"),
		"http_protocol_options: {enable_trailers: true}")})
	for _, c := range passed {
		t.Run(c.name, func(t *testing.T) {
			conn := host.MustDial("127.0.0.1:8080")
			if _, err := io.WriteString(conn, crlf(c.in)+"GET /next HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"); err != nil {
				t.Fatal(err)
			}
			answer, err := io.ReadAll(conn)
			if err != nil || strings.Count(string(answer), "HTTP/1.1 200 ") != 2 {
				t.Errorf("got %q, %v; want two answers", answer, err)
			}
			want := crlf(c.want + "GET /next HTTP/1.1~host: x~x-forwarded-proto: http~~")
			if diff := gocmp.Diff(want, backend.take()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// Bytes behind a request for an upgrade that is refused are no requests.
func TestEarlyDataBehindARefusedUpgrade(t *testing.T) {
	t.Parallel()
	host := harness.NewHost(t)
	backend := startWireLog(host)
	host.StartWeir(harness.WeirOptions{Config: strictProxy(backend.TCPBackend, "", "upgrade_configs: [{upgrade_type: websocket}]")})
	for _, protocol := range []string{"websocket", "other"} {
		conn := host.MustDial("127.0.0.1:8080")
		fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: %s\r\n\r\n%s", protocol, smuggled)
		answer, err := io.ReadAll(conn)
		if err != nil || strings.Count(string(answer), "HTTP/1.1 ") != 1 {
			t.Errorf("%s: got %q, %v; want one answer and the end", protocol, answer, err)
		}
		if got := backend.take(); strings.Contains(got, "smuggled") || protocol == "other" && got != "" {
			t.Errorf("%s: the backend got %q", protocol, got)
		}
	}
}
