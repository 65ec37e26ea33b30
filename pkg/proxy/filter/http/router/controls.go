package httprouter

import (
	"github.com/weir-proxy/weir/pkg/observe/format"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
)

// controls tells which x-envoy-* headers a request has, found in one pass so that requests without them pay for no more.
type controls struct {
	set  uint32 // by ID, counted from firstControl
	grpc bool   // the content type is that of gRPC
}

// The x-envoy-* headers are neighbours in package message, and fewer than 32.
const (
	firstControl = message.XEnvoyAttemptCount
	lastControl  = message.XEnvoyUpstreamStreamDurationMS
)

// Sets of controls by who reads them.
const (
	timeoutControls = 1<<(message.XEnvoyExpectedRQTimeoutMS-firstControl) | 1<<(message.XEnvoyUpstreamRQTimeoutMS-firstControl) |
		1<<(message.XEnvoyUpstreamRQPerTryTimeoutMS-firstControl) | 1<<(message.XEnvoyUpstreamStreamDurationMS-firstControl) |
		1<<(message.XEnvoyHedgeOnPerTryTimeout-firstControl)
	retryControls = 1<<(message.XEnvoyRetryOn-firstControl) | 1<<(message.XEnvoyRetryGRPCOn-firstControl) |
		1<<(message.XEnvoyMaxRetries-firstControl) | 1<<(message.XEnvoyRetriableStatusCodes-firstControl) |
		1<<(message.XEnvoyRetriableHeaderNames-firstControl)
	rareControls = 1<<(message.XEnvoyUpstreamRQTimeoutAltResponse-firstControl) | 1<<(message.XEnvoyUpstreamAltStatName-firstControl)
)

func controlsOf(h *message.Headers) controls {
	var c controls
	for i := range h.Len() {
		f := h.At(i)
		switch {
		case f.ID == message.ContentType:
			c.grpc = format.IsGRPC(f.Value)
		case firstControl <= f.ID && f.ID <= lastControl:
			c.set |= 1 << (f.ID - firstControl)
		}
	}
	return c
}

func (c controls) has(id message.ID) bool { return c.set&(1<<(id-firstControl)) != 0 }

// takeRare reads and removes what hardly any request has.
func (x *exchange) takeRare(asked controls) {
	h := &x.s.Request.Headers
	x.altCode = asked.has(message.XEnvoyUpstreamRQTimeoutAltResponse)
	h.DelID(message.XEnvoyUpstreamRQTimeoutAltResponse)
	x.altStats = h.Get(message.XEnvoyUpstreamAltStatName)
	h.DelID(message.XEnvoyUpstreamAltStatName)
}
