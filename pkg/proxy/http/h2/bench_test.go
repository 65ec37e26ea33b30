package h2

import (
	"context"
	"io"
	"net"
	"testing"

	"github.com/weir-proxy/weir/pkg/proxy/http/codec"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
)

// BenchmarkLoopback is one exchange after the other between our client and our server on one connection.
func BenchmarkLoopback(b *testing.B) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer ln.Close()
	nc, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	sc, err := ln.Accept()
	if err != nil {
		b.Fatal(err)
	}
	payload := make([]byte, 1024)
	h := &handler{serve: func(s codec.ServerStream) {
		_ = s.WriteResponse(&message.Response{Status: 200, ContentLength: 1024, Body: message.NewBytes(payload)})
	}}
	ended := make(chan error)
	go func() { ended <- NewServer(sc, ServerOptions{}).Serve(context.Background(), h) }()
	cc, err := NewClientConn(nc, ClientOptions{})
	if err != nil {
		b.Fatal(err)
	}
	req := &message.Request{Method: "GET", Scheme: "http", Authority: "a", Path: "/inventory/items?page=2"}
	b.ReportAllocs()
	for b.Loop() {
		st, err := cc.NewStream()
		if err != nil {
			b.Fatal(err)
		}
		var resp message.Response
		if err := st.RoundTrip(req, &resp, nil); err != nil {
			b.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			b.Fatal(err)
		}
		st.Close()
	}
	cc.Close()
	<-ended
}
