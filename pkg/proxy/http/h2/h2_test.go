package h2

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/weir-proxy/weir/pkg/proxy/conn/conntest"
	"github.com/weir-proxy/weir/pkg/proxy/http/codec"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
	"github.com/weir-proxy/weir/pkg/proxy/upstream"
)

type handler struct {
	serve func(codec.ServerStream)
	mu    sync.Mutex
	errs  []string
	idle  []bool
}

func (h *handler) ServeStream(s codec.ServerStream) { h.serve(s) }

func (h *handler) ServeError(s codec.ServerStream, err *codec.Error) {
	h.mu.Lock()
	h.errs = append(h.errs, err.Reason)
	h.mu.Unlock()
	if err.Status == 0 {
		s.Reset(err)
		return
	}
	_ = s.WriteResponse(&message.Response{Status: err.Status})
}

func (h *handler) Idle(idle bool) {
	h.mu.Lock()
	h.idle = append(h.idle, idle)
	h.mu.Unlock()
}

// serve runs a server with h on one end of a loopback connection and returns the other; ended has what Serve returned.
func serve(t *testing.T, opt ServerOptions, h *handler) (client net.Conn, srv *Server, ended chan error) {
	t.Helper()
	client, sc := conntest.Sockets(t)
	srv = NewServer(sc, opt)
	ended = make(chan error, 1)
	var wg sync.WaitGroup
	wg.Go(func() {
		defer sc.Close()
		ended <- srv.Serve(context.Background(), h)
	})
	t.Cleanup(func() {
		client.Close()
		wg.Wait()
	})
	return client, srv, ended
}

func connect(t *testing.T, c net.Conn, opt ClientOptions) *ClientConn {
	t.Helper()
	cc, err := NewClientConn(c, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cc.Close() })
	return cc
}

// trailing is a body with trailers.
type trailing struct {
	message.Bytes
	t *message.Headers
}

func (b *trailing) Trailers() *message.Headers { return b.t }

func list(h *message.Headers) (out []string) {
	for f := range h.All() {
		out = append(out, f.Name+": "+f.Value)
	}
	return out
}

func TestRoundTripKeepsTheMessage(t *testing.T) {
	type head struct {
		method, authority, path string
		fields                  []string
	}
	got := make(chan head, 1)
	h := &handler{serve: func(s codec.ServerStream) {
		r := s.Request()
		body, err := io.ReadAll(r.Body)
		if err != nil || string(body) != "ping" {
			t.Errorf("request body %q, %v", body, err)
		}
		if tr := r.Body.Trailers(); tr == nil || tr.At(0).Value != "yes" {
			t.Errorf("request trailers %v", tr)
		}
		got <- head{r.Method, strings.Clone(r.Authority), strings.Clone(r.Path), list(&r.Headers)}
		var tr message.Headers
		tr.Add("grpc-status", "0")
		resp := &message.Response{Status: 200, ContentLength: -1, Body: &trailing{*message.NewString("pong"), &tr}}
		resp.Headers.Add("x-answer", "1")
		resp.Headers.Add("x-answer", "2")
		info := &message.Response{Status: 103}
		info.Headers.Add("link", "</a>")
		if err := s.WriteInformational(info); err != nil {
			t.Error(err)
		}
		if err := s.WriteResponse(resp); err != nil {
			t.Error(err)
		}
	}}
	c, _, _ := serve(t, ServerOptions{}, h)
	cc := connect(t, c, ClientOptions{})
	st, err := cc.NewStream()
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	var tr message.Headers
	tr.Add("x-end", "yes")
	req := &message.Request{Method: "POST", Scheme: "http", Authority: "a.example:8080", Path: "//x%2Fy?q=%20a|b", ContentLength: -1}
	req.Body = &trailing{*message.NewString("ping"), &tr}
	req.Headers.Add("te", "trailers")
	req.Headers.Add("trailer", "x-end")
	req.Headers.Add("connection", "close")
	var resp message.Response
	var infos []int
	if err := st.RoundTrip(req, &resp, func(r *message.Response) { infos = append(infos, r.Status) }); err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil || string(body) != "pong" {
		t.Errorf("response body %q, %v", body, err)
	}
	if diff := cmp.Diff([]string{"grpc-status: 0"}, list(resp.Body.Trailers())); diff != "" {
		t.Errorf("response trailers: %s", diff)
	}
	if diff := cmp.Diff([]string{"x-answer: 1", "x-answer: 2"}, list(&resp.Headers)); diff != "" {
		t.Errorf("response headers: %s", diff)
	}
	if diff := cmp.Diff([]int{103}, infos); diff != "" {
		t.Errorf("informational: %s", diff)
	}
	r := <-got
	if r.path != req.Path || r.authority != req.Authority || r.method != "POST" {
		t.Errorf("request %s %s %s", r.method, r.authority, r.path)
	}
	if diff := cmp.Diff([]string{"te: trailers", "trailer: x-end"}, r.fields); diff != "" {
		t.Errorf("request headers: %s", diff)
	}
}

