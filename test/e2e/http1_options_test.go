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

	"github.com/google/go-cmp/cmp"

	"github.com/weir-proxy/weir/test/harness"
)

// preserveCase is the formatter with these fields of its own.
func preserveCase(fields string) string {
	return `header_key_format: {stateful_formatter: {name: preserve_case, typed_config: {` +
		`"@type": type.googleapis.com/envoy.extensions.http.header_formatters.preserve_case.v3.PreserveCaseFormatterConfig` + fields + `}}}`
}

func downstreamHTTP1(fields string) string { return "http_protocol_options: {" + fields + "}" }

func upstreamHTTP1(fields string) string {
	return harness.UpstreamHTTP("explicit_http_config: {http_protocol_options: {" + fields + "}}")
}

// http1Cases say what Http1ProtocolOptions do, byte by byte. "~" stands for CRLF; answer is the backend's, empty for the
// usual one. open tells whether the connection can be used again.
var http1Cases = []struct {
	name              string
	manager, cluster  string
	send, answer      string
	backend, response string
	open              bool
}{
	{
		name: "names are lower-case", send: "GET / HTTP/1.1~HOST: x~X-aBc: 1~~", answer: "HTTP/1.1 200 Fine~DATE: d~X-dEf: 2~Content-Length: 2~~ok",
		backend: "GET / HTTP/1.1~host: x~x-abc: 1~x-forwarded-proto: http~~", response: "HTTP/1.1 200 OK~date: d~x-def: 2~content-length: 2~~ok", open: true,
	},
	{
		name: "proper case words", manager: downstreamHTTP1("header_key_format: {proper_case_words: {}}"),
		cluster: upstreamHTTP1("header_key_format: {proper_case_words: {}}"),
		send:    "GET / HTTP/1.1~host: x~x-aBc: 1~~",
		backend: "GET / HTTP/1.1~Host: x~X-Abc: 1~X-Forwarded-Proto: http~~", response: "HTTP/1.1 200 OK~Date: d~Content-Length: 2~~ok", open: true,
	},
	{
		name: "preserve_case downstream is for requests", manager: downstreamHTTP1(preserveCase("")),
		send: "POST / HTTP/1.1~hOST: x~X-aBc: 1~Content-LENGTH: 2~~ab", answer: "HTTP/1.1 200 Fine~DATE: d~X-dEf: 2~Content-Length: 2~~ok",
		backend: "POST / HTTP/1.1~hOST: x~X-aBc: 1~Content-LENGTH: 2~x-forwarded-proto: http~~ab", response: "HTTP/1.1 200 OK~date: d~x-def: 2~content-length: 2~~ok", open: true,
	},
	{
		name: "preserve_case upstream is for responses", cluster: upstreamHTTP1(preserveCase(", forward_reason_phrase: true")),
		send: "GET / HTTP/1.1~hOST: x~X-aBc: 1~~", answer: "HTTP/1.1 200 As you wish~DATE: d~X-dEf: 2~Transfer-ENCODING: chunked~~2~ok~0~~",
		backend: "GET / HTTP/1.1~host: x~x-abc: 1~x-forwarded-proto: http~~", response: "HTTP/1.1 200 As you wish~DATE: d~X-dEf: 2~Transfer-ENCODING: chunked~~2~ok~0~~", open: true,
	},
	{
		name: "preserve_case with proper case for own names", manager: downstreamHTTP1(preserveCase(", formatter_type_on_envoy_headers: PROPER_CASE")),
		send:    "GET / HTTP/1.1~HOST: x~x-aBc: 1~~",
		backend: "GET / HTTP/1.1~HOST: x~x-aBc: 1~X-Forwarded-Proto: http~~", response: "HTTP/1.1 200 OK~date: d~content-length: 2~~ok", open: true,
	},
	{
		name: "whole URLs", cluster: upstreamHTTP1("send_fully_qualified_url: true"),
		send:    "GET /a?b HTTP/1.1~Host: x:1~~",
		backend: "GET http://x:1/a?b HTTP/1.1~host: x:1~x-forwarded-proto: http~~", response: "HTTP/1.1 200 OK~date: d~content-length: 2~~ok", open: true,
	},
	{
		name: "HTTP/1.0", manager: downstreamHTTP1("accept_http_10: true, default_host_for_http_10: old.test"),
		send:    "GET /a HTTP/1.0~~",
		backend: "GET /a HTTP/1.1~host: old.test~x-forwarded-proto: http~~", response: "HTTP/1.1 200 OK~date: d~content-length: 2~connection: close~~ok",
	},
	{
		name: "HTTP/1.0 keep-alive", manager: downstreamHTTP1("accept_http_10: true"),
		send:    "GET /a HTTP/1.0~Host: x~Connection: Keep-Alive~Keep-Alive: timeout=5~~",
		backend: "GET /a HTTP/1.1~host: x~x-forwarded-proto: http~~", response: "HTTP/1.1 200 OK~date: d~content-length: 2~connection: keep-alive~~ok", open: true,
	},
	{
		name: "HTTP/1.0 gets no chunks", manager: downstreamHTTP1("accept_http_10: true"),
		send: "GET /a HTTP/1.0~Host: x~Connection: keep-alive~~", answer: "HTTP/1.1 200 OK~date: d~Transfer-Encoding: chunked~~2~ok~0~~",
		backend: "GET /a HTTP/1.1~host: x~x-forwarded-proto: http~~", response: "HTTP/1.1 200 OK~date: d~connection: close~~ok",
	},
	{
		name: "HTTP/1.0 without any host", manager: downstreamHTTP1("accept_http_10: true"),
		send: "GET /a HTTP/1.0~~", response: "HTTP/1.1 400 Bad Request~",
	},
	{
		name: "length beside chunks", manager: downstreamHTTP1("allow_chunked_length: true"), cluster: upstreamHTTP1("allow_chunked_length: true"),
		send: "POST / HTTP/1.1~Host: x~Content-Length: 99~Transfer-Encoding: chunked~~2~ab~0~~", answer: "HTTP/1.1 200 OK~date: d~Content-Length: 99~Transfer-Encoding: chunked~~2~ok~0~~",
		backend:  "POST / HTTP/1.1~host: x~x-forwarded-proto: http~transfer-encoding: chunked~~2~ab~0~~",
		response: "HTTP/1.1 200 OK~date: d~transfer-encoding: chunked~connection: close~~2~ok~0~~",
	},
	{
		name: "custom methods", manager: downstreamHTTP1("allow_custom_methods: true"),
		send:    "WEIR / HTTP/1.1~Host: x~~",
		backend: "WEIR / HTTP/1.1~host: x~x-forwarded-proto: http~~", response: "HTTP/1.1 200 OK~date: d~content-length: 2~~ok", open: true,
	},
	{
		name: "ignored upgrades", manager: downstreamHTTP1(`ignore_http_11_upgrade: [{prefix: "TLS/"}]`),
		send:    "GET / HTTP/1.1~Host: x~Connection: upgrade~Upgrade: TLS/1.2~~",
		backend: "GET / HTTP/1.1~host: x~x-forwarded-proto: http~~", response: "HTTP/1.1 200 OK~date: d~content-length: 2~~ok", open: true,
	},
	{
		name: "other upgrades are refused", manager: downstreamHTTP1(`ignore_http_11_upgrade: [{prefix: "TLS/"}]`),
		send: "GET / HTTP/1.1~Host: x~Connection: upgrade~Upgrade: other~~", response: "HTTP/1.1 403 Forbidden~",
	},
	{
		name: "absolute form switched off", manager: downstreamHTTP1("allow_absolute_url: false"),
		send: "GET http://y/ HTTP/1.1~Host: x~~", response: "HTTP/1.1 404 Not Found~", open: true,
	},
	{
		name: "invalid requests end the connection", manager: "stream_error_on_invalid_http_message: false",
		send: "GET / HTTP/1.1~~", response: "HTTP/1.1 400 Bad Request~",
	},
	{
		name: "invalid requests leave the connection open", manager: "stream_error_on_invalid_http_message: true",
		send: "POST / HTTP/1.1~Content-Length: 2~~ab", response: "HTTP/1.1 400 Bad Request~", open: true,
	},
	{
		name:    "the override wins",
		manager: "stream_error_on_invalid_http_message: true, " + downstreamHTTP1("override_stream_error_on_invalid_http_message: false"),
		send:    "GET / HTTP/1.1~~", response: "HTTP/1.1 400 Bad Request~",
	},
	{
		name:    "local 400s end the connection",
		manager: "normalize_path: true", send: "GET /%00 HTTP/1.1~Host: x~~", response: "HTTP/1.1 400 Bad Request~",
	},
	{
		name:    "local 400s leave the connection open",
		manager: "normalize_path: true, stream_error_on_invalid_http_message: true", send: "GET /%00 HTTP/1.1~Host: x~~", response: "HTTP/1.1 400 Bad Request~", open: true,
	},
	{
		name: "trailers are dropped", send: "POST / HTTP/1.1~Host: x~Transfer-Encoding: chunked~~1~a~0~t: 1~~", answer: "HTTP/1.1 200 OK~date: d~Transfer-Encoding: chunked~~2~ok~0~t: 1~~",
		backend:  "POST / HTTP/1.1~host: x~x-forwarded-proto: http~transfer-encoding: chunked~~1~a~0~~",
		response: "HTTP/1.1 200 OK~date: d~transfer-encoding: chunked~~2~ok~0~~", open: true,
	},
	{
		name: "trailers pass both ways", manager: downstreamHTTP1("enable_trailers: true"), cluster: upstreamHTTP1("enable_trailers: true"),
		send: "POST / HTTP/1.1~Host: x~Transfer-Encoding: chunked~~1~a~0~T: 1~~", answer: "HTTP/1.1 200 OK~date: d~Transfer-Encoding: chunked~~2~ok~0~T: 1~~",
		backend:  "POST / HTTP/1.1~host: x~x-forwarded-proto: http~transfer-encoding: chunked~~1~a~0~t: 1~~",
		response: "HTTP/1.1 200 OK~date: d~transfer-encoding: chunked~~2~ok~0~t: 1~~", open: true,
	},
	{
		name: "one request a connection", manager: "common_http_protocol_options: {max_requests_per_connection: 1}",
		send:    "GET / HTTP/1.1~Host: x~~",
		backend: "GET / HTTP/1.1~host: x~x-forwarded-proto: http~~", response: "HTTP/1.1 200 OK~date: d~content-length: 2~connection: close~~ok",
	},
	{
		name: "early hints are dropped", answer: "HTTP/1.1 103 Early Hints~link: a~~HTTP/1.1 200 OK~date: d~Content-Length: 2~~ok",
		send: "GET / HTTP/1.1~Host: x~~", backend: "GET / HTTP/1.1~host: x~x-forwarded-proto: http~~",
		response: "HTTP/1.1 200 OK~date: d~content-length: 2~~ok", open: true,
	},
	{
		name: "early hints pass with proxy_100_continue", manager: "proxy_100_continue: true",
		answer: "HTTP/1.1 103 Early Hints~link: a~~HTTP/1.1 200 OK~date: d~Content-Length: 2~~ok",
		send:   "GET / HTTP/1.1~Host: x~~", backend: "GET / HTTP/1.1~host: x~x-forwarded-proto: http~~",
		response: "HTTP/1.1 103 Early Hints~link: a~~HTTP/1.1 200 OK~date: d~content-length: 2~~ok", open: true,
	},
	{
		name: "names with underscores are dropped", manager: "common_http_protocol_options: {headers_with_underscores_action: DROP_HEADER}",
		send:    "GET / HTTP/1.1~Host: x~a_b: 1~c: 2~~",
		backend: "GET / HTTP/1.1~host: x~c: 2~x-forwarded-proto: http~~", response: "HTTP/1.1 200 OK~date: d~content-length: 2~~ok", open: true,
	},
	{
		name: "names with underscores are rejected", manager: "common_http_protocol_options: {headers_with_underscores_action: REJECT_REQUEST}",
		send: "GET / HTTP/1.1~Host: x~a_b: 1~~", response: "HTTP/1.1 400 Bad Request~",
	},
}

