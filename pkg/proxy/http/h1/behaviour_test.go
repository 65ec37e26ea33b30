package h1

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/conn/conntest"
	"github.com/weir-proxy/weir/pkg/proxy/http/codec"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
	"github.com/weir-proxy/weir/test/await"
)

// respond makes a handler function that answers with what make returns.
func respond(make func(*message.Request) *message.Response) func(codec.ServerStream) {
	return func(s codec.ServerStream) { _ = s.WriteResponse(make(s.Request())) }
}

func text(status int, body string, length int64) *message.Response {
	return &message.Response{Status: status, ContentLength: length, Body: message.NewString(body)}
}

// TestWireFormOfResponses compares what is on the wire, byte for byte.
func TestWireFormOfResponses(t *testing.T) {
	http10 := func(o *ServerOptions) { o.HTTP1.AcceptHTTP10 = true }
	cases := []struct {
		name, in string
		opt      func(*ServerOptions)
		resp     func(*message.Request) *message.Response
		want     string
	}{
		{
			"length", "GET / HTTP/1.1~Host: a~~", nil,
			func(*message.Request) *message.Response { return text(200, "hi", 2) },
			"HTTP/1.1 200 OK~content-length: 2~~hi",
		},
		{
			"chunked", "GET / HTTP/1.1~Host: a~~", nil,
			func(*message.Request) *message.Response { return text(200, "hello", -1) },
			"HTTP/1.1 200 OK~transfer-encoding: chunked~~5~hello~0~~",
		},
		{
			"close", "GET / HTTP/1.1~Host: a~Connection: close~~", nil,
			func(*message.Request) *message.Response { return text(200, "hi", 2) },
			"HTTP/1.1 200 OK~content-length: 2~connection: close~~hi",
		},
		{
			"no body", "GET / HTTP/1.1~Host: a~~", nil,
			func(*message.Request) *message.Response { return &message.Response{Status: 404} },
			"HTTP/1.1 404 Not Found~content-length: 0~~",
		},
		{
			"HEAD", "HEAD / HTTP/1.1~Host: a~~", nil,
			func(*message.Request) *message.Response { return text(200, "hidden", 6) },
			"HTTP/1.1 200 OK~content-length: 6~~",
		},
		{
			"HEAD of unknown length", "HEAD / HTTP/1.1~Host: a~~", nil,
			func(*message.Request) *message.Response { return &message.Response{Status: 200, ContentLength: -1} },
			"HTTP/1.1 200 OK~~",
		},
		{
			"204", "GET / HTTP/1.1~Host: a~~", nil,
			func(*message.Request) *message.Response { return &message.Response{Status: 204} }, "HTTP/1.1 204 No Content~~",
		},
		{
			"304 with length", "GET / HTTP/1.1~Host: a~~", nil,
			func(*message.Request) *message.Response { return &message.Response{Status: 304, ContentLength: 9} },
			"HTTP/1.1 304 Not Modified~content-length: 9~~",
		},
		{
			"HTTP/1.0 of unknown length", "GET / HTTP/1.0~Host: a~~", http10,
			func(*message.Request) *message.Response { return text(200, "hello", -1) },
			"HTTP/1.1 200 OK~connection: close~~hello",
		},
		{
			"HTTP/1.0 keep-alive", "GET / HTTP/1.0~Host: a~Connection: keep-alive~~", http10,
			func(*message.Request) *message.Response { return text(200, "hi", 2) },
			"HTTP/1.1 200 OK~content-length: 2~connection: keep-alive~~hi",
		},
		{
			"codes without a phrase", "GET / HTTP/1.1~Host: a~~", nil,
			func(*message.Request) *message.Response { return &message.Response{Status: 299} },
			"HTTP/1.1 299 Unknown~content-length: 0~~",
		},
		{
			"framing fields are the codec's", "GET / HTTP/1.1~Host: a~~", nil,
			func(*message.Request) *message.Response {
				r := text(200, "hi", 2)
				for _, name := range []string{"A-B", "Transfer-Encoding", "Content-Length", "Connection", "Keep-Alive", "Upgrade", "c"} {
					r.Headers.Add(name, "7")
				}
				return r
			}, "HTTP/1.1 200 OK~a-b: 7~content-length: 2~c: 7~~hi",
		},
		{
			"proper case", "GET / HTTP/1.1~Host: a~~", func(o *ServerOptions) { o.HTTP1.HeaderFormat = model.HeaderProperCase },
			func(*message.Request) *message.Response {
				r := text(200, "hi", -1)
				r.Headers.Add("x-a1b-c_d", "7")
				return r
			}, "HTTP/1.1 200 OK~X-A1b-C_D: 7~Transfer-Encoding: chunked~~2~hi~0~~",
		},
		{
			"preserved case", "GET / HTTP/1.1~Host: a~~", func(o *ServerOptions) { o.MaxRequests = 1 },
			func(*message.Request) *message.Response {
				r := &message.Response{Status: 200, Names: &message.Names{Connection: "CONNECTION", Reason: "Fine"}}
				r.Headers.Append(message.Field{Received: true, Name: "X-aBC", Value: "7"})
				r.Headers.Add("X-Own", "8")
				return r
			}, "HTTP/1.1 200 Fine~X-aBC: 7~x-own: 8~content-length: 0~CONNECTION: close~~",
		},
		{
			"preserved case with own names proper", "GET / HTTP/1.1~Host: a~~", nil,
			func(*message.Request) *message.Response {
				r := text(200, "hi", -1)
				r.Names = &message.Names{Proper: true}
				r.Headers.Append(message.Field{Received: true, Name: "X-aBC", Value: "7"})
				r.Headers.AddID(message.XRequestID, "8")
				return r
			}, "HTTP/1.1 200 OK~X-aBC: 7~X-Request-Id: 8~Transfer-Encoding: chunked~~2~hi~0~~",
		},
		{
			"names that nobody kept are lower-case", "GET / HTTP/1.1~Host: a~~", func(o *ServerOptions) { o.HTTP1.HeaderFormat = model.HeaderPreserveCase },
			func(*message.Request) *message.Response {
				r := &message.Response{Status: 200}
				r.Headers.Append(message.Field{Received: true, Name: "X-a-VERY-Long-Name-0123456789-[]_", Value: "7"})
				return r
			}, "HTTP/1.1 200 OK~x-a-very-long-name-0123456789-[]_: 7~content-length: 0~~",
		},
		{
			"last request allowed", "GET / HTTP/1.1~Host: a~~", func(o *ServerOptions) { o.MaxRequests = 1 },
			func(*message.Request) *message.Response { return &message.Response{Status: 200} },
			"HTTP/1.1 200 OK~content-length: 0~connection: close~~",
		},
		{
			"upgrade", "GET / HTTP/1.1~Host: a~Connection: upgrade~Upgrade: WS~~", nil,
			func(*message.Request) *message.Response {
				return &message.Response{Status: 101, Upgraded: true, ContentLength: -1, Body: message.NewString("raw")}
			}, "HTTP/1.1 101 Switching Protocols~upgrade: WS~connection: upgrade~~raw",
		},
		{
			"upgrade answered by HTTP/2", "GET / HTTP/1.1~Host: a~Connection: upgrade~Upgrade: WS~~", nil,
			func(*message.Request) *message.Response {
				return &message.Response{Status: 200, Upgraded: true, ContentLength: -1, Body: message.NewString("raw")}
			}, "HTTP/1.1 101 Switching Protocols~upgrade: WS~connection: upgrade~~raw",
		},
		{
			"upgrade refused", "GET / HTTP/1.1~Host: a~Connection: upgrade~Upgrade: WS~~", nil,
			func(*message.Request) *message.Response { return &message.Response{Status: 403} },
			"HTTP/1.1 403 Forbidden~content-length: 0~connection: close~~",
		},
		{
			"CONNECT", "CONNECT a:1 HTTP/1.1~Host: a:1~~", nil,
			func(*message.Request) *message.Response {
				return &message.Response{Status: 200, Upgraded: true, ContentLength: -1, Body: message.NewString("raw")}
			}, "HTTP/1.1 200 OK~~raw",
		},
		{
			"response splitting", "GET / HTTP/1.1~Host: a~~", nil,
			func(*message.Request) *message.Response {
				r := &message.Response{Status: 200}
				r.Headers.Add("location", "/x\r\nset-cookie: a=b")
				return r
			}, "",
		},
		{
			"expectation that nobody answered", "POST / HTTP/1.1~Host: a~Expect: 100-continue~Content-Length: 3~~", nil,
			func(*message.Request) *message.Response { return &message.Response{Status: 403} },
			"HTTP/1.1 403 Forbidden~content-length: 0~connection: close~~",
		},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			opt := options()
			if c.opt != nil {
				c.opt(&opt)
			}
			nc := dial(t, listen(t, opt, &handler{serve: respond(c.resp)}))
			send(t, nc, strings.ReplaceAll(c.in, "~", "\r\n"))
			if err := nc.(*net.TCPConn).CloseWrite(); err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(nc)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(strings.ReplaceAll(c.want, "~", "\r\n"), string(got)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestWireFormOfRequests is the same for the client side.
func TestWireFormOfRequests(t *testing.T) {
	cases := []struct {
		name string
		req  *message.Request
		want string
	}{
		{"get", &message.Request{Method: "GET", Path: "/a?b", Authority: "h"}, "GET /a?b HTTP/1.1~host: h~~"},
		{"post without body", &message.Request{Method: "POST", Path: "/", Authority: "h"}, "POST / HTTP/1.1~host: h~content-length: 0~~"},
		{"body", newRequest("PUT", "/", "abc"), "PUT / HTTP/1.1~host: example.com~content-length: 3~~abc"},
		{
			"chunked", &message.Request{Method: "PUT", Path: "/", Authority: "h", ContentLength: -1, Body: message.NewString(strings.Repeat("x", 17))},
			"PUT / HTTP/1.1~host: h~transfer-encoding: chunked~~11~xxxxxxxxxxxxxxxxx~0~~",
		},
		{"connect", &message.Request{Method: "CONNECT", Authority: "h:1"}, "CONNECT h:1 HTTP/1.1~host: h:1~~"},
		{
			"extended connect", &message.Request{Method: "CONNECT", Protocol: "connect-ip", Path: "/ws", Authority: "h"},
			"GET /ws HTTP/1.1~host: h~upgrade: connect-ip~connection: upgrade~~",
		},
		{
			"extended connect of a WebSocket", &message.Request{Method: "CONNECT", Protocol: "websocket", Path: "/ws", Authority: "h"},
			"GET /ws HTTP/1.1~host: h~upgrade: websocket~connection: upgrade~sec-websocket-key: ",
		},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			seen := make(chan string, 1)
			want := strings.ReplaceAll(c.want, "~", "\r\n")
			addr := listenFunc(t, func(nc net.Conn) {
				buf := make([]byte, len(want))
				n, _ := io.ReadFull(nc, buf)
				seen <- string(buf[:n])
				_, _ = io.WriteString(nc, "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
				_, _ = io.ReadAll(nc)
			})
			cc, _ := connect(t, addr, ClientOptions{})
			if status, _, err := exchange(t, cc, c.req); err != nil || status != 403 {
				t.Fatalf("%d, %v", status, err)
			}
			if diff := cmp.Diff(want, <-seen); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestContinueIsSentOnTheFirstRead(t *testing.T) {
	h := &handler{serve: func(s codec.ServerStream) {
		b, err := io.ReadAll(s.Request().Body)
		if err != nil {
			t.Error(err)
		}
		_ = s.WriteResponse(text(200, string(b), int64(len(b))))
	}}
	c := dial(t, listen(t, options(), h))
	send(t, c, "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
	br := bufio.NewReader(c)
	first, err := br.ReadString('\n')
	if err != nil || first != "HTTP/1.1 100 Continue\r\n" {
		t.Fatalf("%q, %v", first, err)
	}
	if _, err := br.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	send(t, c, "abc")
	resp, err := http.ReadResponse(br, nil)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(resp.Body); err != nil || string(b) != "abc" || resp.Close {
		t.Errorf("%q, %v, close %v", b, err, resp.Close)
	}
}

func TestInformationalResponsesPass(t *testing.T) {
	h := &handler{serve: func(s codec.ServerStream) {
		for _, status := range []int{100, 103} {
			if err := s.WriteInformational(&message.Response{Status: status}); err != nil {
				t.Error(err)
			}
		}
		_ = s.WriteResponse(&message.Response{Status: 200})
	}}
	cc, _ := connect(t, listen(t, options(), h), ClientOptions{})
	st, err := cc.NewStream()
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	var got []int
	var resp message.Response
	if err := st.RoundTrip(newRequest("GET", "/", ""), &resp, func(r *message.Response) { got = append(got, r.Status) }); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]int{100, 103, 200}, append(got, resp.Status)); diff != "" {
		t.Error(diff)
	}
}

func TestTrailersPassWhereEnabled(t *testing.T) {
	for _, enabled := range []bool{true, false} {
		opt := options()
		opt.HTTP1.EnableTrailers = enabled
		cc, released := connect(t, listen(t, opt, &handler{serve: echo}), ClientOptions{HTTP1: model.HTTP1Options{EnableTrailers: enabled}})
		st, err := cc.NewStream()
		if err != nil {
			t.Fatal(err)
		}
		var tr message.Headers
		tr.Add("x-sum", "1")
		for _, name := range []string{"content-length", "content-length", "host", "host", "transfer-encoding", "x-forwarded-for", "set-cookie"} {
			tr.Add(name, "9")
		}
		req := &message.Request{Method: "POST", Path: "/", Authority: "h", ContentLength: -1, Body: &trailing{*message.NewString("abc"), &tr}}
		var resp message.Response
		if err := st.RoundTrip(req, &resp, nil); err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(resp.Body)
		if err != nil || string(b) != "abc" {
			t.Fatalf("%q, %v", b, err)
		}
		got := resp.Body.Trailers()
		if enabled && (got == nil || got.Len() != 1 || got.At(0).Value != "1") || !enabled && got != nil {
			t.Errorf("enabled %v: trailers %v", enabled, got)
		}
		st.Close()
		if !(*released)[0] {
			t.Errorf("not reusable")
		}
	}
}

type trailing struct {
	message.Bytes
	t *message.Headers
}

func (b *trailing) Trailers() *message.Headers { return b.t }

func TestEarlyResponseStopsTheUpload(t *testing.T) {
	refuse := &handler{serve: func(s codec.ServerStream) { _ = s.WriteResponse(&message.Response{Status: 413}) }}
	cc, released := connect(t, listen(t, options(), refuse), ClientOptions{})
	st, err := cc.NewStream()
	if err != nil {
		t.Fatal(err)
	}
	pr, pw := io.Pipe()
	defer pw.Close()
	req := &message.Request{Method: "POST", Path: "/", Authority: "h", ContentLength: -1, Body: pipeBody{pr}}
	var resp message.Response
	if err := st.RoundTrip(req, &resp, nil); err != nil || resp.Status != 413 {
		t.Fatalf("%d, %v", resp.Status, err)
	}
	st.Close() // the sending goroutine is blocked in the pipe
	if (*released)[0] {
		t.Errorf("a connection with half a request was called reusable")
	}
}

type pipeBody struct{ *io.PipeReader }

func (pipeBody) Trailers() *message.Headers { return nil }

func TestLargeRefusedUploadStillGetsTheResponse(t *testing.T) {
	refuse := &handler{serve: func(s codec.ServerStream) { _ = s.WriteResponse(&message.Response{Status: 413}) }}
	c := dial(t, listen(t, options(), refuse))
	send(t, c, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n"+strings.Repeat("x", 50_000))
	all, err := io.ReadAll(c)
	if err != nil || !strings.HasPrefix(string(all), "HTTP/1.1 413 ") {
		t.Errorf("%q, %v", all, err)
	}
}

func TestAbortedStreamCanStillReply(t *testing.T) {
	cause := errors.New("request timeout")
	h := &handler{serve: func(s codec.ServerStream) {
		timer := time.AfterFunc(20*time.Millisecond, func() { s.Abort(cause) })
		defer timer.Stop()
		if _, err := io.ReadAll(s.Request().Body); !errors.Is(err, cause) {
			t.Errorf("read returned %v", err)
		}
		if err := s.WriteResponse(&message.Response{Status: 408}); err != nil {
			t.Error(err)
		}
	}}
	c := dial(t, listen(t, options(), h))
	send(t, c, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n")
	all, err := io.ReadAll(c)
	if err != nil || string(all) != "HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n" {
		t.Errorf("%q, %v", all, err)
	}
}

func TestDrain(t *testing.T) {
	servers := make(chan *Server, 1)
	ended := make(chan error, 1)
	addr := listenFunc(t, func(nc net.Conn) {
		s := NewServer(nc, options())
		servers <- s
		ended <- s.Serve(t.Context(), &handler{serve: echo})
	})
	c := dial(t, addr)
	send(t, c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	br := bufio.NewReader(c)
	resp, err := http.ReadResponse(br, nil)
	if err != nil || resp.Close {
		t.Fatalf("%v, %v", resp, err)
	}
	if _, err := io.ReadAll(resp.Body); err != nil {
		t.Fatal(err)
	}
	(<-servers).Drain()
	if err := <-ended; err != nil {
		t.Errorf("Serve: %v", err)
	}
}

func TestErrorsOfTheUpstream(t *testing.T) {
	cases := []struct {
		name, first, second  string // what the server sends to each request before it closes
		before, reused, head bool   // head: the error comes with the body
	}{
		{"close at once", "", "", true, false, false},
		{"close in the head", "HTTP/1.1 200", "", false, false, false},
		{"close in the body", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab", "", false, false, true},
		{"close in a chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", "", false, false, true},
		{"close of a reused connection", "HTTP/1.1 204 N\r\n\r\n", "-", true, true, false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			addr := listenFunc(t, func(nc net.Conn) {
				br := bufio.NewReader(nc)
				for _, answer := range []string{c.first, c.second} {
					if _, err := http.ReadRequest(br); err != nil || answer == "-" {
						return
					}
					_, _ = io.WriteString(nc, answer)
					if c.second == "" {
						return
					}
				}
			})
			cc, released := connect(t, addr, ClientOptions{})
			if c.second != "" {
				if _, _, err := exchange(t, cc, newRequest("GET", "/", "")); err != nil {
					t.Fatal(err)
				}
			}
			status, _, err := exchange(t, cc, newRequest("GET", "/", ""))
			wantTermination(t, err, c.before, c.reused)
			if (status != 0) != c.head {
				t.Errorf("status %d", status)
			}
			if (*released)[len(*released)-1] {
				t.Errorf("called reusable")
			}
		})
	}
}

func TestConnectionIsReusedOnlyWhenClean(t *testing.T) {
	cases := []struct {
		name, answer, body string
		usable             bool
	}{
		{"length", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab", "ab", true},
		{"chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nab\r\n0\r\na: b\r\n\r\n", "ab", true},
		{"to the end of the connection", "HTTP/1.1 200 OK\r\n\r\nab", "ab", false},
		{"close", "HTTP/1.1 200 OK\r\nConnection: Close\r\nContent-Length: 2\r\n\r\nab", "ab", false},
		{"HTTP/1.0", "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nab", "ab", false},
		{"HTTP/1.0 keep-alive", "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nab", "ab", true},
		{"bytes behind the response", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nabHTTP/1.1 200 OK\r\n", "ab", false},
		{"204 with bytes behind", "HTTP/1.1 204 No\r\n\r\nab", "", false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			addr := listenFunc(t, func(nc net.Conn) {
				answerOnce(nc, c.answer)
				if c.usable {
					_, _ = io.ReadAll(nc)
				}
			})
			cc, released := connect(t, addr, ClientOptions{})
			if _, body, err := exchange(t, cc, newRequest("GET", "/", "")); err != nil || body != c.body {
				t.Fatalf("%q, %v", body, err)
			}
			if (*released)[0] != c.usable || cc.Usable() != c.usable {
				t.Errorf("released %v, usable %v", *released, cc.Usable())
			}
		})
	}
}

func TestUsableSeesCloseAndStrayBytes(t *testing.T) {
	for _, stray := range []string{"", "HTTP/1.1 200 OK\r\n"} {
		told, did := make(chan bool), make(chan bool)
		addr := listenFunc(t, func(nc net.Conn) {
			answerOnce(nc, "HTTP/1.1 204 N\r\n\r\n")
			<-told
			_, _ = io.WriteString(nc, stray)
			_ = nc.(*net.TCPConn).CloseWrite()
			close(did)
			_, _ = io.ReadAll(nc)
		})
		nc, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		cc := NewClientConn(conntest.Adopt(t, nc), ClientOptions{})
		if _, _, err := exchange(t, cc, newRequest("GET", "/", "")); err != nil || !cc.Usable() {
			t.Fatalf("usable %v, %v", cc.Usable(), err)
		}
		close(told)
		<-did
		await.True(t, fmt.Sprintf("not usable after %q and a close", stray), func() bool { return !cc.Usable() })
		cc.Close()
	}
}

func TestUpgradeTunnelsBothWays(t *testing.T) {
	h := &handler{serve: func(s codec.ServerStream) {
		_ = s.WriteResponse(&message.Response{Status: 101, Upgraded: true, ContentLength: -1, Body: s.Request().Body})
	}}
	cc, _ := connect(t, listen(t, options(), h), ClientOptions{})
	st, err := cc.NewStream()
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	pr, pw := io.Pipe()
	req := &message.Request{Method: "GET", Path: "/", Authority: "h", Protocol: "echo", ContentLength: -1, Body: pipeBody{pr}}
	var resp message.Response
	if err := st.RoundTrip(req, &resp, nil); err != nil || !resp.Upgraded || resp.Status != 101 {
		t.Fatalf("%+v, %v", resp, err)
	}
	for _, word := range []string{"ping", "pong"} {
		if _, err := io.WriteString(pw, word); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 4)
		if _, err := io.ReadFull(resp.Body, buf); err != nil || string(buf) != word {
			t.Fatalf("%q, %v", buf, err)
		}
	}
	pw.Close() // half-close: the echo ends as well
	if rest, err := io.ReadAll(resp.Body); err != nil || len(rest) != 0 {
		t.Errorf("%q, %v", rest, err)
	}
}

func TestClientAbortReturnsItsError(t *testing.T) {
	addr := listenFunc(t, func(nc net.Conn) { _, _ = io.ReadAll(nc) })
	cc, _ := connect(t, addr, ClientOptions{})
	st, err := cc.NewStream()
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	cause := errors.New("too late")
	timer := time.AfterFunc(20*time.Millisecond, func() { st.Abort(cause) })
	defer timer.Stop()
	var resp message.Response
	if err := st.RoundTrip(newRequest("GET", "/", ""), &resp, nil); !errors.Is(err, cause) {
		t.Errorf("got %v", err)
	}
}
