package h1

import (
	"errors"
	"net"
	"sync/atomic"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/conn"
	"github.com/weir-proxy/weir/pkg/proxy/http/codec"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
)

// ClientOptions configure the client side of a connection. The zero value is usable.
type ClientOptions struct {
	// Info is what Conn of the streams returns; Reused is set by the codec.
	Info  codec.ConnInfo
	HTTP1 model.HTTP1Options
	// Release is called exactly once for each stream, at its end, with what is left of the connection, which has been
	// closed unless it is codec.Reusable. May be nil.
	Release func(left codec.Fate)
	// MaxHeadersBytes bounds a response head; default 61440. MaxHeadersCount bounds its fields; default 100.
	MaxHeadersBytes, MaxHeadersCount int
	// Buffers should be shared by all connections; nil gives this one its own.
	Buffers *Buffers
	// Stats counts what the upstream does wrong; nil counts nothing.
	Stats *Stats
}

// connState is who uses a ClientConn.
type connState = int32

const (
	connIdle connState = iota
	connBusy
	connDead
)

// ClientConn is the client side of one connection. Make it with NewClientConn.
type ClientConn struct {
	conn   net.Conn
	opt    ClientOptions
	rules  responseRules
	rd     reader
	stream clientStream
	state  atomic.Int32
	probe  [1]byte
}

// NewClientConn makes the client side of c, which it owns from then on.
func NewClientConn(c net.Conn, opt ClientOptions) *ClientConn {
	if opt.Buffers == nil {
		opt.Buffers = NewBuffers()
	}
	opt.Info.Version = message.HTTP11
	cc := &ClientConn{conn: c, opt: opt, rd: reader{conn: c, bufs: opt.Buffers}}
	cc.rules = responseRules{limits: limits{bytes: opt.MaxHeadersBytes, count: opt.MaxHeadersCount}.withDefaults(), http1: opt.HTTP1}
	st := &cc.stream
	st.cc, st.keep = cc, keptNames(&opt.HTTP1)
	st.body.init(&cc.rd, st, cc.rules.limits)
	st.wr = writer{conn: c, bufs: opt.Buffers, format: opt.HTTP1.HeaderFormat, trailers: opt.HTTP1.EnableTrailers, bodySent: &st.sentBody}
	return cc
}

// NewStream begins an exchange. The connection carries one at a time: a second one is refused until Close of the first.
func (cc *ClientConn) NewStream() (codec.ClientStream, error) {
	if !cc.state.CompareAndSwap(connIdle, connBusy) {
		return nil, errBusy
	}
	cc.stream.reset()
	return &cc.stream, nil
}

// Usable tells whether a stream can be opened: no exchange is under way, and a look at the socket, which does not wait,
// finds neither the peer's close nor bytes that nobody asked for. Below TLS only the close is seen. It must not be called
// beside NewStream.
func (cc *ClientConn) Usable() bool {
	if cc.state.Load() != connIdle {
		return false
	}
	if t, ok := cc.conn.(interface{ TryRead(p []byte) (int, error) }); ok {
		_, err := t.TryRead(cc.probe[:])
		return errors.Is(err, conn.ErrWouldBlock)
	}
	return !peerClosed(cc.conn)
}

// Close closes the connection and ends an exchange that is under way; from any goroutine.
func (cc *ClientConn) Close() error {
	if cc.state.Swap(connDead) == connBusy {
		cc.stream.Abort(errClosed)
	}
	return cc.conn.Close()
}
