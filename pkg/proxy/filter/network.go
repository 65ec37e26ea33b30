package filter

import (
	"context"
	"net"
	"time"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/observe/stats"
	"github.com/weir-proxy/weir/pkg/proxy/streaminfo"
)

// Network is a configured terminal network filter (HTTP connection manager, TCP proxy) bound to a filter chain.
type Network interface {
	// Serve handles the connection until it ends and closes it. ctx is done when the process must stop at once; a drain
	// is told through Connection.Drain. With rests it has not ended: nothing is under way, and Serve is to be called
	// again with the same arguments when the connection is readable or was aborted, so that it needs no goroutine till then.
	Serve(ctx context.Context, c *Connection) (rests bool)
}

// Detached is implemented by terminal filters whose connections go on without a goroutine of the listener's.
type Detached interface {
	// Begin is Serve that returns when the connection goes on by itself, and calls done when that has ended and was closed, perhaps
	// before it returns. done may wait for other connections' ends, but for nothing else. What Begin may wait for it tells by
	// conn.Waits(ctx) first. It may panic only while nothing goes on, and then does not call done.
	Begin(ctx context.Context, c *Connection, done func())
}

// NonTerminal is a configured network filter that is not the last of its chain. It decides whether a connection goes on; all
// connections of the filter chain share it. Filters are asked in their order, once for each step of a connection.
type NonTerminal interface {
	// Accept looks at a new connection before anything was read, also before TLS is terminated (Envoy's onNewConnection). state
	// comes back with the other calls. With ok false the connection is closed.
	Accept(ctx context.Context, c *Connection) (state any, ok bool)
	// Begin looks at it once TLS was terminated, when all filters have accepted it. It may put a net.Conn around c.Conn, which
	// should have a NetConn method. With false the connection is closed.
	Begin(ctx context.Context, c *Connection, state any) bool
	// End is called once for each Accept, after the connection has ended.
	End(c *Connection, state any)
}

// NonTerminalBuilder is implemented by the decoded configuration of a network filter that is not terminal
// (model.NetworkFilter.Config).
type NonTerminalBuilder interface {
	// NewNonTerminal makes the filter of one filter chain. One that is an io.Closer too is closed after its last connection.
	NewNonTerminal(d NetworkDeps) (NonTerminal, error)
}

// NetworkDeps is what a network filter may use.
type NetworkDeps struct {
	// Stats is the root.
	Stats *stats.Scope
	// Runtime answers runtime keys; nil knows none.
	Runtime *model.Runtime
}

// Denier is implemented by terminal filters that account for connections that a filter before them closed.
type Denier interface {
	// Denied is called in place of Serve. The connection is still open.
	Denied(c *Connection)
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

// Hold keeps a connection open that is to be closed in a while, without reading from it. It returns early when ctx is done, or
// the connection ends or is aborted.
func (c *Connection) Hold(ctx context.Context, d time.Duration) {
	const look = 250 * time.Millisecond // how soon an end is noticed
	end := time.Now().Add(d)
	t := time.NewTimer(min(d, look))
	defer t.Stop()
	for !c.over() {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		left := time.Until(end)
		if left <= 0 {
			return
		}
		t.Reset(min(left, look))
	}
}

// over tells whether the socket below the connection has ended, as far as it can tell.
func (c *Connection) over() bool {
	for at := c.Conn; ; {
		if s, ok := at.(interface {
			HungUp() bool
			Aborted() bool
		}); ok {
			return s.HungUp() || s.Aborted()
		}
		w, ok := at.(interface{ NetConn() net.Conn })
		if !ok {
			return false
		}
		at = w.NetConn()
	}
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
	// Inspect looks at the connection and writes what it found into Info. It waits for nothing but bytes of the connection, which
	// the listener filters' timeout bounds.
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
