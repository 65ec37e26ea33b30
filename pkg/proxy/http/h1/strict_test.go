package h1

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/http/codec"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
	"github.com/weir-proxy/weir/test/await"
)

// malformedRequests are refused before any handler sees them. "~" stands for CRLF.
var malformedRequests = []struct {
	name, in string
	status   int
	reason   string
	details  string
}{
	{"length and chunked", "POST / HTTP/1.1~Host: a~Content-Length: 4~Transfer-Encoding: chunked~~0~~", 400, "cl_and_te", "http1.content_length_and_chunked_not_allowed"},
	{"chunked and length", "POST / HTTP/1.1~Host: a~Transfer-Encoding: chunked~Content-Length: 4~~0~~", 400, "cl_and_te", "http1.content_length_and_chunked_not_allowed"},
	{"two lengths", "POST / HTTP/1.1~Host: a~Content-Length: 4~Content-Length: 5~~", 400, "multiple_content_lengths", "http1.codec_error"},
	{"two equal lengths", "POST / HTTP/1.1~Host: a~Content-Length: 4~Content-Length: 4~~", 400, "multiple_content_lengths", "http1.codec_error"},
	{"list of lengths", "POST / HTTP/1.1~Host: a~Content-Length: 4, 4~~", 400, "bad_content_length", "http1.codec_error"},
	{"length with plus", "POST / HTTP/1.1~Host: a~Content-Length: +5~~", 400, "bad_content_length", "http1.codec_error"},
	{"negative length", "POST / HTTP/1.1~Host: a~Content-Length: -5~~", 400, "bad_content_length", "http1.codec_error"},
	{"hex length", "POST / HTTP/1.1~Host: a~Content-Length: 0x5~~", 400, "bad_content_length", "http1.codec_error"},
	{"length overflow", "POST / HTTP/1.1~Host: a~Content-Length: 9223372036854775808~~", 400, "bad_content_length", "http1.codec_error"},
	{"long length overflow", "POST / HTTP/1.1~Host: a~Content-Length: 99999999999999999999999~~", 400, "bad_content_length", "http1.codec_error"},
	{"empty length", "POST / HTTP/1.1~Host: a~Content-Length:~~", 400, "bad_content_length", "http1.codec_error"},
	{"length with space inside", "POST / HTTP/1.1~Host: a~Content-Length: 1 2~~", 400, "bad_content_length", "http1.codec_error"},
	{"unknown coding", "POST / HTTP/1.1~Host: a~Transfer-Encoding: gzip~~", 501, "unknown_transfer_encoding", "http1.invalid_transfer_encoding"},
	{"unknown coding before chunked", "POST / HTTP/1.1~Host: a~Transfer-Encoding: gzip, chunked~~", 501, "unknown_transfer_encoding", "http1.invalid_transfer_encoding"},
	{"misspelt chunked", "POST / HTTP/1.1~Host: a~Transfer-Encoding: xchunked~~", 501, "unknown_transfer_encoding", "http1.invalid_transfer_encoding"},
	{"quoted chunked", "POST / HTTP/1.1~Host: a~Transfer-Encoding: \"chunked\"~~", 501, "unknown_transfer_encoding", "http1.invalid_transfer_encoding"},
	{"identity", "POST / HTTP/1.1~Host: a~Transfer-Encoding: identity~~", 501, "unknown_transfer_encoding", "http1.invalid_transfer_encoding"},
	{"chunked is not last", "POST / HTTP/1.1~Host: a~Transfer-Encoding: chunked, gzip~~", 400, "te_not_last_chunked", "http1.invalid_transfer_encoding"},
	{"chunked twice", "POST / HTTP/1.1~Host: a~Transfer-Encoding: chunked~Transfer-Encoding: chunked~~", 400, "te_not_last_chunked", "http1.invalid_transfer_encoding"},
	{"chunked then other line", "POST / HTTP/1.1~Host: a~Transfer-Encoding: chunked~Transfer-Encoding: identity~~", 400, "te_not_last_chunked", "http1.invalid_transfer_encoding"},
	{"empty coding", "POST / HTTP/1.1~Host: a~Transfer-Encoding:~~", 400, "empty_transfer_encoding", "http1.invalid_transfer_encoding"},
	{"vertical tab in coding", "POST / HTTP/1.1~Host: a~Transfer-Encoding: \vchunked~~", 400, "bad_header_value", "http1.invalid_characters"},
	{"folded line", "GET / HTTP/1.1~Host: a~X: 1~ 2~~", 400, "obs_fold", "http1.codec_error"},
	{"folded with tab", "GET / HTTP/1.1~Host: a~X: 1~\t2~~", 400, "obs_fold", "http1.codec_error"},
	{"fold before the first field", "GET / HTTP/1.1~ Host: a~~", 400, "obs_fold", "http1.codec_error"},
	{"bare line feed", "GET / HTTP/1.1\nHost: a\n\n", 400, "bare_lf", "http1.codec_error"},
	{"bare line feed between fields", "GET / HTTP/1.1~Host: a\nX: y~~", 400, "bare_lf", "http1.codec_error"},
	{"bare carriage return in value", "GET / HTTP/1.1~Host: a~X: a\rb~~", 400, "bad_header_value", "http1.invalid_characters"},
	{"bare carriage return in request line", "GET /\rx HTTP/1.1~Host: a~~", 400, "bad_target", "http1.invalid_url"},
	{"space before colon", "POST / HTTP/1.1~Host: a~Content-Length : 4~~", 400, "space_before_colon", "http1.codec_error"},
	{"tab before colon", "POST / HTTP/1.1~Host: a~Transfer-Encoding\t: chunked~~", 400, "space_before_colon", "http1.codec_error"},
	{"space in name", "GET / HTTP/1.1~Host: a~X Y: 4~~", 400, "bad_header_name", "http1.codec_error"},
	{"empty name", "GET / HTTP/1.1~Host: a~: 4~~", 400, "empty_header_name", "http1.codec_error"},
	{"no colon", "GET / HTTP/1.1~Host: a~Xyz~~", 400, "no_colon", "http1.codec_error"},
	{"byte above ASCII in name", "GET / HTTP/1.1~Host: a~X\xe9: 4~~", 400, "bad_header_name", "http1.codec_error"},
	{"NUL in name", "GET / HTTP/1.1~Host: a~X\x00: 4~~", 400, "bad_header_name", "http1.codec_error"},
	{"NUL in value", "GET / HTTP/1.1~Host: a~X: a\x00b~~", 400, "bad_header_value", "http1.invalid_characters"},
	{"DEL in value", "GET / HTTP/1.1~Host: a~X: abcdefghij\x7fb~~", 400, "bad_header_value", "http1.invalid_characters"},
	{"escape in value", "GET / HTTP/1.1~Host: a~X: abcdefghijklmno\x1bb~~", 400, "bad_header_value", "http1.invalid_characters"},
	{"two hosts", "GET / HTTP/1.1~Host: a~Host: a~~", 400, "duplicate_host", "http1.codec_error"},
	{"no host", "GET / HTTP/1.1~X: y~~", 400, "missing_host", "missing_host_header"},
	{"no field at all", "GET / HTTP/1.1~~", 400, "missing_host", "missing_host_header"},
	{"empty host", "GET / HTTP/1.1~Host:~~", 400, "missing_host", "missing_host_header"},
	{"absolute form without Host", "GET http://a/ HTTP/1.1~~", 400, "missing_host", "missing_host_header"},
	{"slash in host", "GET / HTTP/1.1~Host: a/b~~", 400, "bad_host", "http.invalid_authority"},
	{"at sign in host", "GET / HTTP/1.1~Host: a@b~~", 400, "bad_host", "http.invalid_authority"},
	{"user in absolute form", "GET http://u@b/ HTTP/1.1~Host: b~~", 400, "bad_host", "http.invalid_authority"},
	{"custom method", "FOO / HTTP/1.1~Host: a~~", 400, "unknown_method", "http1.codec_error"},
	{"lower-case method", "get / HTTP/1.1~Host: a~~", 400, "unknown_method", "http1.codec_error"},
	{"Connection names x-forwarded-for", "GET / HTTP/1.1~Host: a~Connection: X-Forwarded-For~~", 400, "nominated_forwarded", "http1.connection_header_rejected"},
	{"Connection names a pseudo header", "GET / HTTP/1.1~Host: a~Connection: keep-alive, :path~~", 400, "nominated_pseudo", "http1.connection_header_rejected"},
	{"HTTP/1.0", "GET / HTTP/1.0~Host: a~~", 426, "http10_not_accepted", "low_version"},
	{"HTTP/0.9", "GET /~~", 400, "bad_request_line", "http1.codec_error"},
	{"HTTP/2.0 on HTTP/1", "GET / HTTP/2.0~Host: a~~", 400, "bad_version", "http1.codec_error"},
	{"lower-case version", "GET / http/1.1~Host: a~~", 400, "bad_version", "http1.codec_error"},
	{"two spaces before version", "GET /  HTTP/1.1~Host: a~~", 400, "bad_target", "http1.invalid_url"},
	{"two spaces before target", "GET  / HTTP/1.1~Host: a~~", 400, "bad_target", "http1.invalid_url"},
	{"space in target", "GET /a b HTTP/1.1~Host: a~~", 400, "bad_target", "http1.invalid_url"},
	{"space behind version", "GET / HTTP/1.1 ~Host: a~~", 400, "bad_version", "http1.codec_error"},
	{"tab as separator", "GET\t/\tHTTP/1.1~Host: a~~", 400, "bad_method", "http1.codec_error"},
	{"empty method", " / HTTP/1.1~Host: a~~", 400, "bad_method", "http1.codec_error"},
	{"bracket in method", "G[T / HTTP/1.1~Host: a~~", 400, "bad_method", "http1.codec_error"},
	{"relative target", "GET foo HTTP/1.1~Host: a~~", 400, "bad_target", "http1.invalid_url"},
	{"asterisk for GET", "GET * HTTP/1.1~Host: a~~", 400, "bad_target", "http1.invalid_url"},
	{"scheme ftp", "GET ftp://a/ HTTP/1.1~Host: a~~", 400, "bad_scheme", "http1.invalid_scheme"},
	{"no host in absolute form", "GET http:///x HTTP/1.1~Host: a~~", 400, "bad_target", "http1.invalid_url"},
	{"CONNECT without Host", "CONNECT a:1 HTTP/1.1~~", 400, "missing_host", "missing_host_header"},
	{"two expectations", "POST / HTTP/1.1~Host: a~Expect: x~Expect: 100-continue~~", 417, "unknown_expectation", "http1.expectation_failed"},
	{"CONNECT to a path", "CONNECT /x HTTP/1.1~Host: a~~", 400, "bad_connect_target", "http1.invalid_url"},
	{"CONNECT with length", "CONNECT a:1 HTTP/1.1~Host: a:1~Content-Length: 3~~", 400, "cl_in_connect", "http1.content_length_not_allowed"},
	{"CONNECT with chunked", "CONNECT a:1 HTTP/1.1~Host: a:1~Transfer-Encoding: chunked~~", 400, "te_in_connect", "http1.transfer_encoding_not_allowed"},
	{"TLS on a plain port", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03~~", 400, "bad_method", "http1.codec_error"},
	{"TLS without a line end", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, "bad_method", "http1.codec_error"},
	{"three empty lines first", "~~~GET / HTTP/1.1~Host: a~~", 400, "bad_method", "http1.codec_error"},
	{"unknown expectation", "POST / HTTP/1.1~Host: a~Expect: 200-ok~~", 417, "unknown_expectation", "http1.expectation_failed"},
	{"too many fields", "GET / HTTP/1.1~Host: a~" + strings.Repeat("a: b~", 100) + "~", 431, "too_many_headers", "http1.too_many_headers"},
	{"too large a head", "GET / HTTP/1.1~Host: a~X: " + strings.Repeat("x", 61<<10) + "~~", 431, "headers_too_large", "http1.headers_too_large"},
	{"head that does not end", "GET / HTTP/1.1~Host: a~X: " + strings.Repeat("x", 62<<10), 431, "headers_too_large", "http1.headers_too_large"},
	{"too long a target", "GET /" + strings.Repeat("x", 62<<10), 431, "start_line_too_large", "http1.headers_too_large"},
}

func TestMalformedRequestsAreRefused(t *testing.T) {
	h := &handler{serve: echo}
	addr := listen(t, options(), h)
	for _, c := range malformedRequests {
		t.Run(c.name, func(t *testing.T) {
			h.errs, h.calls = nil, 0
			conn := dial(t, addr)
			// What follows must not be taken for a request.
			send(t, conn, strings.ReplaceAll(c.in, "~", "\r\n")+"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")
			br := bufio.NewReader(conn)
			resp, err := http.ReadResponse(br, nil)
			if err != nil {
				t.Fatal(err)
			}
			if resp.StatusCode != c.status || !resp.Close {
				t.Errorf("status %d close %v, want %d and close", resp.StatusCode, resp.Close, c.status)
			}
			if rest, err := io.ReadAll(br); err != nil || len(rest) > 0 {
				t.Errorf("after the response: %q, %v", rest, err)
			}
			h.mu.Lock()
			defer h.mu.Unlock()
			if h.calls != 0 {
				t.Errorf("the handler was called")
			}
			if len(h.errs) != 1 || h.errs[0].Reason != c.reason || h.errs[0].Details != c.details || h.errs[0].Status != c.status {
				t.Errorf("errors %+v, want %s %s", h.errs, c.reason, c.details)
			}
		})
	}
}

func TestTransferEncodingInHTTP10(t *testing.T) {
	opt := options()
	opt.HTTP1.AcceptHTTP10 = true
	h := &handler{serve: echo}
	c := dial(t, listen(t, opt, h))
	send(t, c, "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
	if resp, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil || resp.StatusCode != 400 {
		t.Fatalf("%v, %v", resp, err)
	}
	if h.errs[0].Reason != "te_in_http10" {
		t.Errorf("reason %s", h.errs[0].Reason)
	}
}

// malformedChunks are chunked bodies that end with an error; the connection is not used again.
var malformedChunks = []struct{ name, in, reason string }{
	{"no size", "~abc~0~~", "bad_chunk_size"},
	{"not hexadecimal", "g~abc~0~~", "bad_chunk_size"},
	{"hex prefix", "0x3~abc~0~~", "bad_chunk_size"},
	{"plus", "+3~abc~0~~", "bad_chunk_size"},
	{"negative", "-3~abc~0~~", "bad_chunk_size"},
	{"overflow", "10000000000000003~abc~0~~", "bad_chunk_size"},
	{"space behind the size", "3 ~abc~0~~", "bad_chunk_size"},
	{"space before the size", " 3~abc~0~~", "bad_chunk_size"},
	{"bare line feed behind the size", "3\nabc~0~~", "bad_chunk_size"},
	{"line feed in extension", "3;a\nabc~0~~", "bad_chunk_size"},
	{"carriage return in extension", "3;a\rb~abc~0~~", "bad_chunk_size"},
	{"data too long", "3~abcd~0~~", "bad_chunk_end"},
	{"bare line feed behind the data", "3~abc\n0~~", "bad_chunk_end"},
	{"endless extension", "3;" + strings.Repeat("x", 5000), "chunk_line_too_long"},
	{"bare line feed in trailers", "0~a: b\n~~", "bare_lf"},
	{"bad trailer name", "0~a b: c~~", "bad_header_name"},
	{"folded trailer", "0~a: b~ c~~", "obs_fold"},
	{"too large trailers", "0~a: " + strings.Repeat("x", 61<<10) + "~~", "trailers_too_large"},
	{"NUL in trailers", "0~a: \x00~~", "bad_header_value"},
}

func TestMalformedChunksEndTheConnection(t *testing.T) {
	for _, c := range malformedChunks {
		t.Run(c.name, func(t *testing.T) {
			failed := make(chan error, 1)
			h := &handler{serve: func(s codec.ServerStream) {
				_, err := io.ReadAll(s.Request().Body)
				failed <- err
				_ = s.WriteResponse(&message.Response{Status: 400})
			}}
			conn := dial(t, listen(t, options(), h))
			send(t, conn, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"+strings.ReplaceAll(c.in, "~", "\r\n")+
				"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")
			bad, ok := (<-failed).(*codec.Error)
			if !ok || bad.Reason != c.reason {
				t.Errorf("error %v, want %s", bad, c.reason)
			}
			all, err := io.ReadAll(conn)
			if err != nil || strings.Count(string(all), "HTTP/1.1 ") != 1 {
				t.Errorf("responses %q, %v", all, err)
			}
			if h.calls != 1 {
				t.Errorf("%d calls of the handler", h.calls)
			}
		})
	}
}

// acceptedRequests are odd but fine; want is what the handler sees.
var acceptedRequests = []struct {
	name, in string
	opt      func(*ServerOptions)
	want     string // method scheme authority path protocol | fields
}{
	{"order and case", "GET /p?q HTTP/1.1~B: 1~Host: h~A: 2~b:3 ~~", nil, "GET http h /p?q  | B=1 A=2 b=3"},
	{"absolute form wins over Host", "GET HTTPS://real:8443?x HTTP/1.1~Host: fake~~", nil, "GET https real:8443 /?x  | "},
	{"absolute form switched off", "GET http://a/b HTTP/1.1~Host: c~~", func(o *ServerOptions) { o.HTTP1.AllowAbsoluteURL = false }, "GET http c http://a/b  | "},
	{"asterisk", "OPTIONS * HTTP/1.1~Host: h~~", nil, "OPTIONS http h *  | "},
	{"connect", "CONNECT h:443 HTTP/1.1~Host: other~~", nil, "CONNECT http h:443   | "},
	{"upgrade", "GET / HTTP/1.1~Host: h~Connection: keep-alive, Upgrade~Upgrade: websocket~~", nil, "GET http h / websocket | Upgrade=websocket"},
	{"upgrade without Connection", "GET / HTTP/1.1~Host: h~Upgrade: websocket~~", nil, "GET http h /  | "},
	{"two upgrades", "GET / HTTP/1.1~Host: h~Connection: upgrade~Upgrade: a~Upgrade: b~~", nil, "GET http h /  |"},
	{"h2c upgrade", "GET / HTTP/1.1~Host: h~Connection: upgrade, HTTP2-Settings~Upgrade: h2c~HTTP2-Settings: AAA~~", nil, "GET http h /  | "},
	{"upgrade with body", "POST / HTTP/1.1~Host: h~Connection: upgrade~Upgrade: x~Content-Length: 1~~1", nil, "POST http h /  | Content-Length=1"},
	{"hop by hop", "GET / HTTP/1.1~Host: h~Connection: close, X-Drop , te~X-Drop: 1~x-DROP: 2~Keep-Alive: 3~Proxy-Connection: x~TE: gzip, trailers~X: y~~", nil, "GET http h /  | TE=trailers X=y"},
	{"nominating what must stay", "GET / HTTP/1.1~Host: h~Connection: via, cookie, x-envoy-a, x-envoy-internal~Via: 1~Cookie: c~X-Envoy-A: b~X-Envoy-Internal: d~~", nil, "GET http h /  | Via=1 Cookie=c X-Envoy-A=b X-Envoy-Internal=d"},
	{"nominating a well-known field", "GET / HTTP/1.1~Host: h~Connection: Referer~Connection: accept~REFERER: 1~Accept: c~a: b~~", nil, "GET http h /  | a=b"},
	{"custom method", "FOO / HTTP/1.1~Host: h~~", func(o *ServerOptions) { o.HTTP1.AllowCustomMethods = true }, "FOO http h /  |"},
	{"ignored upgrade", "GET / HTTP/1.1~Host: h~Connection: upgrade~Upgrade: TLS/1.2~~", func(o *ServerOptions) { o.IgnoreUpgrade = func(p string) bool { return p == "TLS/1.2" } }, "GET http h /  |"},
	{"tabs around values", "GET / HTTP/1.1~Host:\th\t~a: \t x\ty \t~b:\t~~", nil, "GET http h /  | a=x\ty b="},
	{"TE without trailers", "GET / HTTP/1.1~Host: h~TE: gzip~~", nil, "GET http h /  | "},
	{"HTTP/1.0 with default host", "GET / HTTP/1.0~~", func(o *ServerOptions) { o.HTTP1.AcceptHTTP10, o.HTTP1.DefaultHostHTTP10 = true, "dflt" }, "GET http dflt /  | "},
	{"length and chunked allowed", "POST / HTTP/1.1~Host: h~Content-Length: 99~Transfer-Encoding: Chunked~~0~~", func(o *ServerOptions) { o.HTTP1.AllowChunkedLength = true }, "POST http h /  | "},
	{"underscores dropped", "GET / HTTP/1.1~Host: h~a_b: 1~c: 2~~", func(o *ServerOptions) { o.UnderscoresAction = model.UnderscoresDrop }, "GET http h /  | c=2"},
	{"latin-1 and tab in value", "GET / HTTP/1.1~Host: h~a: \xe9\tx~~", nil, "GET http h /  | a=\xe9\tx"},
	{"empty value", "GET / HTTP/1.1~Host: h~a:~~", nil, "GET http h /  | a="},
	{"expectation answered by us", "POST / HTTP/1.1~Host: h~Expect: 100-continue~~", nil, "POST http h /  | "},
	{"expectation passed on", "POST / HTTP/1.1~Host: h~Expect: 100-continue~~", func(o *ServerOptions) { o.Proxy100Continue = true }, "POST http h /  | Expect=100-continue"},
}

func TestAcceptedRequests(t *testing.T) {
	for _, c := range acceptedRequests {
		t.Run(c.name, func(t *testing.T) {
			opt := options()
			if c.opt != nil {
				c.opt(&opt)
			}
			got := make(chan string, 1)
			h := &handler{serve: func(s codec.ServerStream) {
				r := s.Request()
				line := r.Method + " " + r.Scheme + " " + r.Authority + " " + r.Path + " " + r.Protocol + " |"
				for f := range r.Headers.All() {
					line += " " + f.Name + "=" + f.Value
					if f.ID != message.IDOf(f.Name) {
						t.Errorf("wrong ID of %s", f.Name)
					}
				}
				got <- line
				_ = s.WriteResponse(&message.Response{Status: 204})
			}}
			conn := dial(t, listen(t, opt, h))
			send(t, conn, strings.ReplaceAll(c.in, "~", "\r\n"))
			if resp, err := http.ReadResponse(bufio.NewReader(conn), nil); err != nil || resp.StatusCode != 204 {
				t.Fatalf("%v, %v (%v)", resp, err, h.errs)
			}
			if line := <-got; strings.TrimRight(line, " ") != strings.TrimRight(c.want, " ") {
				t.Errorf("got  %q\nwant %q", line, c.want)
			}
		})
	}
}

func TestRejectUnderscores(t *testing.T) {
	opt := options()
	opt.UnderscoresAction = model.UnderscoresReject
	h := &handler{serve: echo}
	c := dial(t, listen(t, opt, h))
	send(t, c, "GET / HTTP/1.1\r\nHost: a\r\na_b: c\r\n\r\n")
	if resp, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil || resp.StatusCode != 400 {
		t.Fatalf("%v, %v", resp, err)
	}
	if h.errs[0].Details != "http1.unexpected_underscore" {
		t.Errorf("details %s", h.errs[0].Details)
	}
}

// malformedResponses make the exchange fail with KindProtocol.
var malformedResponses = []struct{ name, in, reason string }{
	{"length and chunked", "HTTP/1.1 200 OK~Content-Length: 4~Transfer-Encoding: chunked~~0~~", "cl_and_te"},
	{"two lengths", "HTTP/1.1 200 OK~Content-Length: 4~Content-Length: 4~~abcd", "multiple_content_lengths"},
	{"bad length", "HTTP/1.1 200 OK~Content-Length: 4x~~abcd", "bad_content_length"},
	{"unknown coding", "HTTP/1.1 200 OK~Transfer-Encoding: gzip~~", "unknown_transfer_encoding"},
	{"coding in HTTP/1.0", "HTTP/1.0 200 OK~Transfer-Encoding: chunked~~0~~", "te_in_http10"},
	{"coding in 204", "HTTP/1.1 204 No~Transfer-Encoding: chunked~~0~~", "te_not_allowed"},
	{"length in 204", "HTTP/1.1 204 No~Content-Length: 2~~ab", "cl_not_allowed"},
	{"unwanted 101", "HTTP/1.1 101 S~Upgrade: x~Connection: upgrade~~", "unwanted_upgrade"},
	{"no status line", "hello~~", "bad_status_line"},
	{"status of two digits", "HTTP/1.1 20~~", "bad_status_line"},
	{"status of four digits", "HTTP/1.1 2000 OK~~", "bad_status_line"},
	{"status 099", "HTTP/1.1 099 OK~~", "bad_status"},
	{"status 600", "HTTP/1.1 600 OK~~", "bad_status"},
	{"no digits", "HTTP/1.1 2x0 OK~~", "bad_status"},
	{"HTTP/2 answer", "HTTP/2.0 200 OK~~", "bad_version"},
	{"bare line feeds", "HTTP/1.1 200 OK\n\n", "bare_lf"},
	{"folded field", "HTTP/1.1 200 OK~a: b~ c~~", "obs_fold"},
	{"NUL", "HTTP/1.1 200 OK~a: \x00~~", "bad_header_value"},
	{"control character in reason", "HTTP/1.1 200 O\x01~~", "bad_status_line"},
	{"endless interim responses", strings.Repeat("HTTP/1.1 103 Early Hints~a: b~~", 40), "too_many_informational"},
	{"too many fields", "HTTP/1.1 200 OK~" + strings.Repeat("a: b~", 101) + "~", "too_many_headers"},
	{"too large a head", "HTTP/1.1 200 OK~a: " + strings.Repeat("x", 62<<10), "headers_too_large"},
}

func TestMalformedResponses(t *testing.T) {
	for _, c := range malformedResponses {
		t.Run(c.name, func(t *testing.T) {
			addr := listenFunc(t, func(conn net.Conn) { answerOnce(conn, strings.ReplaceAll(c.in, "~", "\r\n")) })
			cc, released := connect(t, addr, ClientOptions{})
			_, _, err := exchange(t, cc, newRequest("GET", "/", ""))
			wantProtocolError(t, err, c.reason)
			if len(*released) != 1 || (*released)[0] || cc.Usable() {
				t.Errorf("released %v, usable %v", *released, cc.Usable())
			}
		})
	}
}

// answerOnce reads one request head and writes a fixed answer.
func answerOnce(c net.Conn, answer string) {
	_ = c.SetDeadline(time.Now().Add(await.Patience))
	r, err := http.ReadRequest(bufio.NewReader(c))
	if err != nil {
		return
	}
	_ = r.Body.Close()
	_, _ = io.WriteString(c, answer)
}
