package httprouter

import (
	"io"
	"sync/atomic"
	"time"

	"github.com/weir-proxy/weir/pkg/proxy/http/message"
)

// sendBody is the request body as the attempts see it. While a retry is possible it keeps what was read, up to a bound,
// and gives it again to the next attempt. One attempt reads it at a time.
type sendBody struct {
	x        *exchange
	src      message.Body
	kept     []byte
	at       int // read position in kept
	keep     bool
	began    atomic.Bool
	overflow atomic.Bool  // more was read than may be kept
	complete atomic.Bool  // src is at its end; stored after everything else
	endAt    atomic.Int64 // when, as in streaminfo.Timing
}

var _ message.Buffered = (*sendBody)(nil)

func (b *sendBody) begin(src message.Body) {
	b.src, b.at, b.kept = src, 0, b.kept[:0]
	b.began.Store(false)
	b.overflow.Store(false)
	b.complete.Store(false)
	b.endAt.Store(0)
	b.keep = b.x.retry.on != 0 && !b.x.upgrade
}

// maxKept bounds the buffer that a pooled exchange holds on to.
const maxKept = 64 << 10

func (b *sendBody) release() {
	b.src = nil
	if cap(b.kept) > maxKept {
		b.kept = nil
	}
}

// used tells whether an attempt has read of it.
func (b *sendBody) used() bool { return b.src != nil && b.began.Load() }

// rewind starts again for the next attempt; only allowed while overflow is not set.
func (b *sendBody) rewind() { b.at = 0 }

// Read implements message.Body.
func (b *sendBody) Read(p []byte) (int, error) {
	b.began.Store(true)
	if b.at < len(b.kept) {
		n := copy(p, b.kept[b.at:])
		b.at += n
		if b.complete.Load() && b.at == len(b.kept) {
			return n, io.EOF
		}
		return n, nil
	}
	if b.complete.Load() {
		return 0, io.EOF
	}
	n, err := b.src.Read(p)
	if b.keep && n > 0 {
		if len(b.kept)+n > b.x.f.deps.BufferLimit {
			b.keep = false
			b.overflow.Store(true)
		} else {
			b.kept = append(b.kept, p[:n]...)
			b.at = len(b.kept)
		}
	}
	if err == io.EOF {
		b.endAt.Store(b.x.s.Info.Since(time.Now()))
		b.complete.Store(true)
		b.x.requestDone()
	}
	return n, err
}

// Buffered implements message.Buffered.
func (b *sendBody) Buffered() (n int, whole bool) {
	left := len(b.kept) - b.at
	if left > 0 || b.complete.Load() {
		return left, b.complete.Load()
	}
	if src, ok := b.src.(message.Buffered); ok {
		return src.Buffered()
	}
	return 0, false
}

// Trailers implements message.Body.
func (b *sendBody) Trailers() *message.Headers { return b.src.Trailers() }

// Close implements message.Body: it wakes up a Read that waits for the downstream. What was received wholly stays
// readable for the next attempt.
func (b *sendBody) Close() error {
	if b.complete.Load() {
		return nil
	}
	return b.src.Close()
}

// recvBody is the response body on its way down.
type recvBody struct {
	x    *exchange
	src  message.Body
	done bool
}

var _ message.Buffered = (*recvBody)(nil)

func (b *recvBody) begin(src message.Body) { b.src, b.done = src, false }

func (b *recvBody) release() { b.src = nil }

// Read implements message.Body.
func (b *recvBody) Read(p []byte) (int, error) {
	if idle := b.x.limits.perTryIdle; idle > 0 && !b.done {
		b.x.arm(&b.x.idle, idle)
		defer b.x.disarm(&b.x.idle)
	}
	n, err := b.src.Read(p)
	if err != nil && !b.done {
		b.done = true
		x := b.x
		x.disarm(&x.global)
		if err == io.EOF {
			x.s.Info.Timing.LastUpstreamRx = x.s.Info.Since(time.Now())
			x.s.Format.Trailers = b.src.Trailers()
		} else {
			x.broken(err)
		}
	}
	return n, err
}

// Buffered implements message.Buffered.
func (b *recvBody) Buffered() (n int, whole bool) {
	if src, ok := b.src.(message.Buffered); ok {
		return src.Buffered()
	}
	return 0, false
}

// Trailers implements message.Body.
func (b *recvBody) Trailers() *message.Headers { return b.src.Trailers() }

// Close implements message.Body.
func (b *recvBody) Close() error { return b.src.Close() }
