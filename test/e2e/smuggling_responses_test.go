package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/weir-proxy/weir/test/harness"
)

// badResponses are what a malicious backend answers. weir answers 502 in its place.
var badResponses = []struct{ name, answer, reason string }{
	{"CL and TE", "HTTP/1.1 200 OK~Content-Length: 5~Transfer-Encoding: chunked~~0~~", "cl_and_te"},
	{"CL twice, equal", "HTTP/1.1 200 OK~Content-Length: 2~Content-Length: 2~~ab", "multiple_content_lengths"},
	{"CL twice", "HTTP/1.1 200 OK~Content-Length: 2~Content-Length: 3~~ab", "multiple_content_lengths"},
	{"CL list", "HTTP/1.1 200 OK~Content-Length: 2, 2~~ab", "bad_content_length"},
	{"CL with minus", "HTTP/1.1 200 OK~Content-Length: -2~~ab", "bad_content_length"},
	{"CL overflow", "HTTP/1.1 200 OK~Content-Length: 18446744073709551618~~ab", "bad_content_length"},
	{"TE: gzip", "HTTP/1.1 200 OK~Transfer-Encoding: gzip~~", "unknown_transfer_encoding"},
	{"TE: chunked, identity", "HTTP/1.1 200 OK~Transfer-Encoding: chunked, identity~~0~~", "te_not_last_chunked"},
	{"TE twice", "HTTP/1.1 200 OK~Transfer-Encoding: chunked~Transfer-Encoding: chunked~~0~~", "te_not_last_chunked"},
	{"TE with a space before the colon", "HTTP/1.1 200 OK~Transfer-Encoding : chunked~~0~~", "space_before_colon"},
	{"TE in HTTP/1.0", "HTTP/1.0 200 OK~Transfer-Encoding: chunked~~0~~", "te_in_http10"},
	{"TE in 204", "HTTP/1.1 204 N~Transfer-Encoding: chunked~~0~~", "te_not_allowed"},
	{"CL in 204", "HTTP/1.1 204 N~Content-Length: 2~~ab", "cl_not_allowed"},
	{"CL in 103", "HTTP/1.1 103 E~Content-Length: 2~~HTTP/1.1 200 OK~~", "cl_not_allowed"},
	{"101 to a plain request", "HTTP/1.1 101 S~Upgrade: x~Connection: upgrade~~", "unwanted_upgrade"},
	{"no status line", "hello~~", "bad_status_line"},
	{"HTTP/0.9", "<html>the long answer of an old server</html>~~", "bad_status_line"},
	{"status of two digits", "HTTP/1.1 20 OK~~", "bad_status_line"},
	{"status of four digits", "HTTP/1.1 2000 OK~~", "bad_status_line"},
	{"status 099", "HTTP/1.1 099 OK~~", "bad_status"},
	{"status 999", "HTTP/1.1 999 OK~~", "bad_status"},
	{"HTTP/2", "HTTP/2.0 200 OK~~", "bad_version"},
	{"bare LF", "HTTP/1.1 200 OK\nContent-Length: 0\n\n", "bare_lf"},
	{"bare LF in a field", "HTTP/1.1 200 OK~A: b\nC: d~~", "bare_lf"},
	{"bare CR in a field", "HTTP/1.1 200 OK~A: b\rC: d~~", "bad_header_value"},
	{"bare CR in the reason", "HTTP/1.1 200 OK\rA: b~Content-Length: 0~~", "bad_status_line"},
	{"folded field", "HTTP/1.1 200 OK~A: b~ c~~", "obs_fold"},
	{"NUL", "HTTP/1.1 200 OK~A: \x00~~", "bad_header_value"},
	{"empty name", "HTTP/1.1 200 OK~: b~~", "empty_header_name"},
	{"no colon", "HTTP/1.1 200 OK~b~~", "no_colon"},
	{"too many fields", "HTTP/1.1 200 OK~" + strings.Repeat("a: b~", 101) + "~", "too_many_headers"},
	{"too large a head", "HTTP/1.1 200 OK~a: " + strings.Repeat("a", 81<<10) + "~~", "headers_too_large"},
	{"flood of interim responses", strings.Repeat("HTTP/1.1 103 Early Hints~a: b~~", 1000), "too_many_informational"},
}

// strayResponses are right, but more comes behind them: the client gets what is right, and nobody gets the rest.
var strayResponses = []struct{ name, answer, status, body string }{
	{"bytes behind the length", "HTTP/1.1 200 OK~Content-Length: 2~~ab", "200", "ab"},
	{"bytes behind 204", "HTTP/1.1 204 N~~", "204", ""},
	{"bytes behind 304", "HTTP/1.1 304 N~Content-Length: 5~~", "304", ""},
	{"bytes behind the last chunk", "HTTP/1.1 200 OK~Transfer-Encoding: chunked~~2~ab~0~~", "200", "ab"},
	{"interim responses first", strings.Repeat("HTTP/1.1 103 E~~", 20) + "HTTP/1.1 200 OK~Content-Length: 2~~ab", "200", "ab"},
}

