// Package handover passes the listening sockets of one weir to the next one, so that an upgrade refuses no connection: both
// accept from the same sockets for a moment, and then the first one stops.
//
// It owns the protocol between the two processes, on a unix socket of whole messages (SOCK_SEQPACKET): JSON, and one descriptor
// beside it where a socket is passed. It must not know what the sockets are for. A process trusts another one that runs as
// the same user, or as root.
//
// The newer process says:
//
//	begin     it is there; the older one gives up what only one process can have, such as its admin interface
//	sockets   it is about to serve; the older one answers with its sockets and goes on serving
//	done      it serves; the older one finishes its connections within the given time, and ends
//
// When the connection breaks before done, the older process goes on as if nothing had happened.
//
// # Locking
//
// A Predecessor is used by one goroutine at a time. A Server runs one goroutine, which Close waits for.
package handover
