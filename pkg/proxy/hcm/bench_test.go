package hcm_test

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/observe/stats"
	"github.com/weir-proxy/weir/pkg/proxy/filter"
	"github.com/weir-proxy/weir/pkg/proxy/hcm"
	"github.com/weir-proxy/weir/pkg/proxy/http/codec"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
	"github.com/weir-proxy/weir/pkg/proxy/streaminfo"
	"github.com/weir-proxy/weir/pkg/proxy/timer"
)

// BenchmarkForward is one keep-alive client through the manager to one backend, access log included.
func BenchmarkForward(b *testing.B) {
	answer := []byte("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello")
	addr := raw(b, func(c net.Conn, _ int) {
		buf := make([]byte, 4096)
		for {
			if _, err := c.Read(buf); err != nil {
				return
			}
			if _, err := c.Write(answer); err != nil {
				return
			}
		}
	})
	p := start(b, routeConfig(prefix("/", &model.RouteAction{Cluster: "web", Timeout: requestTimeout})),
		options{clusters: map[string]*model.Cluster{"web": static("web", addr)}})
	c := p.dial()
	request := []byte(get("/index.html"))
	buf := make([]byte, 4096)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Write(request); err != nil {
			b.Fatal(err)
		}
		if _, err := c.Conn.Read(buf); err != nil {
			b.Fatal(err)
		}
	}
}

// loop is a codec that gives the same request again and again, without a connection.
type loop struct {
	codec.ServerStream // panics for what is not here
	n                  int
	req                message.Request
	fill               func(*message.Request)
}

// Serve implements codec.Server.
func (l *loop) Serve(_ context.Context, h codec.Handler) error {
	h.Idle(true)
	for range l.n {
		h.Idle(false)
		l.req.Reset()
		l.fill(&l.req)
		h.ServeStream(l)
		h.Idle(true)
	}
	return nil
}

func (l *loop) Drain()                                       {}
func (l *loop) Version() message.Version                     { return message.HTTP11 }
func (l *loop) Request() *message.Request                    { return &l.req }
func (l *loop) WriteResponse(*message.Response) error        { return nil }
func (l *loop) Counts() codec.Counts                         { return codec.Counts{} }
func (l *loop) CloseAfter()                                  {}
func (l *loop) PeerGone() bool                               { return false }
func (l *loop) Abort(error)                                  {}
func (l *loop) Reset(error)                                  {}
func (l *loop) WriteInformational(r *message.Response) error { return nil }

// BenchmarkManager is what the connection manager itself costs a request: neither codec nor router nor access log.
func BenchmarkManager(b *testing.B) {
	l := &loop{fill: func(r *message.Request) {
		r.Method, r.Scheme, r.Authority, r.Path, r.Version = "GET", "http", "example.com", "/index.html", message.HTTP11
		r.Headers.AddID(message.Host, "example.com")
		r.Headers.AddID(message.UserAgent, "bench")
		r.Headers.AddID(message.Accept, "*/*")
	}}
	store, wheel := stats.NewStore(), timer.New()
	defer wheel.Close()
	cfg := &model.HTTPConnectionManager{
		StatPrefix: "test", CodecType: model.CodecHTTP2, GenerateRequestID: true, IdleTimeout: time.Hour, StreamIdleTimeout: 5 * time.Minute,
		UseRemoteAddress: true, HTTPFilters: []*model.HTTPFilter{{Name: "ok", Config: ok{}}},
		InlineRoutes: routeConfig(&model.Route{Direct: &model.DirectResponse{Status: 200}}),
	}
	m, err := hcm.New(cfg, hcm.Deps{
		Stats: store.Root(), ListenerStats: store.Root().Scope("listener.test"), Wheel: wheel,
		HTTP2: func(net.Conn, *model.HTTPConnectionManager) (codec.Server, error) { return l, nil },
	})
	if err != nil {
		b.Fatal(err)
	}
	defer m.Close()
	client, server := net.Pipe()
	defer client.Close()
	info := &streaminfo.Connection{ID: 1, Start: time.Now(), Remote: netip.MustParseAddrPort("127.0.0.1:1"), Local: netip.MustParseAddrPort("127.0.0.1:2")}
	l.n = b.N
	b.ReportAllocs()
	b.ResetTimer()
	m.Serve(b.Context(), &filter.Connection{Conn: server, Info: info, Reset: func() {}})
}
