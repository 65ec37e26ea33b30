package h2

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	crand "crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/http2"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/conn/conntest"
	"github.com/weir-proxy/weir/pkg/proxy/http/codec"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
	"github.com/weir-proxy/weir/pkg/proxy/upstream"
	"github.com/weir-proxy/weir/test/await"
)

// goAways reads GOAWAY frames, answering PING if so told, until the connection ends.
func goAways(w *wire, answer bool) (last []uint32) {
	for {
		f, err := w.ReadFrame()
		if err != nil {
			return last
		}
		switch f := f.(type) {
		case *http2.GoAwayFrame:
			last = append(last, f.LastStreamID)
		case *http2.PingFrame:
			if answer {
				w.must(w.WritePing(true, f.Data))
			}
		}
	}
}

func TestDrainTakesWhatCrossesWithIt(t *testing.T) {
	for _, answer := range []bool{true, false} {
		h := &handler{serve: echo}
		nc, srv, ended := serve(t, ServerOptions{DrainTimeout: 50 * time.Millisecond}, h)
		w := greet(t, nc)
		srv.Drain()
		srv.Drain()
		w.open(1, true, get...) // has crossed with the GOAWAY
		if diff := cmp.Diff([]uint32{maxStreamID, 1}, goAways(w, answer)); diff != "" {
			t.Errorf("PING answered %v: %s", answer, diff)
		}
		nc.Close()
		if err := <-ended; err != nil {
			t.Errorf("Serve: %v", err)
		}
		if busy, ours := srv.Ended(); busy || !ours {
			t.Errorf("Ended %v %v", busy, ours)
		}
	}
}

func TestDrainBeforeServe(t *testing.T) {
	a, b := conntest.Sockets(t)
	srv := NewServer(b, ServerOptions{})
	srv.Drain()
	ended := make(chan error, 1)
	go func() { ended <- srv.Serve(context.Background(), &handler{serve: echo}) }()
	w := greet(t, a)
	if got := goAways(w, true); len(got) != 2 {
		t.Errorf("GOAWAY frames %v", got)
	}
	a.Close()
	<-ended
}

func TestMaxRequestsDrains(t *testing.T) {
	nc, _, ended := serve(t, ServerOptions{MaxRequests: 2}, &handler{serve: echo})
	cc := connect(t, nc, ClientOptions{})
	for range 2 {
		if err := newExchange().do(cc); err != nil {
			t.Fatal(err)
		}
	}
	if err := <-ended; err != nil {
		t.Errorf("Serve: %v", err)
	}
	await.True(t, "the client knows", func() bool { return !cc.CanTake() })
}

func TestServerAbort(t *testing.T) {
	cause := errors.New("enough")
	entered := make(chan bool)
	nc, srv, ended := serve(t, ServerOptions{}, &handler{serve: func(s codec.ServerStream) {
		close(entered)
		if _, err := io.ReadAll(s.Request().Body); !errors.Is(err, cause) || !s.PeerGone() {
			t.Errorf("read %v, gone %v", err, s.PeerGone())
		}
	}})
	w := greet(t, nc)
	w.open(1, false, with(":method", "POST")...)
	<-entered
	srv.Abort(cause)
	if err := <-ended; !errors.Is(err, cause) {
		t.Errorf("Serve: %v", err)
	}
	if busy, ours := srv.Ended(); !busy || ours {
		t.Errorf("Ended %v %v", busy, ours)
	}
}

