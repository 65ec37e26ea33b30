package filter

import (
	"context"
	"net"

	"github.com/weir-proxy/weir/pkg/proxy/streaminfo"
)

// Network is a configured terminal network filter (HTTP connection manager, TCP proxy) bound to a filter chain.
type Network interface {
	// Serve handles the connection until it ends and closes it. ctx is done when the process must stop at once; a drain
	// is told through Connection.Drain. With rests it has not ended: nothing is under way, and Serve is to be called
	// again with the same arguments when the connection is readable or was aborted, so that it needs no goroutine till then.
	Serve(ctx context.Context, c *Connection) (rests bool)
}

// Connection is one downstream connection after the filter chain was chosen and TLS was terminated.
type Connection struct {
	// Conn carries the payload: a *conn.Conn for plain text, a *tls.Conn over one otherwise.
	Conn net.Conn
	Info *streaminfo.Connection
	// Drain tells when the listener or filter chain drains: finish what is under way, then close. Nil never does.
	Drain *Drain
	// Reset closes so that the peer sees a TCP reset (SO_LINGER 0).
	Reset func()
	// Panicked is to be told of a panic on any goroutine that works for the connection but the one that called Serve: it
	// counts and logs it, and resets the connection. It may be nil where nothing can panic.
	Panicked func(value any, stack []byte)
	// State belongs to the filter, from one Serve to the next.
	State any
}

// ListenerVerdict is what a listener filter decided.
type ListenerVerdict uint8

// Listener verdicts.
const (
	// Continue goes on with the next filter.
	Continue ListenerVerdict = iota
	// Close closes the connection.
	Close
)

// Listener is a configured listener filter. It may peek at what the client sent, but must not consume it unless the
// protocol says so (PROXY protocol).
type Listener interface {
	// Inspect looks at the connection and writes what it found into Info. ctx ends with the listener filters' timeout.
	Inspect(ctx context.Context, c PeekConn, info *streaminfo.Connection) (ListenerVerdict, error)
}

// PeekConn is a connection whose first bytes can be looked at.
type PeekConn interface {
	// Peek waits until at least n bytes are there and returns all that were received so far, at most the buffer's limit.
	// It returns what there is with io.EOF when the client will send no more, and an error when the limit is below n.
	Peek(ctx context.Context, n int) ([]byte, error)
	// Discard drops n bytes that were peeked.
	Discard(n int) error
}
