package h1

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/http/codec"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
)

// handler adapts functions to codec.Handler and remembers violations.
type handler struct {
	serve func(codec.ServerStream)
	mu    sync.Mutex
	calls int
	errs  []*codec.Error
}

func (h *handler) ServeStream(s codec.ServerStream) {
	h.mu.Lock()
	h.calls++
	h.mu.Unlock()
	h.serve(s)
}

func (h *handler) ServeError(s codec.ServerStream, err *codec.Error) {
	h.mu.Lock()
	h.errs = append(h.errs, err)
	h.mu.Unlock()
	_ = s.WriteResponse(&message.Response{Status: err.Status})
}

func (h *handler) Idle(bool) {}

// echo answers with the request's body, or with its method and path when it has none.
func echo(s codec.ServerStream) {
	req := s.Request()
	resp := &message.Response{Status: 200, ContentLength: req.ContentLength, Body: req.Body}
	if req.Body == nil {
		text := req.Method + " " + req.Path
		resp.Body, resp.ContentLength = message.NewString(text), int64(len(text))
	}
	_ = s.WriteResponse(resp)
}

// listen serves every connection of a loopback listener with h and returns its address.
func listen(t *testing.T, opt ServerOptions, h *handler) string {
	t.Helper()
	return listenFunc(t, func(c net.Conn) {
		_ = NewServer(c, opt).Serve(t.Context(), h)
	})
}

// listenFunc calls serve for every connection, closes it afterwards, and waits for all of them at the end of the test.
func listenFunc(t *testing.T, serve func(net.Conn)) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				serve(c)
			})
		}
	})
	t.Cleanup(func() {
		ln.Close()
		wg.Wait()
	})
	return ln.Addr().String()
}

func options() ServerOptions {
	return ServerOptions{HTTP1: model.HTTP1Options{AllowAbsoluteURL: true}, LingerTimeout: 50 * time.Millisecond}
}

func dial(t *testing.T, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return c
}

func send(t *testing.T, c net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
}

func TestServerAnswersGoClient(t *testing.T) {
	h := &handler{serve: echo}
	addr := listen(t, options(), h)
	tr := &http.Transport{}
	defer tr.CloseIdleConnections()
	client := &http.Client{Transport: tr}
	for _, size := range []int{0, 1, 100, 5000, 100_000, 3_000_000} {
		for _, chunked := range []bool{false, true} {
			payload := strings.Repeat("weir-", size/5+1)[:size]
			var body io.Reader = strings.NewReader(payload)
			if chunked {
				body = struct{ io.Reader }{body}
			}
			resp, err := client.Post("http://"+addr+"/echo", "text/plain", body)
			if err != nil {
				t.Fatalf("size %d: %v", size, err)
			}
			got, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if err != nil {
				t.Fatalf("size %d: %v", size, err)
			}
			want := payload
			if size == 0 && !chunked {
				want = "POST /echo"
			}
			if string(got) != want {
				t.Errorf("size %d chunked %v: got %d bytes", size, chunked, len(got))
			}
		}
	}
}

func TestPipelinedRequestsAreAnsweredInOrder(t *testing.T) {
	h := &handler{serve: echo}
	c := dial(t, listen(t, options(), h))
	var all strings.Builder
	for i := range 20 {
		fmt.Fprintf(&all, "\r\nPOST /%d HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n%02d", i, i)
	}
	send(t, c, all.String())
	br := bufio.NewReader(c)
	for i := range 20 {
		resp, err := http.ReadResponse(br, nil)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(resp.Body)
		if err != nil || string(b) != fmt.Sprintf("%02d", i) {
			t.Fatalf("response %d: %q, %v", i, b, err)
		}
	}
}

func TestAbortEndsABlockedServe(t *testing.T) {
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	s := NewServer(a, options())
	cause := errors.New("told to stop")
	done := make(chan error, 1)
	go func() { done <- s.Serve(context.Background(), &handler{serve: echo}) }()
	s.Abort(cause)
	if err := <-done; !errors.Is(err, cause) {
		t.Errorf("Serve returned %v, want the cause of the abort", err)
	}
}
