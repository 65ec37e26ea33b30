package h2

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"

	"golang.org/x/net/http2"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/http/codec"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
)

// ClientOptions configure the client side of a connection. The zero value is usable.
type ClientOptions struct {
	// Info is what Conn of the streams returns; Reused is set by the codec.
	Info  codec.ConnInfo
	HTTP2 model.HTTP2Options
	// MaxHeadersBytes bounds a response head; default 61440.
	MaxHeadersBytes int
	// Gone is called exactly once, on a goroutine of the codec, when the connection has ended for whatever reason. May be
	// nil.
	Gone func()
	// Release is called exactly once for each stream, at its end. May be nil.
	Release func()
	// Stats may be nil.
	Stats *Stats
}

// errBusy tells that the connection takes no further stream now.
var errBusy = errors.New("open stream: the connection is full, going away or closed")

// streamsBeforeSettings is how many streams are opened before the peer has told its limit, as x/net has it.
const streamsBeforeSettings = 100

// ClientConn is the client side of one connection. Make it with NewClientConn.
type ClientConn struct {
	opt  ClientOptions
	conn *watchedConn
	cc   *http2.ClientConn

	mu     sync.Mutex // guards what follows
	active uint32
	used   bool
	closed bool
}

// watchedConn tells when x/net closes it, which is at the end of the connection in all cases.
type watchedConn struct {
	net.Conn
	once sync.Once
	gone func()
}

// Close implements net.Conn.
func (w *watchedConn) Close() error {
	err := w.Conn.Close()
	w.once.Do(w.gone)
	return err
}

// NewClientConn makes the client side of c, which it owns from then on, and sends the preface. An error means that c is
// closed.
func NewClientConn(c net.Conn, opt ClientOptions) (*ClientConn, error) {
	if opt.MaxHeadersBytes <= 0 {
		opt.MaxHeadersBytes = defaultMaxBytes
	}
	if opt.Gone == nil {
		opt.Gone = func() {}
	}
	opt.Info.Version = message.HTTP2
	transport, err := http2.ConfigureTransports(&http.Transport{
		DisableCompression: true,
		HTTP2: &http.HTTP2Config{
			MaxReceiveBufferPerStream:     int(window(opt.HTTP2.InitialStreamWindowSize, defaultStreamWindow)),
			MaxReceiveBufferPerConnection: int(window(opt.HTTP2.InitialConnectionWindowSize, defaultConnWindow)),
		},
	})
	if err == nil {
		transport.AllowHTTP = true
		transport.MaxHeaderListSize = uint32(opt.MaxHeadersBytes)
		transport.MaxDecoderHeaderTableSize = opt.HTTP2.HPACKTableSize
		transport.MaxEncoderHeaderTableSize = opt.HTTP2.HPACKTableSize
		cc := &ClientConn{opt: opt, conn: &watchedConn{Conn: c, gone: opt.Gone}}
		if cc.cc, err = transport.NewClientConn(cc.conn); err == nil {
			return cc, nil
		}
	}
	_ = c.Close() // the first error counts
	return nil, err
}

// NewStream begins an exchange.
func (cc *ClientConn) NewStream() (codec.ClientStream, error) {
	cc.mu.Lock()
	defer cc.mu.Unlock()
	if !cc.canTake() {
		return nil, errBusy
	}
	st := &clientStream{cc: cc, used: cc.used}
	st.ctx, st.cancel = context.WithCancel(context.Background())
	cc.active++
	cc.used = true
	return st, nil
}

// CanTake tells whether a stream can be opened now: the connection lives, is not going away, and neither the peer's limit
// nor ours is reached.
func (cc *ClientConn) CanTake() bool {
	cc.mu.Lock()
	defer cc.mu.Unlock()
	return cc.canTake()
}

func (cc *ClientConn) canTake() bool {
	if cc.closed || !cc.cc.CanTakeNewRequest() {
		return false
	}
	limit := or(cc.cc.State().MaxConcurrentStreams, streamsBeforeSettings)
	if own := cc.opt.HTTP2.MaxConcurrentStreams; own > 0 {
		limit = min(limit, own)
	}
	return cc.active < limit
}

// Active is the number of exchanges under way.
func (cc *ClientConn) Active() int {
	cc.mu.Lock()
	defer cc.mu.Unlock()
	return int(cc.active)
}

func (cc *ClientConn) leave() {
	cc.mu.Lock()
	cc.active--
	cc.mu.Unlock()
	if cc.opt.Release != nil {
		cc.opt.Release()
	}
}

// Close ends the connection and all exchanges on it.
func (cc *ClientConn) Close() error {
	cc.mu.Lock()
	cc.closed = true
	cc.mu.Unlock()
	return cc.cc.Close()
}
