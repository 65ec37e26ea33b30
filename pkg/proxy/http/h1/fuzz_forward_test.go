package h1

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/http/codec"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
)

// FuzzForward takes responses from an upstream to a downstream: whatever the client side accepts, the server side writes as
// one response that net/http reads in the same way, with names kept or not.
func FuzzForward(f *testing.F) {
	for _, c := range malformedResponses {
		f.Add([]byte(strings.ReplaceAll(c.in, "~", "\r\n")), uint8(0))
	}
	for _, in := range []string{
		"HTTP/1.1 200 OK~Content-Length: 3~X-a: b~~abc", "HTTP/1.1 304 N~Content-Length: 3~~", "HTTP/1.0 200~~abc", "HTTP/1.1 204 N~~",
		"HTTP/1.1 103 E~Link: x~~HTTP/1.1 200 As you wish~Transfer-Encoding: chunked~Connection: a~A: b~~3~abc~0~t: u~~",
	} {
		f.Add([]byte(strings.ReplaceAll(in, "~", "\r\n")), uint8(1))
	}
	f.Fuzz(func(t *testing.T, in []byte, kind uint8) {
		var o model.HTTP1Options
		if kind&1 != 0 {
			preserving(&o)
		}
		o.EnableTrailers = kind&2 != 0
		method := []string{"GET", "HEAD"}[kind>>2&1]
		cc := NewClientConn(newCut(in, uint64(kind)), ClientOptions{HTTP1: o})
		st, err := cc.NewStream()
		if err != nil {
			t.Fatal(err)
		}
		defer st.Close()
		var resp message.Response
		if st.RoundTrip(newRequest(method, "/", ""), &resp, nil) != nil {
			return
		}
		var body []byte
		if resp.Body != nil {
			if body, err = io.ReadAll(resp.Body); err != nil {
				return
			}
			resp.Body = message.NewBytes(body)
		}
		checkForwarded(t, method, &resp, body, o)
	})
}

func checkForwarded(t *testing.T, method string, resp *message.Response, body []byte, o model.HTTP1Options) {
	t.Helper()
	want := []string{}
	for f := range resp.Headers.All() {
		if f.ID != message.ContentLength && f.ID != message.Upgrade && f.ID != message.Trailer {
			want = append(want, strings.ToLower(f.Name)+": "+f.Value)
		}
	}
	down := newCut([]byte(method+" / HTTP/1.1\r\nHost: a\r\n\r\n"), 1)
	var failed error
	_ = NewServer(down, ServerOptions{HTTP1: o, LingerTimeout: 1}).Serve(context.Background(), &handler{serve: func(s codec.ServerStream) {
		failed = s.WriteResponse(resp)
	}})
	if failed != nil {
		t.Fatal(failed)
	}
	in := bufio.NewReader(bytes.NewReader(down.out.Bytes()))
	hr, err := http.ReadResponse(in, &http.Request{Method: method})
	if err != nil {
		t.Fatalf("net/http: %v in %q", err, down.out.String())
	}
	got, err := io.ReadAll(hr.Body)
	if err != nil || hr.StatusCode != resp.Status || !bytes.Equal(got, body) {
		t.Fatalf("net/http reads %d %q (%v), want %d %q", hr.StatusCode, got, err, resp.Status, body)
	}
	fields := []string{}
	for name, values := range hr.Header {
		for _, v := range values {
			if name != "Content-Length" && name != "Connection" && name != "Trailer" {
				fields = append(fields, strings.ToLower(name)+": "+v)
			}
		}
	}
	slices.Sort(want)
	slices.Sort(fields)
	if !slices.Equal(want, fields) {
		t.Fatalf("net/http reads %q, want %q", fields, want)
	}
	if rest, _ := io.ReadAll(in); len(rest) > 0 {
		t.Fatalf("%q follows the response", rest)
	}
}
