// Package h2 is weir's HTTP/2 codec (RFC 9113, HPACK RFC 7541, extended CONNECT RFC 8441), server and client, behind the
// interfaces of package codec.
//
// It owns the framing of a connection, its flow control and settings, and the bounds on what a peer may cost. It must not
// know routing, filters or pools.
//
// A connection has one goroutine, its reader, and one for each request that is being served. The reader never blocks on
// anything but its read: payload goes to the memory of its stream, which the stream's window bounds, and window is given
// back only as that is read, so that a slow reader of one leg slows the sender of the other down. Frames to send gather
// in one buffer; whoever has added some and finds nobody writing writes them, after those who are about to add some too
// had the chance to. What the reader has to send is written on a goroutine of its own: were the reader to wait for the
// peer to read, and the peer likewise, neither would go on. A connection that waits holds no buffer, and when it
// is asked to rest no goroutine.
//
// Streams are pooled: nothing of a stream may be used after its handler has returned or its Close.
//
// Locking: the mu of a connection guards all that the reader and the streams share, and is never held during a read, a
// write, or a call of anybody else's code. What belongs to the reader alone is marked so.
package h2
