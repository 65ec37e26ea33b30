package message

import "io"

// Buffered is implemented by bodies that know what they hold. Codecs ask it to send a head and its body in one write, and
// to flush before a read that would wait; a body without it is taken to wait on every read.
type Buffered interface {
	// Buffered returns how many payload bytes can be read without waiting; whole tells that nothing comes after them, so
	// that the io.EOF does not wait either.
	Buffered() (n int, whole bool)
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

// Close implements Body.
func (b *Bytes) Close() error {
	b.data, b.raw = "", nil
	return nil
}

// Buffered implements Buffered.
func (b *Bytes) Buffered() (n int, whole bool) { return len(b.raw) + len(b.data), true }

var (
	_ Body     = (*Bytes)(nil)
	_ Buffered = (*Bytes)(nil)
)
