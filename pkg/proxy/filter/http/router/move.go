package httprouter

import (
	"io"
	"net"
	"time"

	"github.com/weir-proxy/weir/pkg/proxy/http/message"
)

var (
	_ message.Mover = (*sendBody)(nil)
	_ message.Mover = (*recvBody)(nil)
)

// Move implements message.Mover, as long as nobody else wants to see the payload.
func (b *sendBody) Move(dst net.Conn) (n int, moved bool, readErr, writeErr error) {
	if b.keep || len(b.taps) > 0 || b.at < len(b.kept) || b.complete.Load() || !b.began.Load() {
		return 0, false, nil, nil
	}
	n, moved, readErr, writeErr = message.Move(b.src, dst)
	if readErr == io.EOF {
		b.endAt.Store(b.x.s.Info.Since(time.Now()))
		b.complete.Store(true)
		b.x.requestDone()
	}
	return n, moved, readErr, writeErr
}

// Move implements message.Mover.
func (b *recvBody) Move(dst net.Conn) (n int, moved bool, readErr, writeErr error) {
	if idle := b.x.limits.perTryIdle; idle > 0 || b.done {
		return 0, false, nil, nil
	}
	n, moved, readErr, writeErr = message.Move(b.src, dst)
	if readErr != nil && !b.done {
		b.ended(readErr)
	}
	return n, moved, readErr, writeErr
}
