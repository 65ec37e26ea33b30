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
	limit    int     // of kept
	taps     []*pipe // copies on their way to shadow clusters
	began    atomic.Bool
	overflow atomic.Bool  // more was read than may be kept
	complete atomic.Bool  // src is at its end; stored after everything else
	endAt    atomic.Int64 // when, as in streaminfo.Timing
}

var _ message.Buffered = (*sendBody)(nil)

func (b *sendBody) begin(src message.Body, keep bool) {
	b.src, b.at, b.kept = src, 0, b.kept[:0]
	set(&b.began, false)
	set(&b.overflow, false)
	set(&b.complete, src == nil)
	if b.endAt.Load() != 0 {
		b.endAt.Store(0)
	}
	b.keep, b.limit = keep, b.x.f.deps.BufferLimit
	if keep {
		b.limit = b.x.route.Rules.BufferLimit(b.limit)
	}
}

// set stores only what changes, since a store costs many times a load.
func set(b *atomic.Bool, v bool) {
	if b.Load() != v {
		b.Store(v)
	}
}

// maxKept bounds the buffer that a pooled exchange holds on to.
const maxKept = 64 << 10

func (b *sendBody) release() {
	b.src = nil
	for _, t := range b.taps {
		t.cut()
	}
	clear(b.taps)
	b.taps = b.taps[:0]
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
	if len(b.taps) > 0 {
		b.tap(p[:n], err)
	}
	if b.keep && n > 0 {
		if len(b.kept)+n > b.limit {
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

// tap passes what was read on to the copies. One that cannot keep up is given up.
func (b *sendBody) tap(p []byte, err error) {
	for _, t := range b.taps {
		switch {
		case !t.write(p):
			b.x.cluster.Stats().RetryOrShadowAbandoned.Inc()
		case err == io.EOF:
			t.finish(b.src.Trailers())
		case err != nil:
			t.cut()
		}
	}
}

// replay returns what was kept as a body of its own, for as long as the exchange lasts. The body must be complete.
func (b *sendBody) replay() message.Body {
	if b.src == nil {
		return nil
	}
	return &replay{Bytes: message.NewBytes(b.kept), trailers: b.src.Trailers()}
}

// replay is a body that was received wholly.
type replay struct {
	*message.Bytes
	trailers *message.Headers
}

// Trailers implements message.Body.
func (r *replay) Trailers() *message.Headers { return r.trailers }

// drop forgets a body that is not to be sent again.
func (b *sendBody) drop() { b.src, b.kept = nil, b.kept[:0] }

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
	x        *exchange
	src      message.Body
	trailers *message.Headers
	whole    bool // all of it was there with the head
	done     bool
}

var _ message.Buffered = (*recvBody)(nil)

func (b *recvBody) begin(src message.Body) {
	b.src, b.trailers, b.done = src, nil, false
	_, b.whole = b.Buffered()
}

func (b *recvBody) release() { b.src, b.trailers = nil, nil }

// Read implements message.Body.
func (b *recvBody) Read(p []byte) (int, error) {
	if idle := b.x.limits.perTryIdle; idle > 0 && !b.done {
		b.x.arm(&b.x.idle, idle)
		defer b.x.disarm(&b.x.idle)
	}
	n, err := b.src.Read(p)
	if err != nil && !b.done {
		b.ended(err)
	}
	return n, err
}

// ended notes how the body came to its end.
func (b *recvBody) ended(err error) {
	b.done = true
	b.x.disarm(&b.x.global)
	if err == io.EOF {
		b.end()
	} else {
		b.x.broken(err)
	}
}

// end notes that the response is complete. The clock is only read for one whose end was waited for.
func (b *recvBody) end() {
	x := b.x
	t := &x.s.Info.Timing
	if t.LastUpstreamRx = t.FirstUpstreamRx; !b.whole {
		t.LastUpstreamRx = x.s.Info.Since(time.Now())
	}
	b.trailers = b.src.Trailers()
	x.s.Format.Trailers = b.trailers
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
