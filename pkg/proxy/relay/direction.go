package relay

import (
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"sync/atomic"

	"github.com/weir-proxy/weir/pkg/proxy/conn"
)

// direction is one way of a relay. What moves its bytes is, in turn, the poller's goroutine (advance) and one of its own (carry).
type direction struct {
	r                    *relay
	src, dst             *Side
	srcFailed, dstFailed End
	in, out              *conn.Conn  // nil for what is not a plain socket
	resume               func()      // advance
	read, written        uint64      // bytes
	ended                atomic.Bool // src sends no more
}

// state is how a direction goes on.
type state uint8

const (
	dry   state = iota // there is nothing to move now
	heavy              // there is more than a little, or no room for it
	over               // it has ended
)

func (d *direction) init(r *relay, src, dst *Side, srcFailed, dstFailed End) {
	*d = direction{r: r, src: src, dst: dst, srcFailed: srcFailed, dstFailed: dstFailed}
	d.in, _ = src.Conn.(*conn.Conn)
	d.out, _ = dst.Conn.(*conn.Conn)
}

// begin starts the direction on a goroutine that must not wait.
func (d *direction) begin() {
	switch {
	case d.in == nil:
		go d.carry()
	case d.out == nil:
		d.in.WhenReadable(d.carry)
	default:
		d.resume = d.advance
		d.advance()
	}
}

// patience is how often advance looks for more before it leaves the direction to a goroutine: a peer that never pauses would keep
// others waiting.
const patience = 4

// advance moves what is there, without waiting.
func (d *direction) advance() {
	defer d.recovered()
	b := d.r.pool.get(false)
	for range patience {
		s, left := d.little(*b)
		if len(left) > 0 {
			go d.flush(b, left)
			return
		}
		if s == over {
			d.r.pool.put(b)
			d.finish()
			return
		}
		if s == dry && d.in.Rest(d.resume) {
			d.r.pool.put(b)
			return
		}
		if s == heavy {
			break
		}
	}
	d.r.pool.put(b)
	go d.carry()
}

// little moves what fits into b. What the destination has no room for is left.
func (d *direction) little(b []byte) (s state, left []byte) {
	n, err := d.in.TryRead(b)
	if n > 0 {
		d.received(n)
		sent, err := d.out.TryWrite(b[:n])
		d.sent(sent)
		switch {
		case err != nil:
			return d.outcome(nil, err), nil
		case n == len(b):
			return heavy, b[sent:]
		}
		return dry, b[sent:n]
	}
	if errors.Is(err, conn.ErrWouldBlock) {
		return dry, nil
	}
	return d.outcome(err, nil), nil
}

// received accounts for bytes that were read.
func (d *direction) received(n int) {
	d.read += uint64(n)
	if d.src.Received != nil {
		d.src.Received(n)
	}
	d.r.touch()
}

// sent accounts for bytes that were written.
func (d *direction) sent(n int) {
	d.written += uint64(n)
	if d.dst.Sent != nil {
		d.dst.Sent(n)
	}
}

// flush writes what is left of b and then carries on.
func (d *direction) flush(b *[]byte, left []byte) {
	defer d.recovered()
	n, err := d.dst.Conn.Write(left)
	d.sent(n)
	d.r.touch()
	d.r.pool.put(b)
	if d.outcome(nil, err) == over {
		d.finish()
		return
	}
	d.carry()
}

// carry moves bytes on a goroutine, until the direction has ended, or little comes and the poller can go on.
func (d *direction) carry() {
	defer d.recovered()
	l := &lent{pool: d.r.pool, large: d.in != nil}
	for {
		n, readErr, writeErr := d.burst(l)
		if d.outcome(readErr, writeErr) == over {
			d.finish()
			return
		}
		if d.resume != nil && n < recordSize && d.in.Rest(d.resume) {
			return
		}
	}
}

// burst waits for bytes, without a buffer where that can be told, then moves what is there.
func (d *direction) burst(l *lent) (total uint64, readErr, writeErr error) {
	defer l.TakeBack()
	n := 0
	if d.in != nil {
		n, readErr = d.in.ReadLent(l)
	} else {
		n, readErr = d.src.Conn.Read(l.Lend())
	}
	for {
		buf := l.Lend()
		if n > 0 {
			d.received(n)
			var sent int
			sent, writeErr = d.dst.Conn.Write(buf[:n])
			d.sent(sent)
			d.r.touch()
			if writeErr != nil {
				return total, nil, writeErr
			}
			total += uint64(n)
		}
		if n == len(buf) && d.in != nil {
			moved, readErr, writeErr := d.bulk()
			total += moved
			if readErr != nil || writeErr != nil {
				return total, readErr, writeErr
			}
		}
		if readErr != nil || d.in == nil {
			return total, readErr, nil
		}
		if n, readErr = d.in.TryRead(buf); errors.Is(readErr, conn.ErrWouldBlock) {
			return total, nil, nil
		}
	}
}

// bulk moves bytes from socket to socket for as long as many come at once.
func (d *direction) bulk() (total uint64, readErr, writeErr error) {
	if d.out == nil {
		return 0, nil, nil
	}
	for n := bufferSize; n >= bufferSize && readErr == nil && writeErr == nil && d.in.Spliceable(); {
		var written int
		n, written, readErr, writeErr = d.out.Splice(d.in, conn.SpliceSize)
		if n > 0 {
			d.received(n)
			d.sent(written)
		}
		total += uint64(n)
	}
	return total, readErr, writeErr
}

// outcome tells whether the direction is over. An end is passed on.
func (d *direction) outcome(readErr, writeErr error) state {
	switch {
	case errors.Is(writeErr, conn.ErrHurried):
		d.r.fail(d.srcFailed, errLost)
	case writeErr != nil:
		d.r.fail(d.dstFailed, writeErr)
	case readErr == nil:
		return dry
	case !errors.Is(readErr, io.EOF):
		d.r.fail(d.srcFailed, readErr)
	default:
		if d.ended.Store(true); d.src == &d.r.down && d.r.lost.Load() {
			d.r.fail(d.srcFailed, errLost)
			return over
		}
		if err := d.r.passEnd(d.dst.Conn); err != nil && !gone(err) {
			d.r.fail(d.dstFailed, err)
		}
	}
	return over
}

// finish counts the direction out; the last one ends the relay.
func (d *direction) finish() {
	if d.r.left.Add(-1) == 0 {
		d.r.finish()
	}
}

// recovered ends the relay on a panic.
func (d *direction) recovered() {
	if d.r.panicked == nil {
		return
	}
	if p := recover(); p != nil {
		d.r.fail(Aborted, fmt.Errorf("panic: %v", p))
		d.r.panicked(p, debug.Stack())
		d.finish()
	}
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