// TestEarlyResponse: a response that does not need the whole request is complete, and the rest is not asked for.
func TestEarlyResponse(t *testing.T) {
	nc, _, _ := serve(t, ServerOptions{}, &handler{serve: func(s codec.ServerStream) {
		_ = s.WriteResponse(&message.Response{Status: 413, ContentLength: 5, Body: message.NewString("large")})
	}})
	w := greet(t, nc)
	w.open(1, false, with(":method", "POST")...)
	if a, b := w.verdict(), w.verdict(); a != "status 413" || b != "reset NO_ERROR" {
		t.Errorf("%s, %s", a, b)
	}
	w.must(w.WriteData(1, true, []byte("crossed with the reset")))
	w.open(3, true, get...)
	if got := w.verdict(); got != "status 413" {
		t.Errorf("the next stream: %s", got)
	}
	cc := connect(t, servePlain(t, &handler{serve: func(s codec.ServerStream) {
		_ = s.WriteResponse(&message.Response{Status: 413, ContentLength: 5, Body: message.NewString("large")})
	}}), ClientOptions{})
	st, err := cc.NewStream()
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	var resp message.Response
	req := &message.Request{Method: "POST", Scheme: "http", Authority: "a", Path: "/", ContentLength: -1, Body: &endless{}}
	if err := st.RoundTrip(req, &resp, nil); err != nil || resp.Status != 413 {
		t.Fatalf("%d, %v", resp.Status, err)
	}
	if body, err := io.ReadAll(resp.Body); err != nil || string(body) != "large" {
		t.Errorf("%q, %v", body, err)
	}
}

func TestTrailersUnannounced(t *testing.T) {
	got := make(chan []string, 1)
	nc, _, _ := serve(t, ServerOptions{}, &handler{serve: func(s codec.ServerStream) {
		_, _ = io.Copy(io.Discard, s.Request().Body)
		got <- append([]string{}, strings.Clone(list(s.Request().Body.Trailers())[0]))
		var tr message.Headers
		tr.Add("Grpc-Status", "0")
		tr.Add("content-length", "7") // has no place in trailers
		_ = s.WriteResponse(&message.Response{Status: 200, ContentLength: -1, Body: &trailing{*message.NewString(""), &tr}})
	}})
	cc := connect(t, nc, ClientOptions{})
	st, err := cc.NewStream()
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	var tr message.Headers
	tr.Add("X-End", "yes")
	req := &message.Request{Method: "POST", Scheme: "http", Authority: "a", Path: "/", ContentLength: -1, Body: &trailing{*message.NewString("x"), &tr}}
	var resp message.Response
	if err := st.RoundTrip(req, &resp, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(resp.Body); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"grpc-status: 0"}, list(resp.Body.Trailers())); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"x-end: yes"}, <-got); diff != "" {
		t.Error(diff)
	}
}

func TestFieldsKeepTheirOrder(t *testing.T) {
	want := []string{"z: 1", "content-type: t", "content-length: 0", "a: 2", "z: 3", "set-cookie: x", "set-cookie: y"}
	nc, _, _ := serve(t, ServerOptions{}, &handler{serve: func(s codec.ServerStream) {
		r := &message.Response{Status: 200}
		for _, f := range want {
			name, value, _ := strings.Cut(f, ": ")
			r.Headers.Add(strings.ToUpper(name), value)
		}
		r.Headers.Add("Connection", "close")
		_ = s.WriteResponse(r)
	}})
	cc := connect(t, nc, ClientOptions{})
	st, err := cc.NewStream()
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	var resp message.Response
	if err := st.RoundTrip(&newExchange().req, &resp, nil); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, list(&resp.Headers)); diff != "" || resp.ContentLength != 0 {
		t.Errorf("%d %s", resp.ContentLength, diff)
	}
}

// TestTunnel is extended CONNECT from our client to our server; payload waits until the server has agreed.
func TestTunnel(t *testing.T) {
	nc, _, _ := serve(t, ServerOptions{HTTP2: model.HTTP2Options{AllowConnect: true}}, &handler{serve: func(s codec.ServerStream) {
		r := s.Request()
		if r.Method != "CONNECT" || r.Protocol != "websocket" || r.Path != "/chat" || r.Authority != "a" {
			t.Errorf("%s %s %s %s", r.Method, r.Protocol, r.Path, r.Authority)
		}
		_ = s.WriteResponse(&message.Response{Status: 101, ContentLength: -1, Upgraded: true, Body: r.Body})
	}})
	cc := connect(t, nc, ClientOptions{})
	st, err := cc.NewStream()
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	pr, pw := io.Pipe()
	req := &message.Request{Method: "GET", Scheme: "http", Authority: "a", Path: "/chat", Protocol: "websocket", ContentLength: -1, Body: pipeBody{pr}}
	var resp message.Response
	if err := st.RoundTrip(req, &resp, nil); err != nil || !resp.Upgraded || resp.Status != 200 {
		t.Fatalf("%+v, %v", resp, err)
	}
	for _, text := range []string{"one", "two"} {
		if _, err := io.WriteString(pw, text); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, len(text))
		if _, err := io.ReadFull(resp.Body, buf); err != nil || string(buf) != text {
			t.Fatalf("%q, %v", buf, err)
		}
	}
	pw.Close() // half-closes
	if rest, err := io.ReadAll(resp.Body); err != nil || len(rest) != 0 {
		t.Errorf("%q, %v", rest, err)
	}
}

