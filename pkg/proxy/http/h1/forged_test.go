package h1

import (
	"bufio"
	"net/http"
	"testing"

	"github.com/weir-proxy/weir/pkg/proxy/http/message"
)

func TestProxyConnectionCloses(t *testing.T) {
	for value, want := range map[string]bool{"close": true, "keep-alive": false} {
		c := dial(t, listen(t, options(), &handler{serve: echo}))
		send(t, c, "GET / HTTP/1.1\r\nHost: a\r\nProxy-Connection: "+value+"\r\n\r\n")
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil || resp.Close != want {
			t.Errorf("%s: %v, %v", value, resp, err)
		}
	}
}

// What other versions of HTTP, rewrites or filters put into a request must not become another request.
func TestRequestLinesCannotBeForged(t *testing.T) {
	for _, r := range []message.Request{
		{Method: "GET", Path: "/a HTTP/1.1\r\nhost: b\r\n\r\nGET /b", Authority: "h"},
		{Method: "GET", Path: "/a b", Authority: "h"},
		{Method: "GET", Path: "/a\tb", Authority: "h"},
		{Method: "GET", Path: "/a\x7f", Authority: "h"},
		{Method: "GET /x HTTP/1.1\r\n", Path: "/", Authority: "h"},
		{Method: "G T", Path: "/", Authority: "h"},
		{Path: "/", Authority: "h"},
		{Method: "GET", Path: "/", Authority: "h\r\nx: y"},
		{Method: "CONNECT", Authority: "h:1 HTTP/1.1"},
	} {
		out := newCut([]byte("HTTP/1.1 204 N\r\n\r\n"), 1)
		cc := NewClientConn(out, ClientOptions{})
		st, err := cc.NewStream()
		if err != nil {
			t.Fatal(err)
		}
		var resp message.Response
		if err := st.RoundTrip(&r, &resp, nil); err == nil || out.out.Len() > 0 {
			t.Errorf("%q %q: sent %q, %v", r.Method, r.Path, out.out.String(), err)
		}
		st.Close()
	}
}
