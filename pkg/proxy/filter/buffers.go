package filter

import (
	"errors"
	"io"
	"sync"

	"github.com/weir-proxy/weir/pkg/observe/stats"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
)

// ErrTooLarge tells that a body is over the limit that it was to be buffered within.
var ErrTooLarge = errors.New("the body is larger than the buffer")

// Buffers read bodies into pooled memory. Filters of one connection manager share them; they are safe for concurrent use.
type Buffers struct {
	pool sync.Pool
	// requests and responses count the bodies that were too large.
	requests, responses *stats.Counter
}

// NewBuffers returns buffers that count in the scope of a connection manager.
func NewBuffers(scope *stats.Scope) *Buffers {
	return &Buffers{requests: scope.Counter("downstream_rq_too_large"), responses: scope.Counter("rs_too_large")}
}

// Request reads the body of the request to its end, at most limit bytes of it, and puts what was read in its place. It
// returns nil when there is no body. After ErrTooLarge the request can still be sent on: the rest follows what was read.
// Any other error is why the request ended.
func (b *Buffers) Request(s *Stream, limit int) (*Held, error) {
	r := s.Request
	if r.Body == nil {
		return nil, nil
	}
	if r.ContentLength > int64(limit) {
		return nil, ErrTooLarge
	}
	h, err := b.read(s, r.Body, r.ContentLength, limit)
	if h != nil {
		r.Body = h
	}
	return h, err
}

// Response does with a response what Request does with the request.
func (b *Buffers) Response(s *Stream, resp *message.Response, limit int) (*Held, error) {
	if resp.Body == nil {
		return nil, nil
	}
	h, err := b.read(s, resp.Body, resp.ContentLength, limit)
	if h != nil {
		resp.Body = h
	}
	return h, err
}

// RefuseRequest answers a request whose body is too large.
func (b *Buffers) RefuseRequest(s *Stream) *message.Response {
	b.requests.Inc()
	return s.Reply(Reply{Status: 413, Body: "Payload Too Large", Details: "request_payload_too_large"})
}

// RefuseResponse answers in place of a response whose body is too large.
func (b *Buffers) RefuseResponse(s *Stream) *message.Response {
	b.responses.Inc()
	return s.Reply(Reply{Status: 500, Body: "Internal Server Error", Details: "response_payload_too_large"})
}

// Sizes of the memory that is taken and kept, in bytes.
const (
	firstHeld = 4 << 10
	maxPooled = 256 << 10
)

func (b *Buffers) read(s *Stream, src message.Body, hint int64, limit int) (*Held, error) {
	h, _ := b.pool.Get().(*Held)
	if h == nil {
		h = &Held{}
	}
	h.pool, h.src = &b.pool, src
	s.AtEnd(h)
	if 0 < hint && int64(cap(h.data)) <= hint {
		h.data = make([]byte, 0, min(int(min(hint, int64(limit))), maxFirst)+1) // one more shows the end, or that it is too large
	}
	for {
		if len(h.data) == cap(h.data) {
			h.grow(limit)
		}
		n, err := src.Read(h.data[len(h.data):cap(h.data)])
		h.data = h.data[:len(h.data)+n]
		h.whole = err == io.EOF
		switch {
		case len(h.data) > limit:
			return h, ErrTooLarge
		case h.whole:
			return h, nil
		case err != nil:
			return nil, err
		}
	}
}

// maxFirst bounds what is taken because a peer announced a length.
const maxFirst = 64 << 10

// grow makes room for more. More than one byte over the limit is never needed.
func (h *Held) grow(limit int) {
	next := make([]byte, len(h.data), max(len(h.data)+1, min(limit+1, max(firstHeld, 2*cap(h.data)))))
	copy(next, h.data)
	h.data = next
}

// Held is a body of which a part, usually all of it, is in memory. It can be read more than once. Its memory goes back when
// the stream ends.
type Held struct {
	pool  *sync.Pool
	src   message.Body // what follows data; its trailers are the body's
	data  []byte
	at    int
	whole bool // nothing follows data
}

var (
	_ message.Buffered = (*Held)(nil)
	_ message.Body     = (*Held)(nil)
	_ Ender            = (*Held)(nil)
)

// Bytes is what is in memory: the whole body unless reading it failed with ErrTooLarge. It is valid until the stream ends.
func (h *Held) Bytes() []byte { return h.data }

// Set replaces what is in memory by b, which must not change while the stream lives, and begins again there.
func (h *Held) Set(b []byte) { h.data, h.at = append(h.data[:0], b...), 0 }

// Rewind begins again, so that the message can be sent another time.
func (h *Held) Rewind() { h.at = 0 }

// Read implements message.Body.
func (h *Held) Read(p []byte) (int, error) {
	if h.at < len(h.data) {
		n := copy(p, h.data[h.at:])
		h.at += n
		if h.whole && h.at == len(h.data) {
			return n, io.EOF
		}
		return n, nil
	}
	if h.whole {
		return 0, io.EOF
	}
	return h.src.Read(p)
}

// Buffered implements message.Buffered.
func (h *Held) Buffered() (int, bool) {
	if left := len(h.data) - h.at; left > 0 || h.whole {
		return left, h.whole
	}
	return buffered(h.src)
}

// Trailers implements message.Body.
func (h *Held) Trailers() *message.Headers { return h.src.Trailers() }

// Close implements message.Body. What is in memory stays readable.
func (h *Held) Close() error { return h.src.Close() }

// End implements Ender.
func (h *Held) End() {}

// Release implements Ender: it gives the memory back.
func (h *Held) Release() {
	pool := h.pool
	*h = Held{data: h.data[:0]}
	if cap(h.data) > maxPooled {
		h.data = nil
	}
	pool.Put(h)
}
