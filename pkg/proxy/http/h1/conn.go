package h1

import (
	"net"
	"time"

	"github.com/weir-proxy/weir/pkg/proxy/conn"
)

// Optional abilities of a connection beside net.Conn. Plain net.Conn values work without any of them.
type (
	// lentReader reads into a buffer that it only takes when there are bytes, so that a connection that waits holds none.
	lentReader interface {
		ReadLent(l conn.Lender) (int, error)
	}
	// closedPeeker looks without blocking whether the peer has closed or reset the connection.
	closedPeeker interface{ PeerClosed() bool }
	// connAborter ends blocked calls at once, for good.
	connAborter interface{ Abort() }
	// writeCloser half-closes.
	writeCloser interface{ CloseWrite() error }
	// wrapper is implemented by *tls.Conn.
	wrapper interface{ NetConn() net.Conn }
)

// longAgo is a deadline that has passed.
func longAgo() time.Time { return time.Unix(1, 0) }

// peerClosed asks the connection, or the one below TLS; false when neither can tell.
func peerClosed(c net.Conn) bool {
	if p, ok := c.(closedPeeker); ok {
		return p.PeerClosed()
	}
	if w, ok := c.(wrapper); ok {
		if p, ok := w.NetConn().(closedPeeker); ok {
			return p.PeerClosed()
		}
	}
	return false
}

// unblock makes blocked and later calls of the connection return. The error is of no interest: the connection is given up.
func unblock(c net.Conn) {
	if a, ok := c.(connAborter); ok {
		a.Abort()
		return
	}
	if w, ok := c.(wrapper); ok {
		if a, ok := w.NetConn().(connAborter); ok {
			a.Abort()
			return
		}
	}
	_ = c.SetDeadline(longAgo())
}

// closeWrite half-closes where the connection can.
func closeWrite(c net.Conn) error {
	if w, ok := c.(writeCloser); ok {
		return w.CloseWrite()
	}
	return nil
}
