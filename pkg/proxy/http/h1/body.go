package h1

import (
	"io"
	"sync/atomic"

	"github.com/weir-proxy/weir/pkg/proxy/http/message"
)

// bodyOwner is the stream that a received body belongs to.
type bodyOwner interface {
	// beforeRead runs before the first read.
	beforeRead() error
	// readFailed turns the error of a read into what the reader of the body shall see.
	readFailed(err error) error
	// countBody adds received payload bytes.
	countBody(n int)
	// wakeReader makes a blocked read of the connection return.
	wakeReader()
}

// body is the payload of a received message. One goroutine reads; Close may come from another.
type body struct {
	rd       *reader
	owner    bodyOwner
	frame    framing
	left     int64 // of the body (framedLength) or of the chunk (framedChunks)
	chunk    chunkState
	limits   limits
	keep     bool // trailers are wanted
	started  bool
	err      error // what every later read returns
	closed   atomic.Bool
	whole    atomic.Bool // err is io.EOF
	trailers message.Headers
}

// init says once what the bodies of a connection have in common.
func (b *body) init(rd *reader, owner bodyOwner, lim limits) {
	b.rd, b.owner, b.limits = rd, owner, lim
	b.reset(framedNone, 0, false)
}

// reset prepares for a message; left is the content length of framedLength. Storing an atomic costs more than loading it.
func (b *body) reset(frame framing, left int64, keepTrailers bool) {
	if b.trailers.Len() > 0 {
		b.trailers.Reset()
	}
	b.frame, b.left, b.keep, b.chunk, b.started, b.err = frame, left, keepTrailers, chunkSize, false, nil
	if b.closed.Load() {
		b.closed.Store(false)
	}
	none := frame == framedNone
	if none {
		b.err = io.EOF
	}
	if b.whole.Load() != none {
		b.whole.Store(none)
	}
}

// finish marks the proper end of the body.
func (b *body) finish() {
	b.err = io.EOF
	b.whole.Store(true)
}

// complete tells whether the whole body was received.
func (b *body) complete() bool { return b.err == io.EOF }

// Read implements message.Body.
func (b *body) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	if b.closed.Load() {
		return 0, errBodyClosed
	}
	if !b.started {
		b.started = true
		if err := b.owner.beforeRead(); err != nil {
			return 0, b.fail(err)
		}
	}
	if len(p) == 0 {
		return 0, nil
	}
	var n int
	var err error
	if b.frame == framedChunks {
		n, err = b.readChunked(p)
	} else {
		n, err = b.readPlain(p)
	}
	b.owner.countBody(n)
	if err != nil && n > 0 && err != io.EOF {
		return n, nil // b.err has it for the next read
	}
	return n, err
}

// readPlain reads a body without inner framing: what is buffered first, then from the connection straight into p.
func (b *body) readPlain(p []byte) (int, error) {
	if b.frame == framedLength && int64(len(p)) > b.left {
		p = p[:b.left]
	}
	n := copy(p, b.rd.unread())
	b.rd.r += n
	if n == 0 {
		var err error
		if n, err = b.rd.conn.Read(p); err != nil && n == 0 {
			return 0, b.ended(err)
		}
	}
	if b.frame != framedLength {
		return n, nil
	}
	if b.left -= int64(n); b.left == 0 {
		b.finish()
	}
	return n, b.err
}

// ended maps the error of a read to the end of the body, where the connection's end is it.
func (b *body) ended(err error) error {
	if err == io.EOF && (b.frame == framedEOF || b.frame == framedRaw) {
		b.finish()
		return io.EOF
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return b.fail(err)
}

func (b *body) fail(err error) error {
	if b.closed.Load() {
		err = errBodyClosed
	} else {
		err = b.owner.readFailed(err)
	}
	b.err = err
	return err
}

// Trailers implements message.Body.
func (b *body) Trailers() *message.Headers {
	if b.err != io.EOF || b.trailers.Len() == 0 {
		return nil
	}
	return &b.trailers
}

// Close implements message.Body. It wakes up a Read of another goroutine.
func (b *body) Close() error {
	if b.closed.Swap(true) || b.whole.Load() {
		return nil
	}
	b.owner.wakeReader()
	return nil
}

// Buffered implements message.Buffered.
func (b *body) Buffered() (n int, whole bool) {
	if b.err != nil {
		return 0, true
	}
	switch b.frame {
	case framedLength:
		n = int(min(int64(b.rd.buffered()), b.left))
		return n, int64(n) == b.left
	case framedChunks:
		if b.advance() != nil || b.chunk == chunkDone {
			return 0, true // the read that follows reports it without waiting
		}
		if b.chunk == chunkData {
			n = int(min(int64(b.rd.buffered()), b.left))
		}
		return n, false
	}
	return b.rd.buffered(), false
}

var (
	_ message.Body     = (*body)(nil)
	_ message.Buffered = (*body)(nil)
)
