package h1

import (
	"context"
	"io"
	"net"
	"testing"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/conn/conntest"
	"github.com/weir-proxy/weir/pkg/proxy/http/codec"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
)

// replay is a connection whose reads give the same bytes again and again, once per write (client) or once per read
// (server), and whose writes vanish.
type replay struct {
	net.Conn
	in   []byte
	next chan struct{} // server: one token per request; nil for a client, whose writes are the tokens
	left []byte
}

func (r *replay) Read(p []byte) (int, error) {
	if len(r.left) == 0 {
		if r.next != nil {
			if _, ok := <-r.next; !ok {
				return 0, io.EOF
			}
		}
		r.left = r.in
	}
	n := copy(p, r.left)
	r.left = r.left[n:]
	return n, nil
}

func (r *replay) Write(p []byte) (int, error) { return len(p), nil }
func (r *replay) Close() error                { return nil }

const benchRequest = "GET /inventory/items?page=2 HTTP/1.1\r\nHost: inventory.example.com\r\nUser-Agent: wrk/4.1.0\r\nAccept: */*\r\n" +
	"Accept-Encoding: gzip\r\nX-Request-Id: 0b0e2c6e-6b2d-4f6e-9a53-6d2a6c1f0d52\r\nCookie: a=b; c=d\r\n\r\n"

var benchResponse = "HTTP/1.1 200 OK\r\nServer: nginx\r\nDate: Mon, 01 Jan 2024 00:00:00 GMT\r\nContent-Type: text/plain\r\n" +
	"Content-Length: 1024\r\nConnection: keep-alive\r\nETag: \"65a1\"\r\n\r\n" + string(make([]byte, 1024))

// fixed answers with 1 KiB, without allocating.
type fixed struct {
	done chan struct{}
	resp message.Response
	body fixedBody
}

type fixedBody struct {
	data []byte
	left []byte
}

func (b *fixedBody) Read(p []byte) (int, error) {
	n := copy(p, b.left)
	if b.left = b.left[n:]; len(b.left) == 0 {
		return n, io.EOF
	}
	return n, nil
}
func (b *fixedBody) Trailers() *message.Headers { return nil }
func (b *fixedBody) Close() error               { return nil }
func (b *fixedBody) Buffered() (int, bool)      { return len(b.left), true }

func (f *fixed) ServeStream(s codec.ServerStream) {
	f.body.left = f.body.data
	f.resp.Reset()
	f.resp.Status, f.resp.ContentLength, f.resp.Body = 200, 1024, &f.body
	f.resp.Headers.AddID(message.ContentType, "text/plain")
	f.resp.Headers.AddID(message.Server, "envoy")
	if err := s.WriteResponse(&f.resp); err != nil {
		panic(err)
	}
	if f.done != nil {
		f.done <- struct{}{}
	}
}
func (f *fixed) ServeError(_ codec.ServerStream, err *codec.Error) { panic(err) }
func (f *fixed) Idle(bool)                                         {}

func newFixed() *fixed { return &fixed{body: fixedBody{data: make([]byte, 1024)}} }

func TestServerDoesNotAllocate(t *testing.T) {
	requests := map[string]string{
		"get":     benchRequest,
		"post":    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
		"chunked": "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
	}
	requests["preserved"], requests["proper"] = requests["chunked"], requests["post"]
	formats := map[string]model.HeaderFormat{"preserved": model.HeaderPreserveCase, "proper": model.HeaderProperCase}
	for name, request := range requests {
		t.Run(name, func(t *testing.T) {
			opt := options()
			opt.HTTP1.HeaderFormat = formats[name]
			rc := &replay{in: []byte(request), next: make(chan struct{})}
			f := newFixed()
			f.done = make(chan struct{})
			ended := make(chan error)
			go func() { ended <- NewServer(rc, opt).Serve(context.Background(), f) }()
			one := func() {
				rc.next <- struct{}{}
				<-f.done
			}
			one()
			if n := testing.AllocsPerRun(500, one); n >= 1 {
				t.Errorf("%v allocations per request", n)
			}
			close(rc.next)
			if err := <-ended; err != nil {
				t.Error(err)
			}
		})
	}
}

