package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/weir-proxy/weir/test/harness"
)

// What HTTP/1 asks of a proxy, byte by byte.
func TestHTTP1OnTheWire(t *testing.T) {
	t.Parallel()
	host := harness.NewHost(t)
	backend := host.HTTPBackend(
		"backend", "127.0.0.1:0",
		harness.WithHandler("/empty", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }),
		harness.WithHandler("/length", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "5")
			fmt.Fprint(w, "12345")
		}),
		harness.WithHandler("/early", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusForbidden) }),
	)
	weir := host.StartWeir(harness.WeirOptions{Config: reverseProxy(backend)})
	for _, tc := range []struct {
		name, send string
		// methods of the requests whose responses are to come, with status and body; then the connection is open or not.
		methods, want []string
		open          bool
	}{
		{
			"pipelining", "GET /length HTTP/1.1\r\nhost: x\r\n\r\nGET / HTTP/1.1\r\nhost: x\r\n\r\nGET /empty HTTP/1.1\r\nhost: x\r\n\r\n",
			[]string{"GET", "GET", "GET"},
			[]string{"200 12345", "200 backend\n", "204 "},
			true,
		},
		{"HEAD", "HEAD /length HTTP/1.1\r\nhost: x\r\n\r\n", []string{"HEAD"}, []string{"200 "}, true},
		{"close", "GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", []string{"GET"}, []string{"200 backend\n"}, false},
		{"HTTP/1.0", "GET / HTTP/1.0\r\n\r\n", []string{"GET"}, []string{"426 "}, false},
		{"absolute form", "GET http://other.test/a HTTP/1.1\r\nhost: x\r\n\r\n", []string{"GET"}, []string{"200 backend\n"}, true},
		{"chunks", "POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n0\r\n\r\n", []string{"POST"}, []string{"200 backend\n"}, true},
		{"no host", "GET / HTTP/1.1\r\n\r\n", []string{"GET"}, []string{"400 "}, false},
		{"long header", "GET / HTTP/1.1\r\nhost: x\r\na: " + strings.Repeat("a", 70<<10) + "\r\n\r\n", []string{"GET"}, []string{"431 "}, false},
		{"continue", "POST / HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\r\nabc", []string{"POST"}, []string{"200 backend\n"}, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			conn := host.MustDial("127.0.0.1:8080")
			fmt.Fprint(conn, tc.send)
			in := bufio.NewReader(conn)
			for i, want := range tc.want {
				got, err := response(in, tc.methods[i])
				if err != nil || !strings.HasPrefix(got, want) {
					t.Fatalf("response %d: %q, %v; want %q", i, got, err, want)
				}
			}
			fmt.Fprint(conn, "GET / HTTP/1.1\r\nhost: x\r\n\r\n") // fails where the connection is closed
			if got, err := response(in, http.MethodGet); (err == nil && got == "200 backend\n") != tc.open {
				t.Errorf("afterwards: %q, %v; want open %t", got, err, tc.open)
			}
		})
	}
	if host := hosts(backend); !host["other.test"] {
		t.Errorf("the host of the absolute form did not win: %v", host)
	}
	if n := weir.Stat("http.ingress.downstream_cx_http1_active"); n > 9 {
		t.Errorf("%d connections are open", n)
	}
}

// response reads one response, with an interim one before it, as status and body.
func response(in *bufio.Reader, method string) (string, error) {
	for {
		resp, err := http.ReadResponse(in, &http.Request{Method: method})
		if err != nil {
			return "", err
		}
		body, err := io.ReadAll(resp.Body)
		if resp.StatusCode != http.StatusContinue || err != nil {
			return fmt.Sprint(resp.StatusCode, " ", string(body)), err
		}
	}
}

func hosts(b *harness.HTTPBackend) map[string]bool {
	all := map[string]bool{}
	for _, r := range b.Requests() {
		all[r.Host] = true
	}
	return all
}