// evilResponse is what stray bytes say, which no client may ever get.
const evilResponse = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"

// startEvil is a backend that answers /bad/<n> and /stray/<n> from the tables, and everything else well.
func startEvil(host *harness.Host) *harness.TCPBackend {
	return host.TCPBackend("127.0.0.1:0", func(c *net.TCPConn) {
		in := bufio.NewReader(c)
		for {
			req, err := http.ReadRequest(in)
			if err != nil {
				return
			}
			answer := "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood"
			if n, found := strings.CutPrefix(req.URL.Path, "/bad/"); found {
				i, _ := strconv.Atoi(n)
				answer = crlf(badResponses[i].answer)
			} else if n, found := strings.CutPrefix(req.URL.Path, "/stray/"); found {
				i, _ := strconv.Atoi(n)
				answer = crlf(strayResponses[i].answer) + evilResponse
			}
			if _, err := io.WriteString(c, answer); err != nil {
				return
			}
		}
	})
}

// exchange sends a request on a connection that is kept and reads its response.
func exchange(t *testing.T, conn net.Conn, in *bufio.Reader, path string) (status, body string) {
	t.Helper()
	if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(in, nil)
	if err != nil {
		t.Fatal(err)
	}
	all, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return strconv.Itoa(resp.StatusCode), string(all)
}

// A backend that does not keep to the protocol costs its own request only.
func TestSmugglingByResponses(t *testing.T) {
	t.Parallel()
	host := harness.NewHost(t)
	weir := host.StartWeir(harness.WeirOptions{Config: strictProxy(startEvil(host), "")})
	conn := host.MustDial("127.0.0.1:8080")
	in := bufio.NewReader(conn)
	counted := map[string]int{}
	next := func(t *testing.T) {
		t.Helper()
		if status, body := exchange(t, conn, in, "/good"); status != "200" || body != "good" {
			t.Fatalf("the next request got %s %q", status, body)
		}
	}
	for i, c := range badResponses {
		t.Run(c.name, func(t *testing.T) {
			status, body := exchange(t, conn, in, fmt.Sprint("/bad/", i))
			if want := "upstream connect error or disconnect/reset before headers. reset reason: protocol error"; status != "502" || body != want {
				t.Errorf("got %s %q", status, body)
			}
			counted[c.reason]++
			if n := weir.Stat("cluster.backend.weir.http1.rejected." + c.reason); n != counted[c.reason] {
				t.Errorf("%s is counted %d times, want %d", c.reason, n, counted[c.reason])
			}
			next(t)
		})
	}
	for i, c := range strayResponses {
		t.Run(c.name, func(t *testing.T) {
			if status, body := exchange(t, conn, in, fmt.Sprint("/stray/", i)); status != c.status || body != c.body {
				t.Errorf("got %s %q", status, body)
			}
			next(t)
		})
	}
	if n := weir.Stat("cluster.backend.upstream_cx_protocol_error"); n != len(badResponses) {
		t.Errorf("upstream_cx_protocol_error is %d, want %d", n, len(badResponses))
	}
	want := map[string]int{
		"502 UPE upstream_reset_before_response_started{protocol_error}": len(badResponses),
		"200 - via_upstream": len(badResponses) + 2*len(strayResponses) - 2,
		"204 - via_upstream": 1, "304 - via_upstream": 1,
	}
	harness.EventuallyNil(t, "the access log", func() error { return wantLines(weir.Stdout(), want) })
}

// A chunked response that goes wrong ends the client's connection, since its end cannot be told any more.
func TestSmugglingByChunkedResponses(t *testing.T) {
	t.Parallel()
	host := harness.NewHost(t)
	backend := host.TCPBackend("127.0.0.1:0", func(c *net.TCPConn) {
		if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n+2\r\ncd\r\n0\r\n\r\n") // the client tells
		}
	})
	weir := host.StartWeir(harness.WeirOptions{Config: strictProxy(backend, "")})
	conn := host.MustDial("127.0.0.1:8080")
	fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	answer, err := io.ReadAll(conn)
	if err != nil && !strings.Contains(err.Error(), "reset") || strings.Contains(string(answer), "cd") || strings.HasSuffix(string(answer), "0\r\n\r\n") {
		t.Errorf("got %q, %v", answer, err)
	}
	if n := weir.Stat("cluster.backend.weir.http1.rejected.bad_chunk_size"); n != 1 {
		t.Errorf("counted %d times", n)
	}
	harness.EventuallyNil(t, "the access log", func() error {
		return wantLines(weir.Stdout(), map[string]int{"200 UPE upstream_reset_after_response_started{protocol_error}": 1})
	})
}
