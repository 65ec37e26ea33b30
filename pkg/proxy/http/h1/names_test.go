package h1

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/observe/stats"
	"github.com/weir-proxy/weir/pkg/proxy/http/codec"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
)

func preserving(o *model.HTTP1Options) {
	o.HeaderFormat, o.ForwardReason = model.HeaderPreserveCase, true
}

// TestNamesAreKeptByTheReceivingSide sends a request on as it was received, with one field more, twice on one connection.
func TestNamesAreKeptByTheReceivingSide(t *testing.T) {
	opt := options()
	preserving(&opt.HTTP1)
	h := &handler{serve: func(s codec.ServerStream) {
		r := s.Request()
		r.Headers.SetID(message.XRequestID, "1")
		sent := strings.SplitAfter(string(forward(r)), "\r\n\r\n")[0]
		_ = s.WriteResponse(text(200, sent, int64(len(sent))))
	}}
	c := dial(t, listen(t, opt, h))
	br := bufio.NewReader(c)
	for _, tc := range []struct{ in, want string }{
		{
			"POST / HTTP/1.1~HOST: h~X-aBC: 1~Transfer-ENCODING: chunked~~0~~",
			"POST / HTTP/1.1~HOST: h~X-aBC: 1~x-request-id: 1~Transfer-ENCODING: chunked~~",
		},
		{
			"PUT / HTTP/1.1~hosT: h~Content-LENGTH: 2~X-Request-ID: 9~~ab",
			"PUT / HTTP/1.1~hosT: h~Content-LENGTH: 2~X-Request-ID: 1~~",
		},
	} {
		send(t, c, strings.ReplaceAll(tc.in, "~", "\r\n"))
		resp, err := http.ReadResponse(br, nil)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(resp.Body)
		if diff := cmp.Diff(strings.ReplaceAll(tc.want, "~", "\r\n"), string(got)); err != nil || diff != "" {
			t.Error(diff, err)
		}
	}
}

func TestReasonIsKept(t *testing.T) {
	for _, keep := range []bool{true, false} {
		addr := listenFunc(t, func(nc net.Conn) { answerOnce(nc, "HTTP/1.1 200 As you wish\r\nA-b: c\r\nContent-Length: 0\r\n\r\n") })
		var opt ClientOptions
		if keep {
			preserving(&opt.HTTP1)
		}
		cc, _ := connect(t, addr, opt)
		st, err := cc.NewStream()
		if err != nil {
			t.Fatal(err)
		}
		var resp message.Response
		if err := st.RoundTrip(newRequest("GET", "/", ""), &resp, nil); err != nil {
			t.Fatal(err)
		}
		if keep && (resp.Names == nil || resp.Names.Reason != "As you wish") || !keep && resp.Names != nil {
			t.Errorf("keep %v: %+v", keep, resp.Names)
		}
		st.Close()
	}
}

func TestFullURL(t *testing.T) {
	for _, c := range []struct{ method, scheme, want string }{
		{"GET", "https", "GET https://h/a?b HTTP/1.1"}, {"GET", "", "GET http://h/a?b HTTP/1.1"}, {"CONNECT", "http", "CONNECT h HTTP/1.1"},
	} {
		out := newCut([]byte("HTTP/1.1 403 N\r\ncontent-length: 0\r\n\r\n"), 1)
		cc := NewClientConn(out, ClientOptions{HTTP1: model.HTTP1Options{SendFullURL: true}})
		st, err := cc.NewStream()
		if err != nil {
			t.Fatal(err)
		}
		var resp message.Response
		if err := st.RoundTrip(&message.Request{Method: c.method, Scheme: c.scheme, Authority: "h", Path: "/a?b"}, &resp, nil); err != nil {
			t.Fatal(err)
		}
		st.Close()
		if line, _, _ := strings.Cut(out.out.String(), "\r\n"); line != c.want {
			t.Errorf("got %q, want %q", line, c.want)
		}
	}
}

// TestStreamErrors keeps connections open where the end of an invalid request is known, and only there.
func TestStreamErrors(t *testing.T) {
	for _, c := range []struct {
		name, in string
		status   int
		open     bool
	}{
		{"no host", "GET / HTTP/1.1~~", 400, true},
		{"no host, with body", "POST / HTTP/1.1~Content-Length: 3~~abc", 400, true},
		{"no host, body to come", "POST / HTTP/1.1~Content-Length: 3~~a", 400, false},
		{"bad host", "GET / HTTP/1.1~Host: a/b~~", 400, true},
		{"bad target", "GET foo HTTP/1.1~Host: a~~", 400, true},
		{"unknown expectation", "GET / HTTP/1.1~Host: a~Expect: x~~", 417, true},
		{"HTTP/1.0", "GET / HTTP/1.0~Host: a~~", 426, false},
		{"no host and two framings", "POST / HTTP/1.1~Content-Length: 3~Transfer-Encoding: chunked~~0~~", 400, false},
		{"bad field", "GET / HTTP/1.1~Host: a~a b: c~~", 400, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			opt := options()
			opt.HTTP1.StreamErrors = true
			nc := dial(t, listen(t, opt, &handler{serve: echo}))
			send(t, nc, strings.ReplaceAll(c.in, "~", "\r\n"))
			br := bufio.NewReader(nc)
			resp, err := http.ReadResponse(br, nil)
			if err != nil || resp.StatusCode != c.status || resp.Close == c.open {
				t.Fatalf("%v, %v", resp, err)
			}
			if !c.open {
				return
			}
			send(t, nc, "GET /next HTTP/1.1\r\nHost: a\r\n\r\n")
			resp, err = http.ReadResponse(br, nil)
			if err != nil || resp.StatusCode != 200 {
				t.Fatalf("next: %v, %v", resp, err)
			}
		})
	}
}

func TestStatsCountByReason(t *testing.T) {
	store := stats.NewStore()
	opt := options()
	opt.Stats = NewStats(store.Root(), store.Root().Scope("http.x"), store.Root().Counter("errors"))
	opt.UnderscoresAction = model.UnderscoresDrop
	addr := listen(t, opt, &handler{serve: func(s codec.ServerStream) {
		if s.Request().Body != nil {
			_, _ = io.ReadAll(s.Request().Body)
		}
		_ = s.WriteResponse(&message.Response{Status: 200})
	}})
	for _, in := range []string{
		"GET / HTTP/1.1~Host: a~a b: c~~", "GET / HTTP/1.1~Host: a~a b: d~~", "GET / HTTP/1.1~Host: a~a_b: c~d_e: f~Connection: close~~",
		"POST / HTTP/1.1~Host: a~Transfer-Encoding: chunked~~x~~",
	} {
		c := dial(t, addr)
		send(t, c, strings.ReplaceAll(in, "~", "\r\n"))
		if _, err := io.ReadAll(c); err != nil {
			t.Fatal(err)
		}
	}
	got := map[string]uint64{}
	for _, c := range store.Counters() {
		got[c.Name()] = c.Value()
	}
	want := map[string]uint64{
		"http.x.weir.http1.rejected.bad_header_name": 2, "http.x.weir.http1.rejected.bad_chunk_size": 1,
		"http1.dropped_headers_with_underscores": 2, "errors": 1,
		"http1.requests_rejected_with_underscores_in_headers": 0, "http1.metadata_not_supported_error": 0, "http1.response_flood": 0,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
