// Package handover passes the listening sockets of one weir to the next one, so that an upgrade refuses no connection: both
// accept from the same sockets for a moment, and then the first one stops.
//
// It owns the protocol between the two processes, on a unix socket of whole messages (SOCK_SEQPACKET): JSON, and one descriptor
// beside it where a socket is passed. It must not know what the sockets are for, nor what the statistics mean. A process trusts
// another one that runs as the same user, or as root.
//
// The newer process says:
//
//	begin     it is there; the older one gives up what only one process can have, such as its admin interface
//	sockets   it is about to serve; the older one answers with its sockets and goes on serving
//	done      it serves; the older one finishes its connections within the given time, and ends
//
// Statistics go through a channel of their own, one end of which the newer process passes after begin if the older one has said that
// it gives any: an earlier version does not, and is not asked. The newer process asks for a round (give), and gets what has changed
// since the round before (series, as often as needed, then given). Before it ends the older one tells the rest unasked. The channel
// lasts as long as both processes.
//
// When the connection breaks before done, the older process goes on as if nothing had happened.
//
// # Locking
//
// A Predecessor is used by one goroutine at a time. A Server runs a goroutine, and one for each newer process that
// takes statistics; Close waits for all. A Feed runs one, which Close waits for.
package handover
