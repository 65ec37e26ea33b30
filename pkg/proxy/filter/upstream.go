package filter

import "github.com/weir-proxy/weir/pkg/proxy/http/message"

// UpstreamHost is the Host of a stream in a chain of upstream filters, which runs once per attempt around the exchange with
// the chosen upstream host. Such a stream has a request of its own, so that what its filters change is seen by this
// attempt only; its Info, its route and its response are those of the downstream's stream.
type UpstreamHost interface {
	Host
	// Exchange sends the request and returns the response. The terminal filter of the chain calls it, once.
	Exchange(s *Stream) (*message.Response, error)
}