// answering is a backend that answers a connection's requests in the way that the case named by the port asks for.
func answering(host *harness.Host, answer string) (*harness.TCPBackend, *wireLog) {
	if answer == "" {
		answer = "HTTP/1.1 200 OK~date: d~Content-Length: 2~~ok"
	}
	w := &wireLog{}
	b := host.TCPBackend("127.0.0.1:0", func(c *net.TCPConn) {
		in := bufio.NewReader(io.TeeReader(c, w))
		for {
			req, err := http.ReadRequest(in)
			if err != nil {
				return
			}
			if _, err := io.Copy(io.Discard, req.Body); err != nil {
				return
			}
			if _, err := io.WriteString(c, crlf(answer)); err != nil {
				return
			}
		}
	})
	return b, w
}

func TestHTTP1Options(t *testing.T) {
	t.Parallel()
	host := harness.NewHost(t)
	logs := make([]*wireLog, len(http1Cases))
	var all harness.Bootstrap
	for i, c := range http1Cases {
		var backend *harness.TCPBackend
		backend, logs[i] = answering(host, c.answer)
		name := fmt.Sprint("backend", i)
		fields := []string{"server_header_transformation: PASS_THROUGH, route_config: " + harness.RouteConfig("r", harness.RouteTo("/", name))}
		if c.manager != "" {
			fields = append(fields, c.manager)
		}
		var cluster []string
		if c.cluster != "" {
			cluster = append(cluster, c.cluster)
		}
		all.Clusters = append(all.Clusters, harness.Cluster(name, harness.To(backend.Addr), cluster...))
		all.Listeners = append(all.Listeners, harness.Listener{
			Name: fmt.Sprint("l", i), Address: fmt.Sprint("127.0.0.1:", 8100+i), Chains: []string{harness.Chain(strictManager(fields...))},
		}.YAML())
	}
	weir := host.StartWeir(harness.WeirOptions{Config: all.YAML()})
	for i, c := range http1Cases {
		t.Run(c.name, func(t *testing.T) {
			checkHTTP1(t, host.MustDial(fmt.Sprint("127.0.0.1:", 8100+i)), crlf(c.send), crlf(c.response), c.open)
			if diff := cmp.Diff(crlf(c.backend), first(logs[i].take())); diff != "" {
				t.Errorf("backend: %s", diff)
			}
		})
	}
	for name, want := range map[string]int{
		"http1.dropped_headers_with_underscores": 1, "http1.requests_rejected_with_underscores_in_headers": 1,
		"http.ingress.weir.http1.rejected.underscore_in_name": 1,
	} {
		if n := weir.Stat(name); n != want {
			t.Errorf("%s is %d, want %d", name, n, want)
		}
	}
	if strings.Contains(weir.Log(), "has no effect") {
		t.Errorf("some field has no effect:\n%s", weir.Log())
	}
}

// first is what came before the request that tries whether the connection is open.
func first(text string) string {
	at := regexp.MustCompile(`(?i)GET \S*/again HTTP`).FindStringIndex(text)
	if at == nil {
		return text
	}
	return text[:at[0]]
}

// checkHTTP1 compares the whole answer, or its first line when only that is given, and tries the connection again.
func checkHTTP1(t *testing.T, conn *net.TCPConn, send, want string, open bool) {
	t.Helper()
	// A connection that is closed does not answer the second request; its "connection: close" ends an open one.
	if _, err := io.WriteString(conn, send+"GET /again HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	got := string(answer)
	if !strings.HasPrefix(got, want) {
		t.Errorf("client: %s", cmp.Diff(want, got))
		return
	}
	again := regexp.MustCompile(`HTTP/1\.1 (2|4)`).MatchString(strings.TrimPrefix(got, want))
	if again != open {
		t.Errorf("open %t, want %t: %q", again, open, got)
	}
}