func TestTunnelThatIsNotOffered(t *testing.T) {
	nc, _, _ := serve(t, ServerOptions{}, &handler{serve: echo})
	cc := connect(t, nc, ClientOptions{})
	st, err := cc.NewStream()
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	var resp message.Response
	err = st.RoundTrip(&message.Request{Method: "GET", Scheme: "http", Authority: "a", Path: "/", Protocol: "websocket"}, &resp, nil)
	if ue, ok := errors.AsType[*upstream.Error](err); !ok || ue.Kind != upstream.KindProtocol {
		t.Errorf("%v", err)
	}
}

func TestKeepalive(t *testing.T) {
	opt := model.HTTP2Options{KeepaliveInterval: 20 * time.Millisecond, KeepaliveTimeout: 50 * time.Millisecond, KeepaliveJitterPercent: 10}
	nc, srv, ended := serve(t, ServerOptions{HTTP2: opt}, &handler{serve: echo})
	w := greet(t, nc)
	for range 3 {
		w.until("PING", func(f http2.Frame) bool {
			p, ok := f.(*http2.PingFrame)
			if ok {
				w.must(w.WritePing(true, p.Data))
			}
			return ok
		})
	}
	if err := <-ended; !errors.Is(err, ErrKeepalive) { // nobody answers any more
		t.Errorf("Serve: %v", err)
	}
	if n := srv.stats.KeepaliveTimeout.Value(); n != 1 {
		t.Errorf("keepalive_timeout %d", n)
	}
}

func TestPingAheadOfAStreamAfterIdling(t *testing.T) {
	pings := make(chan bool, 10)
	a, b := conntest.Sockets(t)
	defer b.Close()
	go func() {
		_, _ = io.ReadFull(b, make([]byte, len(preface)))
		w := newWire(t, b)
		_ = w.WriteSettings()
		for {
			f, err := w.ReadFrame()
			if err != nil {
				return
			}
			switch f := f.(type) {
			case *http2.PingFrame:
				pings <- true
			case *http2.MetaHeadersFrame:
				_ = w.WriteHeaders(http2.HeadersFrameParam{StreamID: f.StreamID, BlockFragment: w.block(":status", "204"), EndHeaders: true, EndStream: true})
			}
		}
	}()
	cc := connect(t, a, ClientOptions{HTTP2: model.HTTP2Options{KeepaliveIdleInterval: time.Millisecond, KeepaliveTimeout: 50 * time.Millisecond}})
	await.True(t, "the connection has idled", func() bool { return time.Now().UnixNano()-cc.readAt.Load() > int64(cc.limits.idling) })
	if err := newExchange().do(cc); err != nil {
		t.Fatal(err)
	}
	<-pings
	await.True(t, "the connection is given up", func() bool { return !cc.CanTake() })
}

func TestGoAwayRefusesWhatIsAboveIt(t *testing.T) {
	gone := make(chan bool)
	var once sync.Once
	streams := make(chan uint32, 2)
	goOn := make(chan bool)
	cc := connect(t, rawServer(t, func(fr *http2.Framer, f *http2.MetaHeadersFrame) {
		if streams <- f.StreamID; f.StreamID == 3 {
			_ = fr.WriteGoAway(1, http2.ErrCodeNo, nil)
			<-goOn
			_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte{0x89}, EndHeaders: true, EndStream: true})
		}
	}), ClientOptions{Gone: func() { once.Do(func() { close(gone) }) }})
	errs := [2]chan error{make(chan error, 1), make(chan error, 1)}
	for i := range 2 {
		go func() { errs[i] <- newExchange().do(cc) }()
		<-streams
	}
	err := <-errs[1]
	if ue, ok := errors.AsType[*upstream.Error](err); !ok || ue.Kind != upstream.KindRefusedStream || !ue.BeforeResponse {
		t.Errorf("stream 3: %v", err)
	}
	if cc.CanTake() {
		t.Error("the connection still takes streams")
	}
	close(goOn)
	if err := <-errs[0]; err != nil {
		t.Errorf("stream 1: %v", err)
	}
	<-gone
}

