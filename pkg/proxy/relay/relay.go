// Package relay copies bytes both ways between two connections until both directions have ended.
//
// It owns the copying: half-close is passed on, a reset is mirrored as a reset, nothing is buffered beyond one buffer per
// direction, and that only while bytes are under way. It must not know who the two sides are. The caller closes both
// connections afterwards.
//
// A direction between two plain sockets is continued by the poller that tells of bytes (docs/decisions/0015): what fits into one
// small buffer, and into the socket that it goes to, is moved there and then. Only what may wait, or is much, has a goroutine, which
// ends when little comes again. Directions from or to TLS have a goroutine from when there is something to move.
//
// Locking: a direction is carried on by one goroutine at a time, handed over by the poller or a go statement. relay.mu guards the
// reason of a failure alone.
package relay

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/weir-proxy/weir/pkg/proxy/conn"
	"github.com/weir-proxy/weir/pkg/proxy/timer"
)

const (
	// bufferSize is what one read takes at most: large enough that system calls do not show on bulk transfers.
	bufferSize = 128 << 10
	// recordSize is that for connections whose buffer is held while they wait: one TLS record (RFC 8446 section 5.1).
	recordSize = 16 << 10
)

// Pool keeps copy buffers. The zero value is usable.
type Pool struct{ large, small sync.Pool }

// get gives a buffer, which put takes back.
func (p *Pool) get(large bool) *[]byte {
	pool, size := &p.small, recordSize
	if large {
		pool, size = &p.large, bufferSize
	}
	if b, ok := pool.Get().(*[]byte); ok {
		return b
	}
	b := make([]byte, size)
	return &b
}

func (p *Pool) put(b *[]byte) {
	if len(*b) == bufferSize {
		p.large.Put(b)
	} else {
		p.small.Put(b)
	}
}

// Side is one of the two connections.
type Side struct {
	// Conn carries the payload: a *conn.Conn or a *tls.Conn over one.
	Conn net.Conn
	// Abort makes blocked reads and writes of Conn return; from any goroutine.
	Abort func()
	// Reset closes so that the peer sees a TCP reset.
	Reset func()
	// Received and Sent are told of the payload bytes read from this side and written to it; may be nil.
	Received, Sent func(n int)
	// Socket is Conn, or what Conn is a layer over: it tells when the peer has gone while nobody reads. May be nil.
	Socket *conn.Conn
}

// Options of a relay.
type Options struct {
	Pool *Pool
	// Wheel and Idle end the relay when no byte flowed either way for so long; an Idle of 0 disables.
	Wheel *timer.Wheel
	Idle  time.Duration
	// Panicked is told of a panic of Received, which ends the relay as Aborted; nil lets it pass.
	Panicked func(value any, stack []byte)
}

// End says how a relay ended.
type End uint8

// Ends.
const (
	// Finished: both sides closed in order.
	Finished End = iota
	// Idle: the idle timeout ended it.
	Idle
	// DownstreamFailed and UpstreamFailed: that side was reset or its connection broke; the other one has been reset.
	DownstreamFailed
	UpstreamFailed
	// Aborted: the context ended it, or a panic.
	Aborted
)

// Result is what happened.
type Result struct {
	// FromDownstream and FromUpstream are payload bytes that were read, ToUpstream and ToDownstream those that were written: fewer
	// when the relay did not finish.
	FromDownstream, ToUpstream, FromUpstream, ToDownstream uint64
	End                                                    End
	// Err is why, unless Finished.
	Err error
}

var (
	errIdle = errors.New("idle timeout")
	errLost = errors.New("the peer has gone while its bytes waited for room")
)

// relay is the state of one Start.
type relay struct {
	down, up Side
	pool     *Pool
	idleFor  time.Duration
	idle     timer.Timer
	panicked func(value any, stack []byte)
	stop     func() bool // ends the watch of the context
	done     func(Result)
	toUp     direction
	toDown   direction
	lost     atomic.Bool   // the downstream's socket has failed
	left     atomic.Int32  // directions that are not over
	ended    atomic.Uint32 // directions that ended in order

	mu     sync.Mutex
	failed bool // the first failure is the result's
	end    End
	err    error
}

// Start begins to copy, without waiting, and calls done once when both directions have ended, perhaps before it returns. done may be
// called on the poller's goroutine, so it must not wait.
func Start(ctx context.Context, down, up Side, o Options, done func(Result)) {
	r := &relay{down: down, up: up, pool: o.Pool, idleFor: o.Idle, panicked: o.Panicked, done: done}
	if o.Idle > 0 {
		r.idle.Init(o.Wheel, func() { r.fail(Idle, errIdle) })
		r.idle.Arm(o.Idle)
	}
	r.left.Store(2)
	r.toDown.init(r, &r.up, &r.down, UpstreamFailed, DownstreamFailed)
	r.toUp.init(r, &r.down, &r.up, DownstreamFailed, UpstreamFailed)
	r.stop = context.AfterFunc(ctx, func() { r.fail(Aborted, context.Cause(ctx)) })
	if down.Socket != nil {
		down.Socket.WatchLoss(r)
	}
	r.toDown.begin() // a greeting is what the client waits for
	r.toUp.begin()
}

// finish gives the result, after both directions.
func (r *relay) finish() {
	r.stop()
	if r.idleFor > 0 {
		r.idle.Release()
	}
	res := Result{
		FromDownstream: r.toUp.read, ToUpstream: r.toUp.written, FromUpstream: r.toDown.read, ToDownstream: r.toDown.written,
	}
	r.mu.Lock()
	if r.failed {
		res.End, res.Err = r.end, r.err
	}
	r.mu.Unlock()
	r.mirror(res.End)
	r.done(res)
}

// fail ends both directions; the first reason counts.
func (r *relay) fail(end End, err error) {
	r.mu.Lock()
	first := !r.failed
	if first {
		r.failed, r.end, r.err = true, end, err
	}
	r.mu.Unlock()
	if first {
		r.down.Abort()
		r.up.Abort()
	}
}

// Lost is told by the downstream's socket that it has failed, which nobody finds out who reads, while the upstream has no room or the
// client has ended its direction before. What there is room for goes to the upstream still. A client is not told at once of an
// upstream that has gone: it is to have what was said before.
func (r *relay) Lost() {
	r.lost.Store(true)
	if r.up.Socket != nil {
		r.up.Socket.Hurry()
	}
	if r.toUp.ended.Load() {
		r.fail(DownstreamFailed, errLost)
	}
}

// mirror resets the side that did not fail, so that its peer does not take the end for an orderly one.
func (r *relay) mirror(end End) {
	switch end {
	case DownstreamFailed:
		r.up.Reset()
	case UpstreamFailed:
		r.down.Reset()
	}
}

// passEnd tells the peer that no more is coming. When the other direction has ended before, the caller does so by closing.
func (r *relay) passEnd(to net.Conn) error {
	last := r.ended.Add(1) == 2
	if _, plain := to.(*conn.Conn); plain && last {
		return nil
	}
	return closeWrite(to)
}

func (r *relay) touch() {
	if r.idleFor > 0 {
		r.idle.Arm(r.idleFor)
	}
}

func closeWrite(c net.Conn) error {
	if h, ok := c.(interface{ CloseWrite() error }); ok {
		return h.CloseWrite()
	}
	return nil
}

// gone tells of a peer that closed before our end reached it: both directions have ended then, which is no failure.
func gone(err error) bool {
	return errors.Is(err, syscall.ENOTCONN) || errors.Is(err, syscall.EPIPE) || errors.Is(err, net.ErrClosed)
}
