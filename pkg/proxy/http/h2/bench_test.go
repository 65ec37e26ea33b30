package h2

import (
	"context"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/weir-proxy/weir/pkg/proxy/conn/conntest"
	"github.com/weir-proxy/weir/pkg/proxy/http/codec"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
)

// countedConn counts writes. It has the abilities of the connection that it wraps.
type countedConn struct {
	plainConn
	writes *atomic.Int64
}

// plainConn is what the codec can ask of *conn.Conn.
type plainConn interface {
	net.Conn
	lentReader
	connAborter
	writeCloser
}

func (c *countedConn) Write(p []byte) (int, error) {
	c.writes.Add(1)
	return c.plainConn.Write(p)
}

// exchange is what one stream of a test or benchmark uses again and again.
type exchange struct {
	req  message.Request
	resp message.Response
	buf  [4096]byte
}

func newExchange() *exchange {
	x := &exchange{req: message.Request{Method: "GET", Scheme: "http", Authority: "inventory.example", Path: "/items?page=2"}}
	x.req.Headers.AddID(message.Accept, "*/*")
	x.req.Headers.AddID(message.UserAgent, "test/1.0")
	return x
}

// do is one exchange on cc.
func (x *exchange) do(cc *ClientConn) error {
	st, err := cc.NewStream()
	if err != nil {
		return err
	}
	defer st.Close()
	if err := st.RoundTrip(&x.req, &x.resp, nil); err != nil {
		return err
	}
	for x.resp.Body != nil {
		if _, err := x.resp.Body.Read(x.buf[:]); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
	}
	return nil
}

// reply is a handler's answer that is used again and again.
type reply struct {
	resp    message.Response
	payload []byte
	read    int
}

func newReply(n int) *reply {
	r := &reply{payload: make([]byte, n), resp: message.Response{Status: 200}}
	r.resp.Headers.AddID(message.ContentType, "text/plain")
	r.resp.Headers.AddID(message.Server, "weir")
	return r
}

func (r *reply) Read(p []byte) (int, error) {
	n := copy(p, r.payload[r.read:])
	if r.read += n; r.read == len(r.payload) {
		return n, io.EOF
	}
	return n, nil
}

func (r *reply) Trailers() *message.Headers { return nil }
func (r *reply) Close() error               { return nil }
func (r *reply) Buffered() (int, bool)      { return len(r.payload) - r.read, true }

func (r *reply) send(s codec.ServerStream) error {
	r.read = 0
	r.resp.Body, r.resp.ContentLength = r, int64(len(r.payload))
	return s.WriteResponse(&r.resp)
}

// pair connects a client to a server whose handlers send size bytes; both count their writes.
func pair(t testing.TB, size int) (cc *ClientConn, clientWrites, serverWrites *atomic.Int64) {
	t.Helper()
	nc, sc := conntest.Sockets(t)
	clientWrites, serverWrites = new(atomic.Int64), new(atomic.Int64)
	replies := sync.Pool{New: func() any { return newReply(size) }}
	h := &handler{serve: func(s codec.ServerStream) {
		r := replies.Get().(*reply)
		if err := r.send(s); err != nil {
			t.Error(err)
		}
		replies.Put(r)
	}}
	ended := make(chan error, 1)
	srv := NewServer(&countedConn{conntest.Adopt(t, sc), serverWrites}, ServerOptions{})
	go func() { ended <- srv.Serve(context.Background(), h) }()
	cc, err := NewClientConn(&countedConn{conntest.Adopt(t, nc), clientWrites}, ClientOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cc.Close()
		<-ended
	})
	return cc, clientWrites, serverWrites
}

// BenchmarkLoopback is one exchange after the other between our client and our server on one connection.
func BenchmarkLoopback(b *testing.B) {
	cc, _, _ := pair(b, 1024)
	x := newExchange()
	b.ReportAllocs()
	for b.Loop() {
		if err := x.do(cc); err != nil {
			b.Fatal(err)
		}
	}
}

// Benchmark32Streams is exchanges of 32 streams at a time, and says how many writes a request takes on both sides.
func Benchmark32Streams(b *testing.B) {
	cc, cw, sw := pair(b, 1024)
	b.ReportAllocs()
	var left atomic.Int64
	left.Store(int64(b.N))
	var wg sync.WaitGroup
	for range 32 {
		wg.Go(func() {
			x := newExchange()
			for left.Add(-1) >= 0 {
				if err := x.do(cc); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(cw.Load())/float64(b.N), "client-writes/op")
	b.ReportMetric(float64(sw.Load())/float64(b.N), "server-writes/op")
}

// BenchmarkBulk is the transfer of a large body.
func BenchmarkBulk(b *testing.B) {
	const size = 8 << 20
	cc, _, _ := pair(b, size)
	x := newExchange()
	b.SetBytes(size)
	for b.Loop() {
		if err := x.do(cc); err != nil {
			b.Fatal(err)
		}
	}
}
