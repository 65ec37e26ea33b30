package hcm

import (
	"io"
	"net"
	"sync/atomic"
	"time"

	"github.com/weir-proxy/weir/pkg/proxy/http/message"
)

// requestBody notes the progress and the end of the request. It may be read on another goroutine than the stream's.
type requestBody struct {
	s     *stream
	src   message.Body
	endAt atomic.Int64 // streaminfo.Timing.LastDownstreamRx; 0 before the end
}

var (
	_ message.Buffered = (*requestBody)(nil)
	_ message.Buffered = (*responseBody)(nil)
	_ message.Mover    = (*requestBody)(nil)
	_ message.Mover    = (*responseBody)(nil)
)

func (b *requestBody) begin(src message.Body) {
	b.src = src
	b.endAt.Store(0)
}

func (b *requestBody) end(now time.Time) { b.endAt.CompareAndSwap(0, b.s.info.Since(now)) }

// Read implements message.Body.
func (b *requestBody) Read(p []byte) (int, error) {
	n, err := b.src.Read(p)
	if n > 0 {
		b.s.activity.Add(1)
	}
	if err == io.EOF {
		b.end(time.Now())
	}
	return n, err
}

// Move implements message.Mover.
func (b *requestBody) Move(dst net.Conn) (n int, moved bool, readErr, writeErr error) {
	n, moved, readErr, writeErr = message.Move(b.src, dst)
	if n > 0 {
		b.s.activity.Add(1)
	}
	if readErr == io.EOF {
		b.end(time.Now())
	}
	return n, moved, readErr, writeErr
}

// Buffered implements message.Buffered.
func (b *requestBody) Buffered() (int, bool) { return buffered(b.src) }

// Trailers implements message.Body.
func (b *requestBody) Trailers() *message.Headers { return b.src.Trailers() }

// Close implements message.Body.
func (b *requestBody) Close() error { return b.src.Close() }

func buffered(src message.Body) (int, bool) {
	if b, ok := src.(message.Buffered); ok {
		return b.Buffered()
	}
	return 0, false
}

// responseBody notes the progress of the response and how it ended.
type responseBody struct {
	s      *stream
	src    message.Body
	failed error // why it ended before its time
}

func (b *responseBody) begin(src message.Body) { b.src, b.failed = src, nil }

// Read implements message.Body.
func (b *responseBody) Read(p []byte) (int, error) {
	n, err := b.src.Read(p)
	if n > 0 {
		b.s.activity.Add(1)
	}
	if err != nil && err != io.EOF {
		b.failed = err
	}
	return n, err
}

// Move implements message.Mover.
func (b *responseBody) Move(dst net.Conn) (n int, moved bool, readErr, writeErr error) {
	n, moved, readErr, writeErr = message.Move(b.src, dst)
	if n > 0 {
		b.s.activity.Add(1)
	}
	if readErr != nil && readErr != io.EOF {
		b.failed = readErr
	}
	return n, moved, readErr, writeErr
}

// Buffered implements message.Buffered.
func (b *responseBody) Buffered() (int, bool) { return buffered(b.src) }

// Trailers implements message.Body.
func (b *responseBody) Trailers() *message.Headers { return b.src.Trailers() }

// Close implements message.Body.
func (b *responseBody) Close() error { return b.src.Close() }
