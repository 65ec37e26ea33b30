package cluster

import (
	"net"
	"sync/atomic"
	"testing"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/http/codec"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
	"github.com/weir-proxy/weir/pkg/proxy/upstream"
	"github.com/weir-proxy/weir/pkg/proxy/upstream/pool"
)

// instant makes HTTP/1 connections whose exchanges are over at once.
type instant struct{ pool.Codecs }

func (instant) HTTP1(nc net.Conn, _ codec.ConnInfo, _ *model.UpstreamHTTP, released func(codec.Fate)) pool.Client1 {
	return &instantConn{Conn: nc, stream: instantStream{released: released}}
}

type instantConn struct {
	net.Conn
	stream instantStream
	closed atomic.Bool
}

func (c *instantConn) NewStream() (codec.ClientStream, error) { return &c.stream, nil }
func (c *instantConn) Usable() bool                           { return !c.closed.Load() }
func (c *instantConn) Close() error                           { c.closed.Store(true); return c.Conn.Close() }

type instantStream struct {
	codec.ClientStream
	released func(codec.Fate)
}

func (s *instantStream) Close() { s.released(codec.Reusable) }

// BenchmarkRequest is what a cluster costs a request beside codec and socket: circuit breaker, host, connection, counters.
func BenchmarkRequest(b *testing.B) {
	for name, change := range map[string]func(*model.Cluster){
		"round robin": func(*model.Cluster) {},
		"ring hash":   func(c *model.Cluster) { c.LB = model.LBRingHash },
		"weighted":    func(c *model.Cluster) { c.Inline.Localities[0].Endpoints[0].Weight = 2 },
	} {
		b.Run(name, func(b *testing.B) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() { _ = l.Close() })
			m := newHarness(b)
			addr := l.Addr().(*net.TCPAddr).AddrPort()
			cfg := static("web", addr, addr)
			change(cfg)
			m.Apply(snapshot(cfg))
			c := m.Get("web")
			c.core.shared.Codecs = instant{}
			pc := &upstream.PickContext{Hash: 1, HasHash: true}
			b.ReportAllocs()
			for b.Loop() {
				request(b, c, pc)
			}
		})
	}
}

func request(b testing.TB, c *Cluster, pc *upstream.PickContext) {
	h, err := c.Pick(pc)
	if err != nil {
		b.Fatal(err)
	}
	s := c.Reuse(h, message.HTTP11, nil)
	if s == nil {
		if s, err = c.Connect(b.Context(), h, message.HTTP11, nil); err != nil {
			b.Fatal(err)
		}
	}
	s.Close()
}

func TestRequestDoesNotAllocate(t *testing.T) {
	b := plainBackend(t, nil)
	h := newHarness(t)
	h.Apply(snapshot(static("web", b.addr)))
	c := h.Get("web")
	c.core.shared.Codecs = instant{}
	pc := &upstream.PickContext{}
	request(t, c, pc)
	if n := testing.AllocsPerRun(100, func() { request(t, c, pc) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
