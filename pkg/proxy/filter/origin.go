package filter

import (
	"net/netip"

	"github.com/weir-proxy/weir/pkg/proxy/http/message"
)

// EarlyMutation is an extension that changes the headers of a request before the connection manager looks at them
// (envoy.http.early_header_mutation). It is immutable.
type EarlyMutation interface {
	Mutate(s *Stream)
}

// OriginalIP finds the address of the client that a request comes from (envoy.http.original_ip_detection). It is
// immutable.
type OriginalIP interface {
	// Detect looks at the request and at the address of the connection's peer, which is invalid for unix sockets.
	Detect(r *message.Request, peer netip.Addr) Origin
}

// Origin is what an OriginalIP found.
type Origin struct {
	// Client is invalid when it found nothing.
	Client netip.Addr
	// Trusted lets the address count as an internal one.
	Trusted bool
	// SkipAppend leaves x-forwarded-for as it is; otherwise the peer's address is added.
	SkipAppend bool
	// RejectStatus answers the request with this status; 0 goes on.
	RejectStatus int
}
