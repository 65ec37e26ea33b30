// Package h1 is weir's HTTP/1.1 codec: the server side of a downstream connection and the client side of an upstream
// one, in blocking style (RFC 9112).
//
// It owns parsing, framing and writing of HTTP/1 messages and the keep-alive state of a connection. It must not know
// routing, filters, pools or configuration beyond model.HTTP1Options, and touches sockets only through net.Conn and the
// optional interfaces of conn.go. Strings of a received message are views into the connection's read buffer and end with
// the stream.
//
// Locking: a connection is read by one goroutine at a time and written by one goroutine at a time. Abort, Drain and
// Close of a request body may come from any goroutine; they only set flags and deadlines, under a mutex that orders them.
package h1
