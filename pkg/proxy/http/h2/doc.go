// Package h2 is weir's HTTP/2 codec behind the interfaces of package codec. It stands on golang.org/x/net/http2.
//
// It owns the mapping between weir's messages and those of net/http, and hides all of the latter. It must not know
// routing, filters or pools. What x/net cannot do shows: fields of one message come sorted by name, since it keeps them in
// a map; request trailers pass only when the Trailer field announced them; Expect: 100-continue is answered here, never
// forwarded; extended CONNECT (RFC 8441) is spoken to upstreams, but offered to downstreams only when the process runs
// with GODEBUG=http2xconnect=1.
//
// Locking: each stream belongs to the goroutine that serves it, but for Abort and Counts, which any goroutine may call;
// the connection's shared state is guarded by a mutex.
package h2