func TestClientDoesNotAllocate(t *testing.T) {
	var opt ClientOptions
	clientDoesNotAllocate(t, opt)
	preserving(&opt.HTTP1)
	clientDoesNotAllocate(t, opt)
}

func clientDoesNotAllocate(t *testing.T, opt ClientOptions) {
	t.Helper()
	cc := NewClientConn(&replay{in: []byte(benchResponse)}, opt)
	var req message.Request
	var resp message.Response
	body := &fixedBody{data: make([]byte, 1024)}
	buf := make([]byte, 4096)
	names := keptNames(&opt.HTTP1)
	one := func() {
		req.Reset()
		req.Method, req.Path, req.Authority, req.ContentLength, req.Body = "POST", "/a", "b", 1024, body
		req.Headers.AddID(message.XForwardedFor, "10.0.0.1")
		req.Names = names
		body.left = body.data
		if err := roundTrip(cc, &req, &resp, buf); err != nil {
			t.Fatal(err)
		}
	}
	one()
	if n := testing.AllocsPerRun(500, one); n >= 1 {
		t.Errorf("%v allocations per exchange", n)
	}
}

// roundTrip does an exchange and reads the body into buf.
func roundTrip(cc *ClientConn, req *message.Request, resp *message.Response, buf []byte) error {
	st, err := cc.NewStream()
	if err != nil {
		return err
	}
	defer st.Close()
	if err := st.RoundTrip(req, resp, nil); err != nil {
		return err
	}
	for {
		if _, err := resp.Body.Read(buf); err != nil {
			if err == io.EOF {
				return nil
			}
			return err
		}
	}
}

func BenchmarkParseRequest(b *testing.B) {
	head := []byte(benchRequest)
	rules := requestRules{limits: limits{}.withDefaults(), scheme: "http"}
	var req message.Request
	b.ReportAllocs()
	for b.Loop() {
		req.Reset()
		if _, _, bad := parseRequest(head, &req, &rules, nil); bad != nil {
			b.Fatal(bad)
		}
	}
}

func BenchmarkServer(b *testing.B) {
	rc := &counted{in: []byte(benchRequest), n: b.N}
	b.ReportAllocs()
	b.ResetTimer()
	if err := NewServer(rc, options()).Serve(context.Background(), newFixed()); err != nil {
		b.Fatal(err)
	}
}

// counted gives in n times, one per read.
type counted struct {
	net.Conn
	in []byte
	n  int
}

func (c *counted) Read(p []byte) (int, error) {
	if c.n--; c.n < 0 {
		return 0, io.EOF
	}
	return copy(p, c.in), nil
}

func (c *counted) Write(p []byte) (int, error) { return len(p), nil }

func BenchmarkClient(b *testing.B) {
	cc := NewClientConn(&replay{in: []byte(benchResponse)}, ClientOptions{})
	req := newRequest("GET", "/inventory/items?page=2", "")
	req.Headers.AddID(message.XForwardedFor, "10.0.0.1")
	var resp message.Response
	buf := make([]byte, 4096)
	b.ReportAllocs()
	for b.Loop() {
		if err := roundTrip(cc, req, &resp, buf); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkLoopback is server and client on one loopback TCP connection, both over conn.Conn.
func BenchmarkLoopback(b *testing.B) {
	nc, sc := conntest.Sockets(b)
	ended := make(chan error)
	server := conntest.Adopt(b, sc)
	go func() { ended <- NewServer(server, options()).Serve(context.Background(), newFixed()) }()
	cc := NewClientConn(conntest.Adopt(b, nc), ClientOptions{})
	req := newRequest("GET", "/inventory/items?page=2", "")
	var resp message.Response
	buf := make([]byte, 4096)
	b.ReportAllocs()
	for b.Loop() {
		if !cc.Usable() {
			b.Fatal("not usable")
		}
		if err := roundTrip(cc, req, &resp, buf); err != nil {
			b.Fatal(err)
		}
	}
	cc.Close()
	<-ended
	server.Close()
}
