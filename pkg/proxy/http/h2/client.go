package h2

import (
	"net"
	"sync"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/http/codec"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
)

// ClientOptions configure the client side of a connection. The zero value is usable.
type ClientOptions struct {
	// Info is what Conn of the streams returns; Reused is set by the codec.
	Info  codec.ConnInfo
	HTTP2 model.HTTP2Options
	// MaxHeadersBytes bounds a response head; default 61440. MaxHeadersCount bounds its fields; default 100.
	MaxHeadersBytes, MaxHeadersCount int
	// Gone is called exactly once, on a goroutine of the codec, when the connection has ended for whatever reason. It must
	// not wait for Close. May be nil.
	Gone func()
	// Release is called exactly once for each stream, at its end. May be nil.
	Release func()
	// Stats may be nil.
	Stats *Stats
	// Shared should be the same for all connections; nil gives this one its own.
	Shared *Shared
}

// ClientConn is the client side of one connection. Make it with NewClientConn.
type ClientConn struct {
	link
	opt   ClientOptions
	build responseBuilder // of the reader
	ready sync.Cond       // settings came, or the connection ended

	// Guarded by mu.
	active    uint32
	used      bool
	goingAway bool
	away      *goAwayError
}

// NewClientConn makes the client side of c, which it owns from then on, and sends the preface. An error means that c is
// closed.
func NewClientConn(c net.Conn, opt ClientOptions) (*ClientConn, error) {
	if opt.Gone == nil {
		opt.Gone = func() {}
	}
	if opt.Stats == nil {
		opt.Stats = NewStats(nil)
	}
	if opt.Shared == nil {
		opt.Shared = NewShared()
	}
	opt.Info.Version = message.HTTP2
	cc := &ClientConn{opt: opt}
	cc.limits = newLimits(&opt.HTTP2, opt.MaxHeadersBytes, opt.MaxHeadersCount, 0)
	cc.stats, cc.shared = opt.Stats, opt.Shared
	cc.link.init(c, cc, true)
	cc.ready.L = &cc.mu
	cc.build.cc = cc
	cc.greet(appendSetting(nil, settingEnablePush, 0), opt.HTTP2.Settings)
	cc.mu.Lock()
	cc.keep.start(&cc.link)
	cc.mu.Unlock()
	cc.wg.Go(cc.run)
	return cc, nil
}

// run reads until the connection ends.
func (cc *ClientConn) run() {
	err := cc.reason(cc.readFrames())
	cc.goodbye(err)
	cc.rd.release()
	_ = cc.nc.Close() // nothing depends on it any more
	cc.mu.Lock()
	cc.closeWorkers()
	cc.mu.Unlock()
	cc.opt.Gone()
}

// NewStream begins an exchange.
func (cc *ClientConn) NewStream() (codec.ClientStream, error) {
	cc.mu.Lock()
	defer cc.mu.Unlock()
	if !cc.canTake() {
		return nil, errBusy
	}
	st := cc.shared.clients.Get().(*clientStream)
	st.reset(cc)
	st.used = cc.used
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
	if cc.err != nil || cc.goingAway || cc.lastID >= maxStreamID-2*(cc.active+1) {
		return false
	}
	limit := cc.peerStreams
	if own := cc.limits.streams; own > 0 {
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

// Close ends the connection and all exchanges on it, and waits for the connection's goroutines.
func (cc *ClientConn) Close() error {
	cc.sever(errClosed)
	cc.wg.Wait()
	cc.mu.Lock()
	cc.dropOut()
	cc.mu.Unlock()
	return nil
}

// goneAway implements side: streams that the server has not taken may be sent elsewhere.
func (cc *ClientConn) goneAway(last uint32, code errCode) {
	cc.goingAway = true
	cc.away = &goAwayError{code, last}
	for id, st := range cc.streams {
		if id > last {
			st.leave(closedByPeer)
			st.end(cc.away)
		}
	}
	cc.endIfIdle()
}

// endIfIdle ends a connection that the server gives up, after the last stream. The caller holds mu.
func (cc *ClientConn) endIfIdle() {
	if cc.goingAway && cc.active == 0 && cc.err == nil {
		cc.fail(cc.away)
		unblock(cc.nc)
	}
}

// heading implements side.
func (cc *ClientConn) heading(bool) {}

// lastTaken implements side: servers open no streams.
func (cc *ClientConn) lastTaken() uint32 { return 0 }

// settled implements side.
func (cc *ClientConn) settled() { cc.ready.Broadcast() }

// pinged implements side.
func (cc *ClientConn) pinged([pingLen]byte) {}

// wasReset implements side.
func (cc *ClientConn) wasReset(*stream) error { return nil }

// afterReset implements side.
func (cc *ClientConn) afterReset() {}

// serve implements side: a client serves nothing.
func (cc *ClientConn) serve(*stream) {}

// headers implements side.
func (cc *ClientConn) headers(id uint32, end bool, block []byte) error {
	cc.mu.Lock()
	defer cc.mu.Unlock()
	if cc.idle(id) {
		return connErrorf(codeProtocol, "HEADERS on stream %d, which is idle", id)
	}
	base := cc.streams[id]
	if base == nil {
		cc.stats.HeadersCBNoStream.Inc()
		return cc.skip(block)
	}
	if st := base.cli; !st.gotHead {
		return cc.responseHead(st, end, block)
	}
	b := trailerBuilder{st: base, limits: &cc.limits}
	if err := cc.dec.decode(block, &b); err != nil {
		return compression(err)
	}
	return cc.endWithTrailers(base, end, &b)
}

var _ side = (*ClientConn)(nil)
