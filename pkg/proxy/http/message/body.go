package message

import (
	"io"
	"net"
)

// Buffered is implemented by bodies that know what they hold. Codecs ask it to send a head and its body in one write, and
// to flush before a read that would wait; a body without it is taken to wait on every read.
type Buffered interface {
	// Buffered returns how many payload bytes can be read without waiting; whole tells that nothing comes after them, so
	// that the io.EOF does not wait either.
	Buffered() (n int, whole bool)
}

// Mover is implemented by bodies whose payload can go from one socket to another without passing through memory of the
// process.
type Mover interface {
	// Move passes payload on to dst in place of a Read, as much as there is within the body's own bounds, and waits for
	// some. moved is false when that is not possible now, or not worth while: then Read it. readErr is as Read's; writeErr
	// is that of dst, which is in no order then.
	Move(dst net.Conn) (n int, moved bool, readErr, writeErr error)
}

// Move is b.Move where b is a Mover.
func Move(b Body, dst net.Conn) (n int, moved bool, readErr, writeErr error) {
	if m, ok := b.(Mover); ok {
		return m.Move(dst)
	}
	return 0, false, nil, nil
}

// Bytes is a body held in memory, for local replies. Make it with NewBytes or NewString.
type Bytes struct {
	data string
	raw  []byte
}

// NewBytes returns a body of b, which must not change while the body is in use.
func NewBytes(b []byte) *Bytes { return &Bytes{raw: b} }

// NewString returns a body of s.
func NewString(s string) *Bytes { return &Bytes{data: s} }

// Read implements Body.
func (b *Bytes) Read(p []byte) (int, error) {
	n := copy(p, b.raw)
	b.raw = b.raw[n:]
	m := copy(p[n:], b.data)
	b.data = b.data[m:]
	if len(b.raw)+len(b.data) == 0 {
		return n + m, io.EOF
	}
	return n + m, nil
}

// Trailers implements Body: there are none.
func (*Bytes) Trailers() *Headers { return nil }

// Close implements Body. It leaves everything as it is: no Read waits that it would have to wake up, and one that runs beside it, on the
// goroutine that sends a request, must not find the body at a proper end before all of it was read.
func (*Bytes) Close() error { return nil }

// Buffered implements Buffered.
func (b *Bytes) Buffered() (n int, whole bool) { return len(b.raw) + len(b.data), true }

var (
	_ Body     = (*Bytes)(nil)
	_ Buffered = (*Bytes)(nil)
)