func TestBidirectionalStreaming(t *testing.T) {
	h := &handler{serve: func(s codec.ServerStream) {
		_ = s.WriteResponse(&message.Response{Status: 200, ContentLength: -1, Body: s.Request().Body})
	}}
	c, _, _ := serve(t, ServerOptions{}, h)
	cc := connect(t, c, ClientOptions{})
	st, err := cc.NewStream()
	if err != nil {
		t.Fatal(err)
	}
	pr, pw := io.Pipe()
	req := &message.Request{Method: "POST", Scheme: "http", Authority: "a", Path: "/", ContentLength: -1, Body: pipeBody{pr}}
	var resp message.Response
	if err := st.RoundTrip(req, &resp, nil); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"one", "two", "three"} {
		if _, err := io.WriteString(pw, text); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, len(text))
		if _, err := io.ReadFull(resp.Body, buf); err != nil || string(buf) != text {
			t.Fatalf("echo of %q: %q, %v", text, buf, err)
		}
	}
	st.Close() // while the body waits for more
	if cc.Active() != 0 {
		t.Errorf("%d streams active after Close", cc.Active())
	}
}

type pipeBody struct{ *io.PipeReader }

func (pipeBody) Trailers() *message.Headers { return nil }

// rawClient speaks frames to a server.
func rawClient(t *testing.T, c net.Conn, fields ...string) *http2.Framer {
	t.Helper()
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(c, preface); err != nil {
		t.Fatal(err)
	}
	fr := http2.NewFramer(c, c)
	fr.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	if err := fr.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	var block bytes.Buffer
	enc := hpack.NewEncoder(&block)
	for i := 0; i < len(fields); i += 2 {
		if err := enc.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]}); err != nil {
			t.Fatal(err)
		}
	}
	if err := fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndStream: true, EndHeaders: true}); err != nil {
		t.Fatal(err)
	}
	return fr
}

var get = []string{":method", "GET", ":scheme", "http", ":authority", "a", ":path", "/"}

func TestNothingIsAddedToResponses(t *testing.T) {
	h := &handler{serve: func(s codec.ServerStream) {
		_ = s.WriteResponse(&message.Response{Status: 200, ContentLength: -1, Body: message.NewString("<html>")})
	}}
	c, _, _ := serve(t, ServerOptions{}, h)
	fr := rawClient(t, c, get...)
	for {
		f, err := fr.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		if m, ok := f.(*http2.MetaHeadersFrame); ok {
			if diff := cmp.Diff([]hpack.HeaderField{{Name: ":status", Value: "200"}}, m.Fields); diff != "" {
				t.Error(diff)
			}
			return
		}
	}
}

func TestHandlerWithoutResponseResetsTheStream(t *testing.T) {
	c, _, _ := serve(t, ServerOptions{}, &handler{serve: func(s codec.ServerStream) { s.Reset(io.EOF) }})
	fr := rawClient(t, c, get...)
	for {
		f, err := fr.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		if r, ok := f.(*http2.RSTStreamFrame); ok {
			if r.StreamID != 1 || r.ErrCode != http2.ErrCodeInternal {
				t.Errorf("%v", r)
			}
			return
		}
	}
}

func TestDrainSendsGoAwayAndEnds(t *testing.T) {
	entered, finish := make(chan bool), make(chan bool)
	h := &handler{serve: func(s codec.ServerStream) {
		close(entered)
		<-finish
		_ = s.WriteResponse(&message.Response{Status: 204})
	}}
	c, srv, ended := serve(t, ServerOptions{}, h)
	cc := connect(t, c, ClientOptions{})
	st, err := cc.NewStream()
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		<-entered
		srv.Drain()
		close(finish)
	}()
	var resp message.Response
	req := &message.Request{Method: "GET", Scheme: "http", Authority: "a", Path: "/"}
	if err := st.RoundTrip(req, &resp, nil); err != nil || resp.Status != 204 {
		t.Fatalf("status %d, %v", resp.Status, err)
	}
	st.Close()
	if err := <-ended; err != nil {
		t.Errorf("Serve: %v", err)
	}
	if cc.CanTake() {
		t.Errorf("the connection still takes streams")
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if diff := cmp.Diff([]bool{true, false, true}, h.idle); diff != "" {
		t.Errorf("idle calls: %s", diff)
	}
}

// rawServer answers the first request on c with what reply writes.
func rawServer(t *testing.T, reply func(fr *http2.Framer, first *http2.MetaHeadersFrame)) net.Conn {
	t.Helper()
	a, b := conntest.Sockets(t)
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := io.ReadFull(b, make([]byte, len(preface))); err != nil {
			return
		}
		fr := http2.NewFramer(b, b)
		fr.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
		_ = fr.WriteSettings()
		for {
			f, err := fr.ReadFrame()
			if err != nil {
				return
			}
			switch f := f.(type) {
			case *http2.SettingsFrame:
				if !f.IsAck() {
					_ = fr.WriteSettingsAck()
				}
			case *http2.MetaHeadersFrame:
				reply(fr, f)
			}
		}
	})
	t.Cleanup(func() {
		a.Close()
		b.Close()
		wg.Wait()
	})
	return a
}

