// Package relay copies bytes both ways between two connections until both directions have ended.
//
// It owns the copying: half-close is passed on, a reset is mirrored as a reset, nothing is buffered beyond one buffer per
// direction, and that only while bytes are under way. It must not know who the two sides are. The caller closes both
// connections afterwards. One goroutine per direction, the upstream's from
// when it has something to say; Run waits for both.
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
	ended    atomic.Uint32 // directions that ended in order

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
	r.begin(&upward, func(total uint64) {
		fromUp.Store(total + r.copy(&r.up, &r.down, UpstreamFailed, DownstreamFailed))
		upward.Done()
	})
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

// greeting is how much the upstream may say before its direction has a goroutine. It fits into any socket that nothing was written
// to, so that handing it on does not wait.
const greeting = 4 << 10

// begin hands on what the upstream has sent already, and has rest copy what follows, on a goroutine of its own that starts when there
// is something: what has been copied already is told to it. Both count themselves out of upward.
func (r *relay) begin(upward *sync.WaitGroup, rest func(copied uint64)) {
	upward.Add(1)
	src, ok := r.up.Conn.(*conn.Conn)
	if !ok {
		go rest(0)
		return
	}
	b := r.pool.get(true)
	n, readErr := src.TryRead((*b)[:greeting])
	var writeErr error
	if n > 0 {
		writeErr = r.hand(&r.up, &r.down, (*b)[:n])
	}
	r.pool.put(b)
	if errors.Is(readErr, conn.ErrWouldBlock) {
		readErr = nil
	}
	if r.over(&r.down, readErr, writeErr, UpstreamFailed, DownstreamFailed) {
		upward.Done()
		return
	}
	src.WhenReadable(func() { rest(uint64(n)) })
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
	in, waits := src.Conn.(lending)
	l := &lent{pool: r.pool, large: waits}
	for {
		n, readErr, writeErr := r.burst(in, l, src, dst)
		total += n
		if r.over(dst, readErr, writeErr, srcFailed, dstFailed) {
			return total
		}
	}
}

// over tells whether a direction has ended, which it passes on to dst.
func (r *relay) over(dst *Side, readErr, writeErr error, srcFailed, dstFailed End) bool {
	switch {
	case writeErr != nil:
		r.fail(dstFailed, writeErr)
	case readErr == nil:
		return false
	case !errors.Is(readErr, io.EOF):
		r.fail(srcFailed, readErr)
	default:
		if err := r.passEnd(dst.Conn); err != nil && !gone(err) {
			r.fail(dstFailed, err)
		}
	}
	return true
}

// passEnd tells the peer that no more is coming. When the other direction has ended before, the caller does so by closing.
func (r *relay) passEnd(to net.Conn) error {
	last := r.ended.Add(1) == 2
	if _, plain := to.(*conn.Conn); plain && last {
		return nil
	}
	return closeWrite(to)
}

// burst waits for bytes, without a buffer unless src is nil, then moves what is there.
func (r *relay) burst(src lending, l *lent, from, to *Side) (total uint64, readErr, writeErr error) {
	defer l.TakeBack()
	n, waits := 0, src != nil
	if waits {
		n, readErr = src.ReadLent(l)
	} else {
		n, readErr = from.Conn.Read(l.Lend())
	}
	for {
		buf := l.Lend()
		if n > 0 {
			if writeErr = r.hand(from, to, buf[:n]); writeErr != nil {
				return total, nil, writeErr
			}
			total += uint64(n)
		}
		if n == len(buf) && waits {
			moved, readErr, writeErr := r.bulk(from, to)
			total += moved
			if readErr != nil || writeErr != nil {
				return total, readErr, writeErr
			}
		}
		if readErr != nil || !waits {
			return total, readErr, nil
		}
		if n, readErr = src.TryRead(buf); errors.Is(readErr, conn.ErrWouldBlock) {
			return total, nil, nil
		}
	}
}

// hand passes bytes on.
func (r *relay) hand(from, to *Side, b []byte) error {
	if from.Received != nil {
		from.Received(len(b))
	}
	r.touch()
	_, err := to.Conn.Write(b)
	r.touch()
	return err
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

// lending reads as conn.Conn does, without a buffer while it waits. Other connections cannot tell readiness, such as TLS, where a
// record may be half there: the buffer is held while such a connection waits.
type lending interface {
	ReadLent(l conn.Lender) (int, error)
	TryRead(p []byte) (int, error)
}

// lent is a buffer of the pool's that is there only while there is something to read.
type lent struct {
	pool  *Pool
	large bool
	b     *[]byte
}

// Lend implements conn.Lender.
func (l *lent) Lend() []byte {
	if l.b == nil {
		l.b = l.pool.get(l.large)
	}
	return *l.b
}

// TakeBack implements conn.Lender.
func (l *lent) TakeBack() {
	if l.b != nil {
		l.pool.put(l.b)
		l.b = nil
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
