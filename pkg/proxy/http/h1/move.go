package h1

import (
	"errors"
	"io"
	"net"

	"github.com/weir-proxy/weir/pkg/proxy/conn"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
)

// moveLimit is the least that is left of a body for which two more system calls and a pipe are cheaper than copying.
const moveLimit = 128 << 10

var _ message.Mover = (*body)(nil)

// Move implements message.Mover for bodies of known length between plain sockets.
func (b *body) Move(dst net.Conn) (n int, moved bool, readErr, writeErr error) {
	if b.frame != framedLength || b.left < moveLimit || b.err != nil || b.closed.Load() || !b.started || b.rd.buffered() > 0 {
		return 0, false, nil, nil
	}
	src, ok := b.rd.conn.(*conn.Conn)
	if !ok || !src.Spliceable() {
		return 0, false, nil, nil
	}
	to, ok := dst.(*conn.Conn)
	if !ok {
		return 0, false, nil, nil
	}
	_, n, readErr, writeErr = to.Splice(src, b.left)
	b.left -= int64(n)
	b.owner.countBody(n)
	switch {
	case writeErr != nil:
		b.err = errMoveFailed // what was on its way is lost
	case readErr != nil:
		readErr = b.ended(readErr)
	case b.left == 0:
		b.finish()
		readErr = io.EOF
	}
	return n, true, readErr, writeErr
}

// errMoveFailed is what reads of a body return of which a part could not be passed on.
var errMoveFailed = errors.New("part of the body was lost when its receiver failed")
