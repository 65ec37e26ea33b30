// Package relay copies bytes both ways between two connections until both directions have ended.
//
// It owns the copying: half-close is passed on, a reset is mirrored as a reset, nothing is buffered beyond one buffer per
// direction, and that only while bytes are under way. It must not know who the two sides are. The caller closes both
// connections afterwards. One goroutine per direction; Run waits for both.
package relay

import (
	"context"
	"errors"
	"io"
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
	// Received is told of the payload bytes read from this side; may be nil.
	Received func(n int)
}

// Options of a relay.
type Options struct {
	Pool *Pool
	// Wheel and Idle end the relay when no byte flowed either way for so long; an Idle of 0 disables.
	Wheel *timer.Wheel
	Idle  time.Duration
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
	// Aborted: the context ended it.
	Aborted
)

// Result is what happened.
type Result struct {
	// FromDownstream and FromUpstream are payload bytes that were read and handed on in full, save for the last piece
	// of a relay that did not finish.
	FromDownstream, FromUpstream uint64
	End                          End
	// Err is why, unless Finished.
	Err error
}

var errIdle = errors.New("idle timeout")

// relay is the state of one Run.
type relay struct {
	down, up Side
	pool     *Pool
	idleFor  time.Duration
	idle     timer.Timer

	mu     sync.Mutex
	failed bool // the first failure is the result's
	end    End
	err    error
}

// Run copies until both directions have ended.
func Run(ctx context.Context, down, up Side, o Options) Result {
	r := &relay{down: down, up: up, pool: o.Pool, idleFor: o.Idle}
	if o.Idle > 0 {
		r.idle.Init(o.Wheel, func() { r.fail(Idle, errIdle) })
		defer r.idle.Release()
		r.idle.Arm(o.Idle)
	}
	stop := context.AfterFunc(ctx, func() { r.fail(Aborted, context.Cause(ctx)) })
	defer stop()

	var res Result
	var fromUp atomic.Uint64
	var upward sync.WaitGroup
	upward.Go(func() { fromUp.Store(r.copy(&r.up, &r.down, UpstreamFailed, DownstreamFailed)) })
	res.FromDownstream = r.copy(&r.down, &r.up, DownstreamFailed, UpstreamFailed)
	upward.Wait()
	res.FromUpstream = fromUp.Load()

	r.mu.Lock()
	defer r.mu.Unlock()
	if r.failed {
		res.End, res.Err = r.end, r.err
		r.mirror()
	}
	return res
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

// mirror resets the side that did not fail, so that its peer does not take the end for an orderly one.
func (r *relay) mirror() {
	switch r.end {
	case DownstreamFailed:
		r.up.Reset()
	case UpstreamFailed:
		r.down.Reset()
	}
}

// copy moves bytes one way until src ends, and passes the end on. It gives the number of bytes handed on.
func (r *relay) copy(src, dst *Side, srcFailed, dstFailed End) (total uint64) {
	read := reader(src.Conn)
	for {
		n, readErr, writeErr := r.burst(read, src, dst)
		total += n
		switch {
		case writeErr != nil:
			r.fail(dstFailed, writeErr)
			return total
		case readErr == nil:
			continue
		case !errors.Is(readErr, io.EOF):
			r.fail(srcFailed, readErr)
			return total
		}
		if err := closeWrite(dst.Conn); err != nil && !gone(err) {
			r.fail(dstFailed, err)
		}
		return total
	}
}

// burst waits for bytes without a buffer, then moves what is there.
func (r *relay) burst(src readiness, from, to *Side) (total uint64, readErr, writeErr error) {
	if err := src.WaitReadable(); err != nil {
		return 0, err, nil
	}
	_, waits := src.(blocking)
	b := r.pool.get(!waits)
	defer r.pool.put(b)
	buf := *b
	for {
		n, err := src.TryRead(buf)
		if n > 0 {
			if from.Received != nil {
				from.Received(n)
			}
			r.touch()
			if _, err := to.Conn.Write(buf[:n]); err != nil {
				return total, nil, err
			}
			r.touch()
			total += uint64(n)
		}
		if n == len(buf) && !waits {
			moved, readErr, writeErr := r.bulk(from, to)
			total += moved
			if readErr != nil || writeErr != nil {
				return total, readErr, writeErr
			}
		}
		switch {
		case errors.Is(err, conn.ErrWouldBlock):
			return total, nil, nil
		case err != nil:
			return total, err, nil
		}
	}
}

// bulk moves bytes from socket to socket for as long as many come at once.
func (r *relay) bulk(from, to *Side) (total uint64, readErr, writeErr error) {
	src, ok := from.Conn.(*conn.Conn)
	if !ok {
		return 0, nil, nil
	}
	dst, ok := to.Conn.(*conn.Conn)
	if !ok {
		return 0, nil, nil
	}
	for n := bufferSize; n >= bufferSize && readErr == nil && writeErr == nil && src.Spliceable(); {
		n, readErr, writeErr = dst.Splice(src, conn.SpliceSize)
		if n > 0 && from.Received != nil {
			from.Received(n)
		}
		r.touch()
		total += uint64(n)
	}
	return total, readErr, writeErr
}

func (r *relay) touch() {
	if r.idleFor > 0 {
		r.idle.Arm(r.idleFor)
	}
}

// readiness reads as conn.Conn does.
type readiness interface {
	WaitReadable() error
	TryRead(p []byte) (int, error)
}

func reader(c net.Conn) readiness {
	if r, ok := c.(readiness); ok {
		return r
	}
	return blocking{c}
}

// blocking reads from connections that cannot tell readiness, such as TLS, where a record may be half there: the buffer
// is held while such a connection waits.
type blocking struct{ c net.Conn }

func (blocking) WaitReadable() error             { return nil }
func (b blocking) TryRead(p []byte) (int, error) { return b.c.Read(p) }

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
