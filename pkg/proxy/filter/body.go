package filter

import (
	"io"

	"github.com/weir-proxy/weir/pkg/proxy/http/message"
)

// Wrapped is a body that passes everything on to the one below it. A filter that changes a body embeds it and overrides
// what differs; one that changes the payload must override Buffered too.
type Wrapped struct{ message.Body }

var _ message.Buffered = Wrapped{}

// Buffered implements message.Buffered.
func (w Wrapped) Buffered() (int, bool) { return buffered(w.Body) }

func buffered(b message.Body) (int, bool) {
	if b, ok := b.(message.Buffered); ok {
		return b.Buffered()
	}
	return 0, false
}

// WithTrailers returns a body that is b with other trailers: at the end of b it calls f once with those of b, nil when there
// are none, and has those that f returns. f may change the ones that it is given.
func WithTrailers(b message.Body, f func(*message.Headers) *message.Headers) message.Body {
	return &trailing{Wrapped: Wrapped{b}, f: f}
}

type trailing struct {
	Wrapped
	f        func(*message.Headers) *message.Headers
	done     bool
	trailers *message.Headers
}

// Read implements message.Body.
func (t *trailing) Read(p []byte) (int, error) {
	n, err := t.Body.Read(p)
	if err == io.EOF && !t.done {
		t.done = true
		t.trailers = t.f(t.Body.Trailers())
	}
	return n, err
}

// Trailers implements message.Body.
func (t *trailing) Trailers() *message.Headers { return t.trailers }