func TestErrorsOfTheUpstream(t *testing.T) {
	cases := []struct {
		name  string
		reply func(fr *http2.Framer, f *http2.MetaHeadersFrame)
		want  upstream.Kind
	}{
		{"refused stream", func(fr *http2.Framer, f *http2.MetaHeadersFrame) {
			_ = fr.WriteRSTStream(f.StreamID, http2.ErrCodeRefusedStream)
		}, upstream.KindRefusedStream},
		{"reset", func(fr *http2.Framer, f *http2.MetaHeadersFrame) {
			_ = fr.WriteRSTStream(f.StreamID, http2.ErrCodeCancel)
		}, upstream.KindRemoteReset},
		{"going away before the stream", func(fr *http2.Framer, f *http2.MetaHeadersFrame) {
			_ = fr.WriteGoAway(0, http2.ErrCodeNo, nil)
		}, upstream.KindRefusedStream},
		{"going away with an error", func(fr *http2.Framer, f *http2.MetaHeadersFrame) {
			_ = fr.WriteGoAway(0, http2.ErrCodeInternal, nil)
		}, upstream.KindTermination},
		{"headers without status", func(fr *http2.Framer, f *http2.MetaHeadersFrame) {
			var b bytes.Buffer
			_ = hpack.NewEncoder(&b).WriteField(hpack.HeaderField{Name: "x", Value: "y"})
			_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: f.StreamID, BlockFragment: b.Bytes(), EndHeaders: true})
		}, upstream.KindProtocol},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			gone := make(chan bool)
			cc := connect(t, rawServer(t, c.reply), ClientOptions{Gone: func() { close(gone) }})
			st, err := cc.NewStream()
			if err != nil {
				t.Fatal(err)
			}
			var resp message.Response
			err = st.RoundTrip(&message.Request{Method: "GET", Scheme: "http", Authority: "a", Path: "/"}, &resp, nil)
			var ue *upstream.Error
			if !errors.As(err, &ue) || ue.Kind != c.want {
				t.Errorf("got %#v (%v), want kind %d", err, err, c.want)
			}
			st.Close()
			cc.Close()
			<-gone
		})
	}
}

func TestRequestsCarryNothingOfTheirOwn(t *testing.T) {
	seen := make(chan []hpack.HeaderField, 1)
	cc := connect(t, rawServer(t, func(fr *http2.Framer, f *http2.MetaHeadersFrame) {
		seen <- slices.Clone(f.Fields)
		_ = fr.WriteRSTStream(f.StreamID, http2.ErrCodeCancel)
	}), ClientOptions{})
	st, err := cc.NewStream()
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	var resp message.Response
	if err := st.RoundTrip(&message.Request{Method: "GET", Scheme: "https", Authority: "a", Path: "/p?q"}, &resp, nil); err == nil {
		t.Fatal("no error from a reset")
	}
	want := []hpack.HeaderField{
		{Name: ":authority", Value: "a"}, {Name: ":method", Value: "GET"}, {Name: ":path", Value: "/p?q"}, {Name: ":scheme", Value: "https"},
	}
	if diff := cmp.Diff(want, <-seen); diff != "" {
		t.Error(diff)
	}
}

func TestAbortReturnsItsError(t *testing.T) {
	cc := connect(t, rawServer(t, func(*http2.Framer, *http2.MetaHeadersFrame) {}), ClientOptions{})
	st, err := cc.NewStream()
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	cause := errors.New("too late")
	timer := time.AfterFunc(20*time.Millisecond, func() { st.Abort(cause) })
	defer timer.Stop()
	var resp message.Response
	if err := st.RoundTrip(&message.Request{Method: "GET", Scheme: "http", Authority: "a", Path: "/"}, &resp, nil); !errors.Is(err, cause) {
		t.Errorf("got %v", err)
	}
}

func TestServerAbortLetsAReplyThrough(t *testing.T) {
	cause := errors.New("request timeout")
	h := &handler{serve: func(s codec.ServerStream) {
		timer := time.AfterFunc(20*time.Millisecond, func() { s.Abort(cause) })
		defer timer.Stop()
		if _, err := io.ReadAll(s.Request().Body); !errors.Is(err, cause) {
			t.Errorf("read returned %v", err)
		}
		_ = s.WriteResponse(&message.Response{Status: 408})
	}}
	c, _, _ := serve(t, ServerOptions{}, h)
	cc := connect(t, c, ClientOptions{})
	st, err := cc.NewStream()
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	pr, pw := io.Pipe()
	defer pw.Close()
	var resp message.Response
	req := &message.Request{Method: "POST", Scheme: "http", Authority: "a", Path: "/", ContentLength: -1, Body: pipeBody{pr}}
	if err := st.RoundTrip(req, &resp, nil); err != nil || resp.Status != 408 {
		t.Errorf("status %d, %v", resp.Status, err)
	}
}
