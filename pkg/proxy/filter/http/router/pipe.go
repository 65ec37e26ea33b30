package httprouter

import (
	"errors"
	"io"
	"sync"

	"github.com/weir-proxy/weir/pkg/proxy/http/message"
)

// pipe carries the copy of a request's body to a shadow cluster. It holds a bounded number of bytes: who writes never waits,
// and a reader that falls too far behind finds the body cut off.
type pipe struct {
	limit int
	// broken is told when the body ends before its time; it ends a reader that waits elsewhere. May be nil.
	broken func()

	mu       sync.Mutex
	more     sync.Cond
	data     []byte
	at       int
	trailers *message.Headers
	err      error // at the end of data; nil while more may come
}

// errShadowCut ends a copy that cannot be completed; read only.
var errShadowCut = errors.New("the mirrored request ended before its time")

var (
	_ message.Body     = (*pipe)(nil)
	_ message.Buffered = (*pipe)(nil)
)

func newPipe(limit int) *pipe {
	p := &pipe{limit: limit}
	p.more.L = &p.mu
	return p
}

// write appends a copy of b. It returns false, once, when the reader has fallen too far behind.
func (p *pipe) write(b []byte) bool {
	p.mu.Lock()
	if p.err != nil || len(b) == 0 {
		p.mu.Unlock()
		return true
	}
	if p.at > 0 && p.at == len(p.data) {
		p.data, p.at = p.data[:0], 0
	}
	if len(p.data)-p.at+len(b) > p.limit {
		p.mu.Unlock()
		p.cut()
		return false
	}
	if p.at > 0 && len(p.data)+len(b) > cap(p.data) {
		p.data = p.data[:copy(p.data, p.data[p.at:])]
		p.at = 0
	}
	p.data = append(p.data, b...)
	p.more.Broadcast()
	p.mu.Unlock()
	return true
}

// finish ends the body properly, with a copy of its trailers.
func (p *pipe) finish(trailers *message.Headers) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err != nil {
		return
	}
	if trailers != nil {
		p.trailers = cloneHeaders(trailers)
	}
	p.end(io.EOF)
}

// cut ends a body that is not complete.
func (p *pipe) cut() {
	if p.shut() && p.broken != nil {
		p.broken()
	}
}

// shut ends a body that is not complete, and tells whether it did.
func (p *pipe) shut() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err != nil {
		return false
	}
	p.end(errShadowCut)
	return true
}

// end is called with the lock held.
func (p *pipe) end(err error) {
	if p.err = err; err != io.EOF {
		p.data, p.at = nil, 0
	}
	p.more.Broadcast()
}

// Read implements message.Body.
func (p *pipe) Read(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.at == len(p.data) && p.err == nil {
		p.more.Wait()
	}
	n := copy(b, p.data[p.at:])
	p.at += n
	if p.at == len(p.data) && p.err != nil {
		return n, p.err
	}
	return n, nil
}

// Buffered implements message.Buffered.
func (p *pipe) Buffered() (int, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.data) - p.at, p.err == io.EOF
}

// Trailers implements message.Body.
func (p *pipe) Trailers() *message.Headers {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.trailers
}

// Close implements message.Body.
func (p *pipe) Close() error {
	p.shut()
	return nil
}