func TestClientKeepsToTheLimits(t *testing.T) {
	cc := connect(t, rawServer(t, func(*http2.Framer, *http2.MetaHeadersFrame) {}), ClientOptions{HTTP2: model.HTTP2Options{MaxConcurrentStreams: 2}})
	for range 2 {
		st, err := cc.NewStream()
		if err != nil {
			t.Fatal(err)
		}
		defer st.Close()
	}
	if _, err := cc.NewStream(); err == nil || cc.CanTake() {
		t.Error("a third stream was opened")
	}
}

func TestMalformedResponses(t *testing.T) {
	cases := map[string][]string{
		"no status":          {"a", "b"},
		"bad status":         {":status", "2x0"},
		"two status":         {":status", "200", ":status", "200"},
		"status 101":         {":status", "101"},
		"request pseudo":     {":status", "200", ":path", "/"},
		"upper case":         {":status", "200", "Server", "x"},
		"connection":         {":status", "200", "connection", "close"},
		"line feed":          {":status", "200", "a", "b\nc"},
		"more than is there": {":status", "200", "content-length", "4"},
		"end of a 1xx":       {":status", "103"},
	}
	for name, fields := range cases {
		t.Run(name, func(t *testing.T) {
			cc := connect(t, rawServer(t, func(fr *http2.Framer, f *http2.MetaHeadersFrame) {
				w := newWire(t, nopConn{})
				fr.AllowIllegalWrites = true
				_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: f.StreamID, BlockFragment: w.block(fields...), EndHeaders: true, EndStream: true})
			}), ClientOptions{HTTP2: model.HTTP2Options{StreamErrorOnInvalid: true}})
			err := newExchange().do(cc)
			if ue, ok := errors.AsType[*upstream.Error](err); !ok || ue.Kind != upstream.KindProtocol {
				t.Errorf("%v", err)
			}
			if !cc.CanTake() {
				t.Error("the connection has ended, too")
			}
		})
	}
}

// nopConn is a connection for wires that encode only.
type nopConn struct{ net.Conn }

func (nopConn) SetDeadline(time.Time) error { return nil }

func TestOverTLS(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), crand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"a"}}
	der, err := x509.CreateCertificate(crand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	a, b := conntest.Sockets(t)
	srv := NewServer(tls.Server(b, &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, NextProtos: []string{"h2"}}), ServerOptions{})
	ended := make(chan error, 1)
	go func() {
		ended <- srv.Serve(context.Background(), &handler{serve: func(s codec.ServerStream) {
			_ = s.WriteResponse(&message.Response{Status: 200, ContentLength: -1, Body: s.Request().Body})
		}})
	}()
	cc := connect(t, tls.Client(a, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}}), ClientOptions{})
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			st, err := cc.NewStream()
			if err != nil {
				t.Error(err)
				return
			}
			defer st.Close()
			body := strings.Repeat("w", 300000)
			req := &message.Request{Method: "POST", Scheme: "https", Authority: "a", Path: "/", ContentLength: int64(len(body)), Body: message.NewString(body)}
			var resp message.Response
			if err := st.RoundTrip(req, &resp, nil); err != nil {
				t.Error(err)
				return
			}
			if got, err := io.ReadAll(resp.Body); err != nil || string(got) != body {
				t.Errorf("%d bytes, %v", len(got), err)
			}
		})
	}
	wg.Wait()
	srv.Drain()
	if err := <-ended; err != nil {
		t.Errorf("Serve: %v", err)
	}
}
